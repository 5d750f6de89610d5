"""Parquet files with a list column of ready embeddings, for a scan that starts at the search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import BrokenShardError, SourceError
from scanner.sources.base import ImageRef, Sample, Shard
from scanner.sources.columns import Columns, find_columns
from scanner.sources.file_source import FileSource
from scanner.sources.parquet import parquet_entries
from scanner.sources.parquet_files import batches, first_schema, open_parquet, parquet_shards, read_fields
from scanner.sources.vectors import BYTES_PER_EMBEDDING_ROW, set_embeddings

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 4096


class EmbeddingsParquetSource(FileSource):
    """Parquet files with a column of lists of float16, float32 or float64; ``image_column`` names it.

    Rows whose list is null, of another length than the first, or not finite are ``unreadable``.
    """

    format = "embeddings-parquet"
    noun: ClassVar[str] = "embedding"
    options: ClassVar[frozenset[str]] = frozenset({"caption_column", "image_column"})

    def __init__(self, url: str, *, caption_column: str | None = None, image_column: str | None = None) -> None:
        super().__init__(url, caption_column=caption_column, image_column=image_column)
        self._dim: int | None = None

    @property
    def embedding_dim(self) -> int:
        """Dimension: the length of the first list of the first file that has one.

        Raises:
            SourceError: no file holds an embedding.
        """
        if self._dim is None:
            self._dim = self._find_dim()
        return self._dim

    def shards(self) -> list[Shard]:
        entries = parquet_entries(self.place, self.note)
        if not entries:
            raise SourceError(f"No Parquet file is at {self.url!r}.", next_step="Give a file, folder or glob of .parquet.")
        name, schema = first_schema(self.place, entries)
        self._columns(schema, name)
        return parquet_shards(self.place, entries, bytes_per_row=BYTES_PER_EMBEDDING_ROW)

    def _rows(self, shard: Shard) -> Iterator[Sample]:
        dim = self.embedding_dim
        with open_parquet(self.place, shard.url) as parquet:
            try:
                columns = self._columns(parquet.schema_arrow, shard.url)
            except SourceError as error:
                raise BrokenShardError(error.message, next_step="The files of a source have the same columns.") from error
            assert columns.payload is not None
            for first_row, batch in batches(parquet, columns.names(), size=_BATCH_ROWS):
                samples = read_fields(batch, columns, first_row)
                block, lengths = _matrix(batch.column(columns.payload), dim)
                set_embeddings(samples, block)
                for i in np.flatnonzero(lengths != dim):
                    found = "no embedding" if lengths[i] < 0 else f"an embedding of {lengths[i]} numbers"
                    samples[i].embedding = None
                    samples[i].status, samples[i].error_message = "unreadable", f"{found} in its row, where the first has {dim}"
                yield from samples

    def read(self, ref: ImageRef) -> bytes:
        raise SourceError("This source holds embeddings and no images.", next_step="Scan the images to see them.")

    def _columns(self, schema: pa.Schema, where: str) -> Columns:
        return find_columns(
            schema, payload="embedding", payload_column=self.image_column, caption_column=self.caption_column, where=where
        )

    def _find_dim(self) -> int:
        for entry in parquet_entries(self.place, self.note):
            try:
                with open_parquet(self.place, entry.name) as parquet:
                    columns = self._columns(parquet.schema_arrow, entry.name)
                    assert columns.payload is not None
                    for _, batch in batches(parquet, [columns.payload], size=_BATCH_ROWS):
                        lengths = _lengths(batch.column(0))
                        if (lengths > 0).any():
                            return int(lengths[lengths > 0][0])
            except BrokenShardError as error:
                self.note(error.message)
        raise SourceError(f"No file at {self.url!r} holds an embedding.", next_step="Check the column named with --image-column.")


def _lengths(array: pa.Array) -> NDArray[np.int64]:
    """Length of each list, -1 for null."""
    import pyarrow.compute as pc

    lengths: NDArray[np.int64] = pc.fill_null(pc.list_value_length(array), -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths


def _matrix(array: pa.Array, dim: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Lists as a matrix (n, dim) float32 and their lengths; rows of another length are zero, null numbers NaN."""
    lengths = _lengths(array)
    values = array.flatten().to_numpy(zero_copy_only=False)
    fits = lengths == dim
    block = np.zeros((len(array), dim), dtype=np.float32)
    with np.errstate(over="ignore"):
        if fits.all():
            block[:] = values.reshape(len(array), dim)
        else:
            is_kept = np.repeat(fits, np.maximum(lengths, 0))
            block[fits] = values[is_kept].reshape(int(fits.sum()), dim)
    return block, lengths
