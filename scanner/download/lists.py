"""Reads the user's list of URLs and writes it down as img2dataset takes it: checked URLs, numbered rows, columns it can carry."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from scanner.core.errors import SourceError
from scanner.download.state import ListFile
from scanner.download.urls import checked_url
from scanner.sources.columns import Columns, find_columns, is_text_type, list_columns, text_values
from scanner.sources.fields import clean_text
from scanner.sources.names import extension
from scanner.sources.parquet import is_bookkeeping
from scanner.sources.parquet_files import batches, open_parquet
from scanner.sources.places import Entry, Place

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

LIST_ROWS = 1_000_000
"""Of a prepared file: img2dataset reads one whole."""
BATCH_ROWS = 8192
ROW = "list_row"
RESERVED = frozenset(
    ("key", "caption", "url", "width", "height", "original_width", "original_height", "status", "error_message", "exif")
    + ("md5", "sha256", "sha512", "jpg", "txt", "json", "__key__", ROW)
)
"""Names that img2dataset gives to columns of its own; those of the list get ``listed_`` in front."""


def list_files(place: Place) -> list[Entry]:
    """Parquet files of a list."""
    return place.files(lambda name: extension(name) == "parquet" and not is_bookkeeping(name))


@dataclass(frozen=True, kw_only=True, slots=True)
class ListColumns:
    """Which columns of the user's list are what.

    Attributes:
        found: the URL and the caption.
        others: names of those that are carried along, and the type they are carried as (``int64``, ``double``, ``bool``,
            ``string``).
    """

    found: Columns
    others: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, schema: pa.Schema, *, caption_column: str | None, where: str) -> ListColumns:
        """Raises SourceError: no column with URLs."""
        found = find_columns(schema, payload="none", caption_column=caption_column, where=where)
        if found.url is None:
            raise SourceError(
                f"{where} has no column with URLs; it has {list_columns(schema)}.",
                next_step="A list needs a column called url (or URL, image_url).",
            )
        others = {
            str(f.name): kind
            for f in schema
            if f.name not in (found.url, found.caption) and (kind := _carried_as(f.type)) is not None
        }
        return cls(found=found, others=others)


def _carried_as(type_: pa.DataType) -> str | None:
    """What JSON can hold; lists, structs and dates stay in the user's list."""
    import pyarrow as pa

    if pa.types.is_boolean(type_):
        return "bool"
    if pa.types.is_integer(type_):
        return "int64" if type_ != pa.uint64() else "string"
    if pa.types.is_floating(type_):
        return "double"
    return "string" if is_text_type(type_) and not pa.types.is_list(type_) and not pa.types.is_large_list(type_) else None


def carried_name(name: str) -> str:
    return f"listed_{name}" if name in RESERVED else name


def prepared_schema(columns: dict[str, str]) -> pa.Schema:
    """Of a prepared list: row, URL, caption, and the others by their carried names."""
    import pyarrow as pa

    fields = [(ROW, pa.int64()), ("url", pa.string()), ("caption", pa.string())]
    return pa.schema([*fields, *((name, pa.type_for_alias(kind)) for name, kind in columns.items())])


REFUSED_FIELDS = (ROW, "url", "reason")


def prepared_tables(
    place: Place, entry: Entry, columns: dict[str, str], *, caption_column: str | None, first_row: int
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Rows of one file of the list, batch by batch, and those among them whose URL is refused: their URL is empty.

    Args:
        columns: carried name and type of those beside URL and caption; a file that lacks one has nulls.
        first_row: number of the file's first row in the whole list.

    Raises:
        SourceError: no column with URLs.
        BrokenShardError: it is no Parquet file, or damaged.
    """
    import pyarrow as pa

    schema = prepared_schema(columns)
    with open_parquet(place, entry.name) as parquet:
        here = ListColumns.of(parquet.schema_arrow, caption_column=caption_column, where=entry.name)
        names = {carried_name(name): name for name in here.others}
        for row, batch in batches(parquet, [*here.found.names(with_payload=False), *here.others], size=BATCH_ROWS):
            texts = [clean_text(value) for value in text_values(batch.column(here.found.url))]
            checked = [checked_url(text) for text in texts]
            rows = pa.array(range(first_row + row, first_row + row + batch.num_rows), pa.int64())
            captions: list[str | None] = [None] * batch.num_rows
            if here.found.caption is not None:
                captions = [clean_text(value) for value in text_values(batch.column(here.found.caption))]
            carried = [
                _carried(batch.column(names[name]), kind) if name in names else pa.nulls(batch.num_rows, pa.type_for_alias(kind))
                for name, kind in columns.items()
            ]
            table = pa.Table.from_arrays(
                [rows, pa.array([url for url, _ in checked]), pa.array(captions, pa.string()), *carried], schema=schema
            )
            refused = [i for i, (_, reason) in enumerate(checked) if reason]
            yield (
                table,
                pa.table(
                    {
                        ROW: rows.take(pa.array(refused, pa.int64())),
                        "url": pa.array([texts[i] for i in refused], pa.string()),
                        "reason": pa.array([checked[i][1] for i in refused], pa.string()),
                    }
                ),
            )


def _carried(column: pa.Array, kind: str) -> pa.Array:
    """As numbers that JSON knows, or as valid text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind == "string":
        if not is_text_type(column.type):
            return column.cast(pa.string())
        return pa.array([clean_text(value) for value in text_values(column)], pa.string())
    try:
        numbers = column.cast(pa.type_for_alias(kind))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.nulls(len(column), pa.type_for_alias(kind))
    if kind == "double":
        return pc.if_else(pc.is_finite(numbers), numbers, pa.scalar(None, pa.float64()))
    return numbers


class ListWriter:
    """Writes rows into prepared files of whole shards, one row group a shard.

    Args:
        folder: gets the files; they count once the state names them.
        name: gives the name of a file by its number.
        schema: of the rows.
        first_shard: of the first file.
    """

    def __init__(self, folder: Path, name: Callable[[int], str], schema: pa.Schema, *, shard_rows: int, first_shard: int) -> None:
        assert LIST_ROWS % shard_rows == 0, "only the last file of a pass has a shard that is not full"
        self.folder, self.name, self.schema, self.shard_rows = folder, name, schema, shard_rows
        self.files: list[ListFile] = []
        self._next_shard = first_shard
        self._waiting: list[pa.Table] = []
        self._num_waiting = self._num_written = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self._num_waiting += table.num_rows
        if self._num_waiting >= self.shard_rows:
            self._flush(is_last=False)

    def close(self) -> list[ListFile]:
        self._flush(is_last=True)
        self._end_file()
        return self.files

    def _flush(self, *, is_last: bool) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.concat_tables(self._waiting) if self._waiting else self.schema.empty_table()
        while table.num_rows >= self.shard_rows or (is_last and table.num_rows):
            if self._writer is None:
                self._writer = pq.ParquetWriter(self.folder / self.name(len(self.files)), self.schema, compression="zstd")
            shard, table = table.slice(0, self.shard_rows), table.slice(self.shard_rows)
            self._writer.write_table(shard, row_group_size=self.shard_rows)
            self._num_written += shard.num_rows
            if self._num_written >= LIST_ROWS:
                self._end_file()
        self._waiting, self._num_waiting = [table], table.num_rows

    def _end_file(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        name = self.name(len(self.files))
        self.files.append(ListFile(name=name, num_rows=self._num_written, first_shard=self._next_shard))
        self._next_shard += math.ceil(self._num_written / self.shard_rows)
        self._writer, self._num_written = None, 0
