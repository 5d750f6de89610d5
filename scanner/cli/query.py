"""``query`` and ``sql``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from scanner.cli.rows import FORMATS, print_rows
from scanner.core.errors import QueryError
from scanner.core.sql import check_reads_only, check_tables, connect, find_query, queries
from scanner.core.store import Store

_format = click.option(
    "--format", "format_", type=click.Choice(FORMATS), default="table", show_default=True, help="How the rows are printed."
)
_other = click.option("--other", "other_url", metavar="RUN2", help="A second run: its tables are other.images and so on.")
_ENGINE = (
    click.option("--memory", default="4GB", show_default=True, help="What the query may take; more is spilled to --scratch."),
    click.option("--threads", type=click.IntRange(min=1), help="Threads (default: one a core)."),
    click.option("--scratch", default="", metavar="DIR", help="Local folder to spill to (default: that of the system)."),
)


def engine_options(command: Callable[..., None]) -> Callable[..., None]:
    """``--memory``, ``--threads`` and ``--scratch``."""
    for option in reversed(_ENGINE):
        command = option(command)
    return command


def open_runs(run_url: str, other_url: str | None) -> tuple[Store, Store | None]:
    """The run, and the second one where it is asked for."""
    return Store.open(run_url), Store.open(other_url) if other_url else None


@click.command()
@click.argument("run_url", metavar="RUN")
@click.argument("name", required=False)
@click.option("--param", "parameters", multiple=True, metavar="KEY=VALUE", help="A parameter of the query; may be given again.")
@_other
@_format
@engine_options
def query(
    run_url: str, name: str | None, parameters: tuple[str, ...], other_url: str | None, format_: str, memory: str,
    threads: int | None, scratch: str,
) -> None:  # fmt: skip
    """Answer a question of the query library (queries/); without NAME, list them.

    \b
    Example:
      scanner query run risk/top_captions --param limit=10
      scanner query run groups/group_members --param group_id=0 --format json
      scanner query run groups/runs_compared --other run-before
    """
    store, other = open_runs(run_url, other_url)
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
    arguments = question.arguments(given)
    with connect(store, other=other, memory=memory, threads=threads or 0, scratch=scratch) as connection:
        check_tables(connection, question)
        print_rows(connection, question.sql, arguments, name=question.name, format_=format_)


@click.command()
@click.argument("run_url", metavar="RUN")
@click.argument("statement", metavar="SQL", required=False)
@_other
@_format
@engine_options
@click.option("--export", "export_path", metavar="FILE", help="Write the tables into a DuckDB file for BI tools instead.")
@click.option("--with-embeddings", is_flag=True, help="With --export: table embeddings too.")
@click.option("--force", is_flag=True, help="With --export: replace FILE if it is there.")
def sql(
    run_url: str, statement: str | None, other_url: str | None, format_: str, memory: str, threads: int | None, scratch: str,
    export_path: str | None, with_embeddings: bool, force: bool,
) -> None:  # fmt: skip
    """Run your own SQL over the tables of a run. Read-only: one statement that selects.

    Tables are views; macros: vec(embedding) gives a list of floats, host(url) the host. With --export no SQL is given: the tables
    are copied into a file of DuckDB's, which tools for dashboards open.

    \b
    Example:
      scanner sql run "select status, count(*) from images group by status"
      scanner sql run --export risk.duckdb
    """
    if (statement is None) == (export_path is None):
        raise click.UsageError("Give either SQL or --export FILE.")
    if export_path is None and (force or with_embeddings):
        raise click.UsageError("--force and --with-embeddings belong to --export.")
    store, other = open_runs(run_url, other_url)
    if export_path is not None:
        if other is not None:
            raise click.UsageError("--export writes one run; leave --other out.")
        _export(
            store, Path(export_path), with_embeddings=with_embeddings, is_forced=force, memory=memory, threads=threads or 0,
            scratch=scratch,
        )  # fmt: skip
        return
    assert statement is not None
    with connect(store, other=other, memory=memory, threads=threads or 0, scratch=scratch) as connection:
        print_rows(connection, check_reads_only(statement), {}, name="sql", format_=format_)


def _export(store: Store, path: Path, **settings: Any) -> None:
    from scanner.core.amounts import show_bytes
    from scanner.core.database_file import write_database

    written = write_database(store, path, **settings)
    rows = sum(written.num_rows.values())
    click.echo(f"{path}: {len(written.num_rows)} tables, {rows:,} rows, {show_bytes(written.num_bytes)}")
    if "embeddings" in written.left_out:
        click.echo("Table embeddings is left out; --with-embeddings takes it in.")
