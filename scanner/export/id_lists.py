"""Lists of what stays and what goes: Parquet, CSV that a spreadsheet can open without harm, ids for NeMo Curator."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

from scanner.core.errors import ConfigError
from scanner.core.keep_config import ExportConfig
from scanner.core.store import Store
from scanner.export.deliveries import Deliveries
from scanner.export.samples import query_rows
from scanner.sources.names import is_tar_name

if TYPE_CHECKING:
    import pyarrow as pa

Columns = Mapping[str, str]
"""Names and Arrow types of what is written; the queries know more."""

KEPT: Columns = {
    "image_id": "int64", "dataset": "string", "shard": "string", "key": "string", "url": "string", "sample_weight": "float64",
    "rule": "string",
}  # fmt: skip
REMOVED: Columns = {
    "image_id": "int64", "dataset": "string", "shard": "string", "key": "string", "url": "string", "rule": "string",
    "because_of": "int64", "because_of_dataset": "string", "because_of_shard": "string", "because_of_key": "string",
    "similarity": "float32",
}  # fmt: skip
SAMPLES: Columns = {
    "image_id": "int64", "dataset": "string", "shard": "string", "source_key": "string", "key": "string",
    "sample_weight": "float64",
}  # fmt: skip
LISTS = {"ids/kept": ("export/kept", KEPT), "ids/removed": ("export/removed", REMOVED)}
SAMPLES_FILE = "samples.parquet"
CURATOR_FILE = "curator/duplicates/part-00000.parquet"
CURATOR_ROW_GROUPS = 10
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def write_lists(run: Store, out: Store, deliveries: Deliveries) -> None:
    """``ids/kept`` and ``ids/removed``, each as ``.parquet`` and ``.csv``."""
    for stem, (query, columns) in LISTS.items():
        if deliveries.find(f"{stem}.parquet") is None:
            _write_parquet(run, out, query, columns, f"{stem}.parquet", deliveries)
        if deliveries.find(f"{stem}.csv") is None:
            facts: dict[str, int] = {}
            with deliveries.make(f"{stem}.csv", facts) as file:
                facts["num_rows"] = write_csv(query_rows(run, out, query), columns, file)


def write_samples(run: Store, out: Store, deliveries: Deliveries) -> None:
    """``samples.parquet``: where each sample of a rewritten set came from, and the key it has now."""
    if deliveries.find(SAMPLES_FILE) is None:
        _write_parquet(run, out, "export/samples", SAMPLES, SAMPLES_FILE, deliveries)


def _write_parquet(run: Store, out: Store, query: str, columns: Columns, path: str, deliveries: Deliveries) -> None:
    """The rows of a query, a row group a block."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([pa.field(name, pa.type_for_alias(type_)) for name, type_ in columns.items()])
    facts = {"num_rows": 0}
    with (
        deliveries.make(path, facts) as file,
        pq.ParquetWriter(pa.PythonFile(file, mode="w"), schema, compression="ZSTD") as writer,
    ):
        for batch in query_rows(run, out, query):
            writer.write_table(pa.Table.from_batches([batch]).select(list(columns)).cast(schema))
            facts["num_rows"] += batch.num_rows


def write_csv(batches: Iterator[pa.RecordBatch], columns: Columns, file: IO[bytes]) -> int:
    """Writes rows as CSV in UTF-8, one a line whatever is in their texts, and returns how many."""
    file.write(",".join(columns).encode() + b"\n")
    num_rows = 0
    for batch in batches:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([cell(row[name]) for name in columns] for row in batch.to_pylist())
        file.write(text.getvalue().encode())
        num_rows += batch.num_rows
    return num_rows


def cell(value: Any) -> Any:
    """A value of a CSV cell. Of texts control characters are written as ``\\n`` or ``\\x1b``, so that a row is a line, and what a
    spreadsheet would take for a formula gets an apostrophe in front (owasp.org/www-community/attacks/CSV_Injection)."""
    if not isinstance(value, str):
        return value
    guarded = f"'{value}" if value.startswith(_FORMULA_STARTS) else value
    return "".join(_escaped(sign) if _breaks_lines(sign) else sign for sign in guarded)


def _breaks_lines(sign: str) -> bool:
    """Control characters, and what some programs take for the end of a line."""
    return ord(sign) < 32 or 127 <= ord(sign) < 160 or sign in "\u2028\u2029"


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode()


def write_curator(run: Store, out: Store, config: ExportConfig, deliveries: Deliveries) -> None:
    """One column ``id`` of text, sorted, in about ten row groups: what Curator's removal stages read.

    Raises:
        ConfigError: an image that stays is called as one that goes, or a shard is no tar and so has no numbers.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if deliveries.find(CURATOR_FILE) is not None:
        return
    if config.curator_id == "shard_row":
        other = next((url for url in run.read("shards", ["url"])["url"].to_pylist() if not is_tar_name(url)), None)
        if other is not None:
            raise ConfigError(
                f"{other} is no tar, and NeMo Curator numbers the images of tars alone.", next_step="Use --curator-id key."
            )
    total = sum(batch.num_rows for batch in query_rows(run, out, "export/removed_ids", {"name": config.curator_id}))
    group_rows = max(1, -(-total // CURATOR_ROW_GROUPS))
    facts = {"num_rows": total}
    schema = pa.schema([pa.field("id", pa.string())])
    with (
        deliveries.make(CURATOR_FILE, facts) as file,
        pq.ParquetWriter(pa.PythonFile(file, mode="w"), schema, compression="ZSTD") as writer,
    ):
        for batch in query_rows(run, out, "export/removed_ids", {"name": config.curator_id}):
            shared = next((row["id"] for row in batch.to_pylist() if row["is_shared"]), None)
            if shared is not None:
                raise ConfigError(
                    f"An image that stays and one that goes are both called {shared!r}: NeMo Curator would remove both.",
                    next_step="Use --curator-id shard_row for tars, or give the images keys of their own.",
                )
            writer.write_table(pa.table({"id": batch.column(0)}, schema=schema), row_group_size=group_rows)
