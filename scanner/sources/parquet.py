"""Parquet files with the images inside: Hugging Face's struct of bytes and path, or a plain column of bytes."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from scanner.core.errors import BrokenShardError, ObjectError, SourceError
from scanner.sources.base import ImageRef, Sample, Shard, WholeSample
from scanner.sources.columns import Columns, find_columns, is_binary_type, is_text_type, text_values
from scanner.sources.fetching import fetch
from scanner.sources.fields import clean_key
from scanner.sources.file_source import BYTES_PER_IMAGE_ROW, MAX_IMAGE_BYTES, FileSource
from scanner.sources.members import chosen, sample_members
from scanner.sources.names import extension
from scanner.sources.parquet_files import (
    batches,
    first_schema,
    open_parquet,
    parquet_shards,
    read_failures,
    read_fields,
    row_batch,
)
from scanner.sources.places import Entry, Place, is_inside

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_BATCH_ROWS = 64


class ParquetSource(FileSource):
    """A Parquet file, a folder of them, a glob or braces; a shard a file.

    The image column is named or found (``image``, ``jpg``, ``png``, ``webp``, ``bytes`` …), and so is the caption. Where a
    struct holds a path and no bytes, the path is read relative to the file's folder, never outside of the source. Rows
    without an image are ``missing``, with img2dataset's ``status`` and ``error_message`` where the file has them.
    """

    format = "parquet"
    options: ClassVar[frozenset[str]] = frozenset({"caption_column", "image_column"})

    def shards(self) -> list[Shard]:
        entries = parquet_entries(self.place, self.note)
        if not entries:
            raise SourceError(f"No Parquet file is at {self.url!r}.", next_step="Give a file, folder or glob of .parquet.")
        name, schema = first_schema(self.place, entries)
        self._columns(schema, name)
        return parquet_shards(self.place, entries, bytes_per_row=BYTES_PER_IMAGE_ROW)

    def _rows(self, shard: Shard) -> Iterator[Sample]:
        with open_parquet(self.place, shard.url) as parquet:
            try:
                columns = self._columns(parquet.schema_arrow, shard.url)
            except SourceError as error:
                raise BrokenShardError(error.message, next_step="The files of a source have the same columns.") from error
            for first_row, batch in batches(parquet, columns.names(), size=_BATCH_ROWS):
                yield from self._samples(shard, columns, first_row, batch)

    def _whole(self, shard: Shard, rows: Iterable[int]) -> Iterator[tuple[int, WholeSample]]:
        """The ``.json`` of each is its whole row but for the image. Batches without a wanted row are passed over."""
        with open_parquet(self.place, shard.url) as parquet:
            columns = self._columns(parquet.schema_arrow, shard.url)
            for row, (batch, i) in chosen(_numbered(parquet), rows):
                one = batch.slice(i, 1)
                (sample,) = self._samples(shard, columns, row, one)
                assert columns.payload is not None
                members = sample_members(sample, file_name=_file_name(one.column(columns.payload)), record=_record(one, columns))
                yield row, WholeSample(sample=sample, name=sample.key, members=members)

    def _samples(self, shard: Shard, columns: Columns, first_row: int, batch: pa.RecordBatch) -> Iterator[Sample]:
        assert columns.payload is not None
        samples = read_fields(batch, columns, first_row)
        images = read_images(self.place, shard.url, batch.column(columns.payload))
        for sample, image, failure in zip(samples, images, read_failures(batch, columns), strict=True):
            if isinstance(image, bytes):
                sample.data = image
            else:
                sample.status, sample.error_message = image.status, failure or image.reason
                sample.is_unfetched = image.is_unfetched
            yield sample

    def read(self, ref: ImageRef) -> bytes:
        again = "The source has changed since the scan: scan it again."
        with open_parquet(self.place, ref.shard_url) as parquet:
            columns = self._columns(parquet.schema_arrow, ref.shard_url)
            assert columns.payload is not None
            value = row_batch(parquet, columns.payload, ref.row)
        if value is None:
            raise SourceError(f"{ref.shard_url} has no row {ref.row} any more.", next_step=again)
        (image,) = read_images(self.place, ref.shard_url, value)
        if isinstance(image, bytes):
            return image
        raise SourceError(f"Row {ref.row} of {ref.shard_url} has no image: {image.reason}.", next_step=again)

    def _columns(self, schema: pa.Schema, where: str) -> Columns:
        return find_columns(
            schema, payload="image", payload_column=self.image_column, caption_column=self.caption_column, where=where
        )


@dataclass(frozen=True, slots=True)
class NoImage:
    """Why a row has no image."""

    status: Literal["missing", "unreadable"]
    reason: str
    is_unfetched: bool = False


def parquet_entries(place: Place, on_error: Callable[[str], None] | None = None) -> list[Entry]:
    """The Parquet files of a place; writers' bookkeeping (``_metadata``, ``_tmp``) is left out."""
    return place.files(
        lambda name: place.names is not None or (extension(name) == "parquet" and not is_bookkeeping(name)), on_error
    )


def is_bookkeeping(name: str) -> bool:
    return name.startswith("_") or "/_" in name


def read_images(place: Place, shard_url: str, array: pa.Array) -> Iterator[bytes | NoImage]:
    """The bytes of each value, or why there are none."""
    import pyarrow as pa

    if not pa.types.is_struct(array.type):
        for value in array:
            data = value.as_py()
            yield NoImage("missing", "no image in its row") if data is None else data
        return
    fields = {array.type.field(i).name: values for i, values in enumerate(array.flatten())}
    for i in range(len(array)):
        data = fields["bytes"][i].as_py() if "bytes" in fields else None
        if data is not None:
            yield data
            continue
        path = _path_text(fields["path"][i]) if "path" in fields else None
        yield _read_beside(place, shard_url, path) if path else NoImage("missing", "no image in its row")


def _numbered(parquet: pq.ParquetFile) -> Iterator[tuple[int, tuple[pa.RecordBatch, int]]]:
    """Every row by its number, as a batch with all columns and a place in it."""
    for first_row, batch in batches(parquet, list(parquet.schema_arrow.names), size=_BATCH_ROWS):
        for i in range(batch.num_rows):
            yield first_row + i, (batch, i)


def _record(row: pa.RecordBatch, columns: Columns) -> dict[str, Any]:
    """The fields of one row but for the image; strings of foreign files need not be UTF-8."""
    import pyarrow as pa

    record: dict[str, Any] = {}
    for field, array in zip(row.schema, row.columns, strict=True):
        if field.name == columns.payload:
            continue
        is_list = pa.types.is_list(field.type) or pa.types.is_large_list(field.type)
        is_text = is_text_type(field.type) and not is_list and not is_binary_type(field.type)
        (value,) = text_values(array) if is_text else array.to_pylist()
        record[field.name] = value.decode("utf-8", "replace") if is_text and isinstance(value, bytes) else value
    return record


def _file_name(image: pa.Array) -> str:
    """The path that stands beside the bytes, where there is one."""
    import pyarrow as pa

    if not pa.types.is_struct(image.type):
        return ""
    paths = [values for i, values in enumerate(image.flatten()) if image.type.field(i).name == "path"]
    return clean_key(_path_text(paths[0][0]) or "") if paths else ""


def _path_text(value: pa.Scalar) -> str | None:
    import pyarrow as pa

    data = value.cast(pa.large_binary()).as_py()
    return None if data is None else data.decode("utf-8", "surrogateescape")


def _read_beside(place: Place, shard_url: str, path: str) -> bytes | NoImage:
    """The file that a row names, if it lies inside the source."""
    name = posixpath.normpath(posixpath.join(posixpath.dirname(shard_url), path))
    if "://" in path or not is_inside(name):
        return NoImage("missing", f"no bytes in its row, only a path outside of the source: {clean_key(path[:200])}")
    entry = place.look_up(name)
    if entry is None:
        return NoImage("missing", f"no bytes in its row, and no file {clean_key(name[:200])}")
    problem = place.link_problem(entry) or _not_a_file(place.followed(entry))
    if problem:
        return NoImage("unreadable", f"{clean_key(name[:200])} is {problem}")
    (data,) = fetch(place.fs, [(entry.path, entry.size)])
    if isinstance(data, (ConnectionError, TimeoutError)):
        raise data
    if isinstance(data, ObjectError):
        return NoImage("missing", data.message, is_unfetched=True)
    return data if isinstance(data, bytes) else NoImage("unreadable", f"{clean_key(name[:200])} cannot be read: {data}")


def _not_a_file(entry: Entry) -> str | None:
    if entry.kind != "file":
        return "not a file"
    return f"{entry.size:,} bytes long, over the limit of {MAX_IMAGE_BYTES:,}" if entry.size > MAX_IMAGE_BYTES else None
