"""Rows of ``images`` and ``embeddings`` while a part is being made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.schemas import TABLES, arrow_schema
from scanner.core.vectors import to_column
from scanner.images.prepare import ImageFacts
from scanner.sources.base import Sample

if TYPE_CHECKING:
    import pyarrow as pa


class PartRows:
    """Collects one part; rows may come out of order, the tables are sorted by image_id."""

    def __init__(self) -> None:
        # Columns, not rows: a part has a quarter of a million of them, and a dict each would take most of the memory.
        self._columns: dict[str, list[Any]] = {name: [] for name in TABLES["images"].column_names}
        self._ids: list[NDArray[np.int64]] = []
        self._vectors: list[NDArray[np.float16]] = []

    def add_image(self, id_: int, dataset: str, sample: Sample, facts: ImageFacts | None) -> None:
        """One row of ``images``: the sample as listed, and the facts of its pixels where it was decoded."""
        row: dict[str, Any] = {
            "image_id": id_,
            "dataset": dataset,
            "key": sample.key,
            "url": sample.url,
            "caption": sample.caption,
            "sha256": sample.sha256,
            "phash": None,
            "width": sample.width,
            "height": sample.height,
            "num_bytes": sample.num_bytes,
            "byte_offset": sample.byte_offset,
            "is_blank": None,
            "status": sample.status,
            "error_message": sample.error_message,
        }
        if facts is not None:
            row |= {
                # The digest that the source recorded is of the file as published, before any resizing: it finds more copies.
                "sha256": sample.sha256 or facts.sha256,
                "phash": facts.phash,
                "width": facts.width,
                "height": facts.height,
                "num_bytes": facts.num_bytes,
                "is_blank": facts.is_blank,
                "status": facts.status,
                "error_message": facts.error_message,
            }
        for name, column in self._columns.items():
            column.append(row[name])

    def add_embeddings(self, ids: list[int], vectors: NDArray[np.float32]) -> None:
        """Unit vectors (n, dim) of images with status ok."""
        self._ids.append(np.asarray(ids, dtype=np.int64))
        self._vectors.append(vectors.astype("<f2"))

    @property
    def num_images(self) -> int:
        return len(self._columns["image_id"])

    def images(self) -> pa.Table:
        import pyarrow as pa

        schema = arrow_schema("images")
        table: pa.Table = pa.table({name: pa.array(self._columns[name], type=schema.field(name).type) for name in schema.names})
        return table.cast(schema).sort_by("image_id")

    def embeddings(self, dim: int) -> pa.Table:
        import pyarrow as pa

        ids = np.concatenate([np.empty(0, np.int64), *self._ids])
        vectors = np.concatenate([np.empty((0, dim), "<f2"), *self._vectors])
        order = np.argsort(ids, kind="stable")
        columns = {"image_id": ids[order], "embedding": to_column(vectors[order])}
        return pa.table(columns, schema=arrow_schema("embeddings", embedding_dim=dim))
