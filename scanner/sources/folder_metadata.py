"""Captions of an image folder kept in one file: ``metadata.jsonl``, ``.csv`` or ``.parquet`` with a column ``file_name``.

The convention of Hugging Face's imagefolder; ``file_name`` is relative to the folder of the metadata file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator

from scanner.core.errors import SourceError, nearest
from scanner.sources.fields import clean_key, clean_text, read_record
from scanner.sources.places import Entry, Place

_FILE_NAMES = frozenset({"metadata.jsonl", "metadata.csv", "metadata.parquet"})
_NAME_COLUMN = "file_name"
_CAPTION_COLUMNS = ("text", "caption")
_MAX_FIELD_BYTES = 2**24


def is_metadata_name(name: str) -> bool:
    return name.rpartition("/")[2] in _FILE_NAMES


def read_metadata(
    place: Place, entry: Entry, *, caption_column: str | None, note: Callable[[str], None]
) -> dict[str, str | None]:
    """Caption by file name, in the file's order; the first row of a name counts. Remarks on rows left out go to ``note``.

    Raises:
        SourceError: the file has no ``file_name`` or no column of the given name, or cannot be read at all.
    """
    try:
        rows, columns = _rows(place, entry, note)
    except (OSError, ValueError, csv.Error) as error:
        raise SourceError(
            f"{entry.name} cannot be read: {error}", next_step="Mend it, or move it away to scan the images without captions."
        ) from error
    if rows and _NAME_COLUMN not in columns:
        raise SourceError(
            f"{entry.name} has no column {_NAME_COLUMN!r}; it has {_listed(columns)}.",
            next_step=f"Rename the column with the file names to {_NAME_COLUMN!r}, or move {entry.name} away.",
        )
    if rows and caption_column is not None and caption_column not in columns:
        raise SourceError(
            f"{entry.name} has no column {caption_column!r}; it has {_listed(columns)}.",
            next_step=nearest(caption_column, columns),
        )
    column = caption_column or next((name for name in _CAPTION_COLUMNS if name in columns), None)
    captions: dict[str, str | None] = {}
    num_without_name = num_twice = 0
    for row in rows:
        name = row.get(_NAME_COLUMN)
        if isinstance(name, bytes):
            name = name.decode("utf-8", "surrogateescape")
        if not isinstance(name, str) or not name:
            num_without_name += 1
        elif name in captions:
            num_twice += 1
        else:
            captions[name] = clean_text(row.get(column)) if column else None
    if num_without_name:
        note(f"{entry.name}: {num_without_name:,} rows without {_NAME_COLUMN} left out")
    if num_twice:
        note(f"{entry.name}: {num_twice:,} rows name a file again; the first row of each counts")
    return captions


def _rows(place: Place, entry: Entry, note: Callable[[str], None]) -> tuple[list[dict[str, object]], list[str]]:
    path = place.path(entry.name)
    if entry.name.endswith(".parquet"):
        return _parquet_rows(place, path)
    data: bytes = place.fs.cat_file(path)
    if entry.name.endswith(".csv"):
        csv.field_size_limit(_MAX_FIELD_BYTES)
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig", "replace").replace("\0", "\ufffd"), newline=""))
        return [dict(row) for row in reader], list(reader.fieldnames or ())
    rows = []
    num_broken = 0
    for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        record = read_record(line) if line.strip() else {}
        if record is None:
            num_broken += 1
        elif record:
            rows.append(record)
    if num_broken:
        note(f"{entry.name}: {num_broken:,} lines are no JSON objects and are left out")
    return rows, _seen_columns(rows)


def _parquet_rows(place: Place, path: str) -> tuple[list[dict[str, object]], list[str]]:
    import pyarrow.parquet as pq

    from scanner.sources.columns import text_values

    with place.fs.open(path, "rb") as file:
        parquet = pq.ParquetFile(file)
        columns = [str(name) for name in parquet.schema_arrow.names]
        wanted = [name for name in columns if "bytes" not in str(parquet.schema_arrow.field(name).type)]
        table = parquet.read(columns=wanted)
    values = {name: text_values(table.column(name).combine_chunks()) for name in wanted}
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)], columns


def _seen_columns(rows: Iterable[dict[str, object]]) -> list[str]:
    columns: dict[str, None] = {}
    for row in rows:
        columns.update(dict.fromkeys(row))
    return list(columns)


def _listed(columns: list[str]) -> str:
    shown: Iterator[str] = (repr(clean_key(name)) for name in columns[:12])
    return ", ".join(shown) + (", …" if len(columns) > 12 else "")
