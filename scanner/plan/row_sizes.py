"""Bytes of a row of each table, by the schema that the tables have."""

from __future__ import annotations

from scanner.core.schemas import TABLES
from scanner.plan.rates import Rate, Rates

WIDTHS = {"int64": 8.0, "int32": 4.0, "uint64": 8.0, "float32": 4.0, "float64": 8.0, "bool": 1 / 8, "binary(32)": 32.0}
TEXTS = ("caption", "prompt", "caption_family")
"""Columns of free text. Other strings are one of a few words, which a dictionary holds: a byte a row."""


def row_size(table: str, rates: Rates, *, dim: int = 0) -> Rate:
    """Bytes a row of a table: widths of its columns, uncompressed, so more than Parquet takes.

    Args:
        dim: of the vectors, for table ``embeddings``: 2 bytes a dimension, which do not compress.
    """
    num_bytes = 0.0
    for column in TABLES[table].columns:
        if column.type == "embedding":
            assert dim, f"table {table} needs dim"
            num_bytes += 2 * dim
        elif column.name in TEXTS:
            num_bytes += rates["text_bytes"].value
        else:
            num_bytes += WIDTHS.get(column.type, 1.0)
    return Rate(
        name=f"row_{table}", stage=table, value=num_bytes, unit="bytes a row", status="assumed",
        source="widths of the columns in scanner/core/schemas.py, uncompressed",
    )  # fmt: skip
