"""clip-retrieval's embeddings: ``img_emb/img_emb_*.npy``, aligned row by row with ``metadata/metadata_*.parquet``."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import IO, ClassVar

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import BrokenShardError, SourceError
from scanner.core.remote import STREAM_BYTES
from scanner.sources.base import ImageRef, Sample, Shard
from scanner.sources.columns import find_columns
from scanner.sources.file_source import FileSource
from scanner.sources.parquet_files import batches, open_parquet, read_fields
from scanner.sources.places import Entry, Place
from scanner.sources.vectors import set_embeddings

_BLOCK_ROWS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class _Header:
    num_rows: int
    dim: int
    dtype: np.dtype[np.floating]


class ClipRetrievalSource(FileSource):
    """A folder that clip-retrieval's inference wrote (github.com/rom1504/clip-retrieval); a shard an ``.npy`` file.

    Keys are ``image_path`` (webdataset's ``__key__`` there), captions and urls are taken from the metadata; where a
    metadata file is absent, keys are row numbers.
    """

    format = "clip-retrieval"
    noun: ClassVar[str] = "embedding"
    options: ClassVar[frozenset[str]] = frozenset({"caption_column"})

    @property
    def embedding_dim(self) -> int:
        """Dimension, from the first file's header.

        Raises:
            SourceError: there is no file, or it cannot be read.
        """
        pairs = self._pairs()
        with _open(self.place, pairs[0][0]) as file:
            return _read_header(file, pairs[0][0].name).dim

    def shards(self) -> list[Shard]:
        shards = []
        row_bytes = 2 * self.embedding_dim
        for npy, metadata in self._pairs():
            etags = [entry.etag or "" for entry in (npy, metadata) if entry is not None]
            size = npy.size + (metadata.size if metadata else 0)
            rows = max(1, npy.size // row_bytes)
            shards.append(Shard(url=npy.name, size=size, etag="+".join(etags) or None, num_rows_estimate=rows))
        return shards

    def _rows(self, shard: Shard) -> Iterator[Sample]:
        npy, metadata = next((pair for pair in self._pairs() if pair[0].name == shard.url), (None, None))
        if npy is None:
            raise BrokenShardError(f"{shard.url} is no longer in {self.url!r}.")
        if metadata is None:
            self.note(f"{shard.url}: no metadata file beside it, so keys are row numbers and there are no captions")
        with ExitStack() as stack:
            file = stack.enter_context(_open(self.place, npy))
            header = _read_header(file, npy.name)
            if header.dim != self.embedding_dim:
                raise BrokenShardError(f"{npy.name} holds vectors of {header.dim} numbers, the first file {self.embedding_dim}.")
            num_rows = header.num_rows
            mismatch = ""
            fields = iter(_numbered())
            if metadata is not None:
                parquet = stack.enter_context(open_parquet(self.place, metadata.name))
                schema = parquet.schema_arrow
                columns = find_columns(schema, payload="none", caption_column=self.caption_column, where=metadata.name)
                if "image_path" in schema.names:
                    columns = replace(columns, key="image_path")
                listed = parquet.metadata.num_rows
                if listed != num_rows:
                    mismatch = f"{npy.name} holds {num_rows:,} embeddings, {metadata.name} {listed:,} rows"
                    num_rows = min(num_rows, listed)
                fields = (
                    read_fields(batch, columns, first) for first, batch in batches(parquet, columns.names(), size=_BLOCK_ROWS)
                )
            yield from _aligned(file, header, num_rows, fields, npy.name)
        if mismatch:
            raise BrokenShardError(f"{mismatch}.", next_step="The rows of the shorter are kept; run clip-retrieval on it again.")

    def read(self, ref: ImageRef) -> bytes:
        raise SourceError("This source holds embeddings and no images.", next_step="Scan the images to see them.")

    def _pairs(self) -> list[tuple[Entry, Entry | None]]:
        """Each embedding file with its metadata file, by their common number."""
        entries = {entry.name: entry for entry in self.place.files(lambda name: True, self.note)}
        pairs = []
        for name, entry in entries.items():
            base = posixpath.basename(name)
            if base.startswith("img_emb_") and base.endswith(".npy"):
                number = base.removeprefix("img_emb_").removesuffix(".npy")
                top = posixpath.dirname(posixpath.dirname(name))
                pairs.append((entry, entries.get(posixpath.join(top, "metadata", f"metadata_{number}.parquet"))))
        if not pairs:
            raise SourceError(
                f"No img_emb_*.npy is in {self.url!r}.",
                next_step="Give the folder that holds img_emb/ and metadata/, as clip-retrieval inference writes it.",
            )
        return pairs


def _numbered() -> Iterator[list[Sample]]:
    first = 0
    while True:
        yield [Sample(key=str(first + i)) for i in range(_BLOCK_ROWS)]
        first += _BLOCK_ROWS


def _aligned(file: IO[bytes], header: _Header, num_rows: int, fields: Iterator[list[Sample]], name: str) -> Iterator[Sample]:
    row = 0
    while row < num_rows:
        samples = next(fields, [])[: num_rows - row]
        block = _read_block(file, header, len(samples))
        set_embeddings(samples[: len(block)], block)
        yield from samples[: len(block)]
        row += len(block)
        if len(block) < len(samples) or not samples:
            raise BrokenShardError(f"{name} ends after {row:,} of the {header.num_rows:,} embeddings that its header states.")


def _open(place: Place, entry: Entry) -> IO[bytes]:
    file: IO[bytes] = place.fs.open(entry.path, "rb", block_size=STREAM_BYTES)
    return file


def _read_header(file: IO[bytes], name: str) -> _Header:
    """Shape and type of an ``.npy`` file. Pickled arrays are refused, as numpy does with ``allow_pickle=False``.

    Raises:
        BrokenShardError: no ``.npy`` file, or not a matrix of floats, a row an embedding.
    """
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read(file)
    except (ValueError, EOFError) as error:
        raise BrokenShardError(f"{name} is no .npy file: {error}", next_step="Fetch it again.") from error
    if dtype.kind != "f" or dtype.hasobject or len(shape) != 2 or is_fortran or shape[1] == 0:
        raise BrokenShardError(
            f"{name} holds an array of shape {shape} and type {dtype}{' in column order' if is_fortran else ''}.",
            next_step="Embeddings are a matrix of float16, float32 or float64, a row an image.",
        )
    return _Header(num_rows=shape[0], dim=shape[1], dtype=dtype)


def _read_block(file: IO[bytes], header: _Header, num_rows: int) -> NDArray[np.float32]:
    """Up to ``num_rows`` rows (n, dim); fewer where the file ends."""
    row_bytes = header.dim * header.dtype.itemsize
    data = file.read(num_rows * row_bytes)
    whole = len(data) // row_bytes
    block = np.frombuffer(data, dtype=header.dtype, count=whole * header.dim).reshape(whole, header.dim)
    with np.errstate(over="ignore"):
        return block.astype(np.float32)
