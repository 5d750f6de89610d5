"""How rows are printed: as a table for people, or as CSV, JSON and Parquet, which are written as they come, however many."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

import click

from scanner.core.errors import QueryError
from scanner.core.sql import execute, told

if TYPE_CHECKING:
    import duckdb

FORMATS = ("table", "csv", "json", "parquet")
WIDEST_CELL = 80
MOST_ROWS = 10_000
"""Of a table: its columns are as wide as their widest cell, so all of it is in memory."""
BLOCK_ROWS = 10_000
PARQUET_ROWS = 65_536


def print_rows(connection: duckdb.DuckDBPyConnection, sql: str, arguments: dict[str, Any], *, name: str, format_: str) -> None:
    """Runs trusted SQL and prints its rows in one of ``FORMATS``.

    Raises:
        QueryError: DuckDB cannot run it; Parquet would go to a terminal; two columns have one name in JSON or Parquet.
    """
    if format_ == "parquet" and sys.stdout.isatty():
        raise QueryError("Parquet is not for a terminal.", next_step="Redirect it: … --format parquet > rows.parquet")
    if format_ == "parquet":
        with told(name):
            _write_parquet(connection.sql(sql, params=arguments or None))
        return
    cursor = execute(connection, sql, arguments, name=name)
    names = [column[0] for column in cursor.description]
    with told(name):
        {"table": _write_table, "csv": _write_csv, "json": _write_json}[format_](cursor, names)


def _write_table(cursor: duckdb.DuckDBPyConnection, names: list[str]) -> None:
    rows = cursor.fetchmany(MOST_ROWS)
    click.echo("\n".join(table_lines(names, rows)))
    if len(rows) == MOST_ROWS and cursor.fetchone() is not None:
        click.echo(f"These are the first {MOST_ROWS:,}; --format csv, json or parquet gives all.", err=True)


def _write_csv(cursor: duckdb.DuckDBPyConnection, names: list[str]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    for rows in _blocks(cursor):
        writer.writerows([plain(value) for value in row] for row in rows)


def _write_json(cursor: duckdb.DuckDBPyConnection, names: list[str]) -> None:
    _check_names(names)
    separator = "["
    for rows in _blocks(cursor):
        for row in rows:
            record = json.dumps(dict(zip(names, map(plain, row), strict=True)), ensure_ascii=False, indent=1)
            sys.stdout.write(separator + "\n " + record.replace("\n", "\n "))
            separator = ","
    click.echo("[]" if separator == "[" else "\n]")


def _write_parquet(rows: duckdb.DuckDBPyRelation) -> None:
    import pyarrow.parquet as pq

    _check_names(rows.columns)
    reader = rows.to_arrow_reader(PARQUET_ROWS)
    with pq.ParquetWriter(_Forward(sys.stdout.buffer), reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch, row_group_size=PARQUET_ROWS)
    sys.stdout.buffer.flush()


def _check_names(names: list[str]) -> None:
    """Raises QueryError where one column would hide another."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise QueryError(f"Two columns are called {twice[0]!r}.", next_step="Give each a name of its own: select … as ….")


def _blocks(cursor: duckdb.DuckDBPyConnection) -> Iterator[list[tuple[Any, ...]]]:
    while rows := cursor.fetchmany(BLOCK_ROWS):
        yield rows


class _Forward:
    """A pipe as the file that Parquet is written to: it knows where it is, and cannot go back."""

    closed = False

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self._place = pipe, 0

    def write(self, data: bytes) -> int:
        self._place += (written := self._pipe.write(data))
        return written

    def tell(self) -> int:
        return self._place

    def flush(self) -> None:
        self._pipe.flush()

    def close(self) -> None:
        self._pipe.flush()


def plain(value: Any) -> Any:
    """What JSON and CSV can hold: bytes as hex, dates as text."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def table_lines(names: list[str], rows: list[tuple[Any, ...]]) -> list[str]:
    """Header, rule, rows and their number, for a terminal."""
    heads = [_printable(name) for name in names]
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(head), *(len(row[i]) for row in cells)]) for i, head in enumerate(heads)]
    is_number = [all(isinstance(row[i], int | float | None) for row in rows) and bool(rows) for i in range(len(names))]

    def line(values: list[str]) -> str:
        return "  ".join(v.rjust(w) if n else v.ljust(w) for v, w, n in zip(values, widths, is_number, strict=True)).rstrip()

    return [line(heads), line(["-" * width for width in widths]), *map(line, cells), f"({len(rows):,} rows)"]


def _cell(value: Any) -> str:
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = _printable(str(value))
    return text if len(text) <= WIDEST_CELL else text[: WIDEST_CELL - 1] + "…"


def _printable(text: str) -> str:
    """Captions are untrusted: a control character could move the cursor or recolour the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
