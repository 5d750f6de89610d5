"""``query`` and ``sql``."""

from __future__ import annotations

import csv
import io
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from scanner.core.errors import QueryError
from scanner.core.sql import check_reads_only, connect, execute, fetch_table, find_query, queries
from scanner.core.store import Store

if TYPE_CHECKING:
    import duckdb

FORMATS = ("table", "csv", "json", "parquet")
WIDEST_CELL = 80

_format = click.option(
    "--format", "format_", type=click.Choice(FORMATS), default="table", show_default=True, help="How the rows are printed."
)


@click.command()
@click.argument("run_url", metavar="RUN")
@click.argument("name", required=False)
@click.option("--param", "parameters", multiple=True, metavar="KEY=VALUE", help="A parameter of the query; may be given again.")
@_format
def query(run_url: str, name: str | None, parameters: tuple[str, ...], format_: str) -> None:
    """Answer a question of the query library (queries/); without NAME, list them.

    \b
    Example:
      scanner query run risk/top_captions --param limit=10
      scanner query run groups/group_members --param group_id=0 --format json
    """
    store = Store.open(run_url)
    if name is None:
        width = max(len(known) for known in queries())
        click.echo("\n".join(f"{known:<{width}}  {question.purpose}" for known, question in queries().items()))
        return
    given = {}
    for parameter in parameters:
        key, equals, value = parameter.partition("=")
        if not equals:
            raise QueryError(f"--param takes KEY=VALUE, not {parameter!r}.", next_step="For example --param limit=10.")
        given[key] = value
    question = find_query(name)
    with connect(store) as connection:
        _print(connection, question.sql, question.arguments(given), name=question.name, format_=format_)


@click.command()
@click.argument("run_url", metavar="RUN")
@click.argument("statement", metavar="SQL")
@_format
def sql(run_url: str, statement: str, format_: str) -> None:
    """Run your own SQL over the tables of a run. Read-only: one statement that selects.

    Tables are views; macros: vec(embedding) gives a list of floats, host(url) the host.

    \b
    Example:
      scanner sql run "select status, count(*) from images group by status"
    """
    with connect(Store.open(run_url)) as connection:
        _print(connection, check_reads_only(statement), {}, name="sql", format_=format_)


def _print(connection: duckdb.DuckDBPyConnection, sql: str, arguments: dict[str, Any], *, name: str, format_: str) -> None:
    if format_ == "parquet":
        import pyarrow.parquet as pq

        if sys.stdout.isatty():
            raise QueryError("Parquet is not for a terminal.", next_step="Redirect it: … --format parquet > rows.parquet")
        buffer = io.BytesIO()
        pq.write_table(fetch_table(connection, sql, arguments, name=name), buffer)
        sys.stdout.buffer.write(buffer.getvalue())
        return
    cursor = execute(connection, sql, arguments, name=name)
    names = [column[0] for column in cursor.description]
    rows = cursor.fetchall()
    if format_ == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_plain(value) for value in row] for row in rows)
        click.echo(text.getvalue(), nl=False)
    elif format_ == "json":
        click.echo(json.dumps([dict(zip(names, map(_plain, row), strict=True)) for row in rows], ensure_ascii=False, indent=1))
    else:
        click.echo("\n".join(_table(names, rows)))


def _plain(value: Any) -> Any:
    """What JSON and CSV can hold: bytes as hex, dates as text."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return value if isinstance(value, str | int | float | bool | list | dict | None) else str(value)


def _cell(value: Any) -> str:
    value = _plain(value)
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    # Captions are untrusted: a control character could move the cursor or recolour the terminal.
    text = "".join(c if c.isprintable() else " " for c in str(value))
    return text if len(text) <= WIDEST_CELL else text[: WIDEST_CELL - 1] + "…"


def _table(names: list[str], rows: list[tuple[Any, ...]]) -> list[str]:
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(names)]
    is_number = [all(isinstance(row[i], int | float | None) for row in rows) and bool(rows) for i in range(len(names))]

    def line(values: list[str]) -> str:
        return "  ".join(v.rjust(w) if n else v.ljust(w) for v, w, n in zip(values, widths, is_number, strict=True)).rstrip()

    return [line(names), line(["-" * width for width in widths]), *map(line, cells), f"({len(rows):,} rows)"]
