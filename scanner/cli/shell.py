"""``shell``: the DuckDB command line over the tables of a run, or a plain prompt where there is none."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scanner.cli.query import engine_options, open_runs
from scanner.cli.rows import print_rows
from scanner.core.errors import QueryError
from scanner.core.schemas import TABLES
from scanner.core.sql import OTHER, check_reads_only, connect, limits, spill_folder
from scanner.core.store import Store
from scanner.core.views import HARDENED, LOCK, MACROS, closed, literal, quoted, table_views

if TYPE_CHECKING:
    import duckdb

PROMPT, MORE = "scanner> ", "    ...> "
HELP = "End a statement with a semicolon. .tables lists the tables, .quit leaves."


@click.command()
@click.argument("run_url", metavar="RUN")
@click.option("--other", "other_url", metavar="RUN2", help="A second run: its tables are other.images and so on.")
@engine_options
@click.option("--plain", is_flag=True, help="The built-in prompt, also where there is a DuckDB command line.")
def shell(run_url: str, other_url: str | None, memory: str, threads: int | None, scratch: str, plain: bool) -> None:
    """Ask a run in SQL, statement after statement: the DuckDB command line with the tables and macros loaded.

    The run cannot be changed, and no statement can open other files. Tables that you create live in memory until you leave.
    Where there is no DuckDB command line (pip install duckdb-cli, or duckdb.org) or the run is remote, a plain prompt takes its
    place. Statements can be piped in.

    \b
    Example:
      scanner shell run
      echo "select count(*) from images;" | scanner shell run
    """
    store, other = open_runs(run_url, other_url)
    opened = [run for one in (store, other) if one is not None for run in (one, one.origin()) if run is not None]
    program = find_program() if not plain and all(run.is_local for run in opened) else None
    if program is None:
        if not plain and sys.stdin.isatty():
            why = (
                "The DuckDB command line opens local runs only"
                if find_program()
                else "No DuckDB command line (pip install duckdb-cli)"
            )
            click.echo(f"{why}: a plain prompt.", err=True)
        with connect(store, other=other, memory=memory, threads=threads or 0, scratch=scratch) as connection:
            prompt(connection)
        return
    spill = spill_folder(scratch)
    try:
        script = setup_script(store, other, memory=memory, threads=threads or 0, spill=spill)
        sys.exit(run_program(program, script))
    finally:
        shutil.rmtree(spill, ignore_errors=True)


def find_program() -> str | None:
    """The DuckDB command line on PATH, or beside this Python, where ``pip install duckdb-cli`` puts it."""
    return shutil.which("duckdb") or shutil.which("duckdb", path=str(Path(sys.executable).parent))


def setup_script(store: Store, other: Store | None, *, memory: str, threads: int, spill: str) -> str:
    """What the program runs before anything else: settings, macros, views, no way out of the run. If one fails, it ends."""
    settings: dict[str, object] = {**HARDENED, **limits(memory, threads), "temp_directory": spill}
    # Unsigned extensions are off unless a flag of the program asks for them, and cannot be switched off later.
    settings.pop("allow_unsigned_extensions")
    lines = [f"set {name} = {_value(value)};" for name, value in settings.items()]
    lines.append(MACROS)
    paths: list[str] = []
    for schema, run in (("main", store), (OTHER, other)):
        if run is None:
            continue
        if schema != "main":
            lines.append(f"create schema {quoted(schema)};")
        for view in table_views(run, run.origin()):
            lines.append(view.create(schema) + ";")
            paths += view.paths
    lines += [statement + ";" for statement in closed(paths)]
    return "\n".join([".bail on", *lines, ".bail off", ""])


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | int) else literal(str(value))


def run_program(program: str, script: str) -> int:
    """Runs the DuckDB command line until the user leaves it; its exit code."""
    with tempfile.NamedTemporaryFile("w", prefix="scanner-shell-", suffix=".sql", encoding="utf-8") as file:
        file.write(script)
        file.flush()
        # Ctrl-C is for the statement that runs in the program, and no reason for this process to end.
        before = signal.signal(signal.SIGINT, lambda *_: None)
        try:
            # Locked by a statement of its own, since the program still sets things of its own after the script.
            return subprocess.run([program, "-init", file.name, "-cmd", LOCK, ":memory:"], check=False).returncode
        except OSError as error:
            raise QueryError(f"Cannot start {program}: {error}.", next_step="Install it anew, or use --plain.") from error
        finally:
            signal.signal(signal.SIGINT, before)


def prompt(connection: duckdb.DuckDBPyConnection) -> None:
    """Reads statements and prints their rows. At a terminal an error is told and the prompt comes back.

    Raises:
        QueryError: a statement that was piped in cannot be run.
    """
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        with suppress(ImportError):
            import readline  # noqa: F401
        click.echo(HELP)
    for statement in statements(PROMPT if is_terminal else "", MORE if is_terminal else ""):
        try:
            if statement.startswith("."):
                if not _command(connection, statement):
                    return
            else:
                print_rows(connection, check_reads_only(statement), {}, name="sql", format_="table")
        except QueryError as error:
            if not is_terminal:
                raise
            click.echo(f"Error: {error}", err=True)
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)


def statements(first: str, more: str) -> Iterator[str]:
    """Statements up to a semicolon at the end of a line, and lines that start with a dot, until the input ends."""
    lines: list[str] = []
    while True:
        try:
            line = input(more if lines else first)
        except KeyboardInterrupt:
            click.echo()
            lines = []
            continue
        except EOFError:
            if any(line.strip() for line in lines):
                yield "\n".join(lines)
            return
        if not lines and line.lstrip().startswith("."):
            yield line.strip()
        elif lines or line.strip():
            lines.append(line)
            if line.rstrip().endswith(";"):
                yield "\n".join(lines)
                lines = []


def _command(connection: duckdb.DuckDBPyConnection, line: str) -> bool:
    """A line that starts with a dot; False to leave."""
    if line in (".quit", ".exit"):
        return False
    if line == ".tables":
        rows = connection.execute("select schema_name, view_name from duckdb_views() where not internal order by all").fetchall()
        for schema, name in rows:
            shown = name if schema == "main" else f"{schema}.{name}"
            click.echo(f"{shown:<24} {TABLES[name].grain}")
    elif line == ".help":
        click.echo(HELP)
    else:
        raise QueryError(f"There is no {line.split()[0]!r} at this prompt.", next_step=HELP)
    return True
