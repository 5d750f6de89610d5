"""Parquet files as shards: opened without trust, read in batches of bounded memory, one row again by its number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scanner.core.errors import BrokenShardError, ObjectError, SourceError
from scanner.sources.base import Sample, Shard
from scanner.sources.columns import Columns, text_values
from scanner.sources.fields import clean_key, clean_text, read_pixels, read_sha256
from scanner.sources.places import Entry, Place

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_BUFFER_BYTES = 2**20


@contextmanager
def open_parquet(place: Place, name: str) -> Iterator[pq.ParquetFile]:
    """One file, its columns read through buffers and not whole row groups at once.

    Raises:
        BrokenShardError: it is no Parquet file, or damaged, on opening or inside the block.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = place.path(name)
    try:
        with place.fs.open(path, "rb") as file:
            source = path if place.is_local else file
            with pq.ParquetFile(source, buffer_size=_BUFFER_BYTES, pre_buffer=False) as parquet:
                yield parquet
    except (ConnectionError, TimeoutError, ObjectError):
        raise
    except (pa.ArrowException, UnicodeError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise BrokenShardError(f"{name} is broken or no Parquet file: {reason}", next_step="Fetch it again.") from error


def read_schema(place: Place, name: str) -> pa.Schema:
    with open_parquet(place, name) as parquet:
        return parquet.schema_arrow


def first_schema(place: Place, entries: list[Entry]) -> tuple[str, pa.Schema]:
    """Name and schema of the first file that can be opened.

    Raises:
        SourceError: none can.
    """
    error: BrokenShardError | None = None
    for entry in entries[:100]:
        try:
            return entry.name, read_schema(place, entry.name)
        except BrokenShardError as problem:
            error = error or problem
    assert error is not None, "at least one file"
    raise SourceError(error.message, next_step="No file of the source can be read as Parquet.")


def parquet_shards(place: Place, entries: list[Entry], *, bytes_per_row: int) -> list[Shard]:
    """A shard a file. Rows are read from the footers of local files and guessed from the size of distant ones."""
    shards = []
    for entry in entries:
        estimate = max(1, entry.size // bytes_per_row)
        if place.is_local:
            try:
                with open_parquet(place, entry.name) as parquet:
                    estimate = parquet.metadata.num_rows
            except BrokenShardError:
                estimate = 0
        shards.append(Shard(url=entry.name, size=entry.size, etag=entry.etag, num_rows_estimate=estimate))
    return shards


def batches(parquet: pq.ParquetFile, columns: list[str], *, size: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches of at most ``size`` rows with the number of their first row."""
    row = 0
    for batch in parquet.iter_batches(batch_size=size, columns=columns, use_threads=False):
        yield row, batch
        row += batch.num_rows


def row_batch(parquet: pq.ParquetFile, column: str, row: int) -> pa.Array | None:
    """One value of one column as an array of length 1; only its row group is read. None beyond the last row."""
    first = 0
    for group in range(parquet.metadata.num_row_groups):
        num_rows = parquet.metadata.row_group(group).num_rows
        if row < first + num_rows:
            for batch in parquet.iter_batches(batch_size=16, row_groups=[group], columns=[column], use_threads=False):
                if row < first + batch.num_rows:
                    return batch.column(0).slice(row - first, 1)
                first += batch.num_rows
            return None
        first += num_rows
    return None


def read_fields(batch: pa.RecordBatch, columns: Columns, first_row: int) -> list[Sample]:
    """A sample a row with every field but the image or embedding; its status is still ``ok``."""

    def values(name: str | None) -> list[object]:
        return text_values(batch.column(name)) if name is not None else [None] * batch.num_rows

    return [
        Sample(
            key=str(first_row + i) if key is None else clean_key(key),
            caption=clean_text(caption),
            url=clean_text(url),
            sha256=read_sha256(sha256),
            width=read_pixels(width),
            height=read_pixels(height),
        )
        for i, (key, caption, url, sha256, width, height) in enumerate(
            zip(
                values(columns.key),
                values(columns.caption),
                values(columns.url),
                values(columns.sha256),
                values(columns.width),
                values(columns.height),
                strict=True,
            )
        )
    ]


def read_failures(batch: pa.RecordBatch, columns: Columns) -> list[str | None]:
    """img2dataset's account of each row that failed, ``failed_to_download: HTTP Error 404``; None for the others."""
    if columns.status is None:
        return [None] * batch.num_rows
    statuses = text_values(batch.column(columns.status))
    messages = text_values(batch.column(columns.error_message)) if columns.error_message else [None] * batch.num_rows
    failures: list[str | None] = []
    for status, message in zip(statuses, messages, strict=True):
        text = clean_text(status)
        has_failed = text is not None and text.startswith("failed")
        failures.append(f"{text}: {clean_text(message) or 'no reason given'}" if has_failed else None)
    return failures
