"""The query library, ``queries/<area>/<name>.sql``, and a connection over the tables of a run that can do nothing but read them.

A query file is plain SQL with ``$parameters`` under a header of comments::

    -- purpose: captions that most images of one group carry
    -- grain:   one row per group and caption
    -- reads:   group_captions, group_risk
    -- needs:   exists (from group_risk) -- no group was ranked
    -- param:   limit integer = 20 -- rows
    -- example: scanner query RUN risk/top_captions --param limit=10

``needs`` is for queries whose rows are violations: where its condition does not hold, that there are none says nothing, for the
reason beside it. What ``param`` says is in ``core.parameters``.

``reads: other.groups`` is the table of a second run, that ``--other`` names.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from scanner.core.amounts import parse_bytes
from scanner.core.errors import QueryError, StoreError, nearest
from scanner.core.parameters import Parameter, parse_parameter
from scanner.core.schemas import MADE_BY
from scanner.core.store import Store
from scanner.core.views import HARDENED, LOCK, MACROS, closed, quoted, table_views

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

OTHER = "other"
"""Schema of the tables of a second run."""

OUTSIDE_DUCKDB = 300 << 20
"""Bytes of a query that DuckDB does not count: Python, its libraries, rows on their way out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What must hold of a run for no rows to mean that there are none: a condition in SQL, and what is amiss where it fails."""

    condition: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A query of the library: its header, parsed, and its SQL."""

    name: str
    purpose: str
    grain: str
    reads: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    example: str
    sql: str
    needs: tuple[Need, ...] = ()

    @property
    def compares_runs(self) -> bool:
        """Whether it reads tables of a second run."""
        return any(table.startswith(f"{OTHER}.") for table in self.reads)

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Typed values of all parameters. Raises QueryError for unknown, missing or ill-typed ones."""
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                raise QueryError(
                    f"Query {self.name} has no parameter {name!r}.",
                    next_step=nearest(name, list(known)) if known else "It takes none.",
                )
        values = {}
        for name, parameter in known.items():
            value = given.get(name, parameter.default)
            if value is None:
                raise QueryError(
                    f"Query {self.name} needs parameter {name} ({parameter.doc}).", next_step=f"Add --param {name}=…."
                )
            values[name] = parameter.read(value, query=self.name)
        return values


def _parse(name: str, text: str) -> Query:
    header: dict[str, str] = {}
    parameters, needs = [], []
    for line in text.splitlines():
        match = re.match(r"--\s*(\w+):\s*(.*)", line)
        if not match:
            break
        field, value = match[1], match[2].strip()
        if field == "param":
            parameters.append(parse_parameter(value, query=name))
        elif field == "needs":
            condition, _, reason = value.partition(" -- ")
            needs.append(Need(condition=condition.strip(), reason=reason.strip()))
        else:
            header[field] = value
    missing = {"purpose", "grain", "reads", "example"} - set(header)
    assert not missing, f"queries/{name}.sql: header lacks {sorted(missing)}"
    return Query(
        name=name,
        purpose=header["purpose"],
        grain=header["grain"],
        reads=tuple(re.split(r",\s*", header["reads"])),
        parameters=tuple(parameters),
        example=header["example"],
        sql=text,
        needs=tuple(needs),
    )


@cache
def queries() -> dict[str, Query]:
    """Every query of the library by ``area/name``."""
    found = {}
    for area in sorted(resources.files("scanner.queries").iterdir(), key=lambda entry: entry.name):
        if area.is_dir() and not area.name.startswith("_"):
            for file in sorted(area.iterdir(), key=lambda entry: entry.name):
                if file.name.endswith(".sql"):
                    name = f"{area.name}/{file.name.removesuffix('.sql')}"
                    found[name] = _parse(name, file.read_text("utf-8"))
    return found


def find_query(name: str) -> Query:
    """The query called ``area/name``, or ``name`` where one area alone has it. Raises QueryError with the nearest known name."""
    known = queries()
    matches = [query for full, query in known.items() if name in (full, full.rsplit("/", 1)[-1])]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise QueryError(f"{name!r} names {len(matches)} queries.", next_step="Say which: " + ", ".join(q.name for q in matches))
    raise QueryError(f"There is no query {name!r}.", next_step=nearest(name, list(known)))


def connect(
    store: Store,
    *,
    other: Store | None = None,
    beside: Store | None = None,
    memory: str = "4GB",
    threads: int = 0,
    scratch: str = "",
) -> duckdb.DuckDBPyConnection:
    """An in-memory database with a view for every committed table of the run, and the macros of ``core.views``.

    A committed table without rows is an empty view with its columns, and so is one of ``EMPTY_UNTIL_WRITTEN`` that is not there;
    another that was never committed has no view. From then on the parts are all that a statement can open, nothing can be
    installed or loaded, and the configuration is locked.

    Args:
        other: a second run, whose tables stand in schema ``other``.
        beside: the run whose tables stand in for those that ``store`` lacks; of an export, that which it was made of, where
            it is at hand.
        memory: what a query may take, such as 4GB; what does not fit is spilled. Below about 500MB the process itself takes
            more.
        threads: 0 for one a core.
        scratch: local folder to spill to, that of the system by default. A folder in it, closed to other users, goes with the
            connection.

    Raises:
        ConfigError: ``memory`` is not a size.
        QueryError: there is no such folder as ``scratch``.
        StoreError: a part is gone or damaged.
    """
    import duckdb

    own = limits(memory, threads)
    spill = spill_folder(scratch)
    settings = {**HARDENED, **own, "temp_directory": spill, "python_enable_replacements": False}
    try:
        connection = duckdb.connect(":memory:", config=settings)
        weakref.finalize(connection, shutil.rmtree, spill, ignore_errors=True)
    except BaseException:
        shutil.rmtree(spill, ignore_errors=True)
        raise
    connection.execute(MACROS)
    readable: list[str] = []
    for schema, run, behind in (("main", store, beside or store.origin()), (OTHER, other, other.origin() if other else None)):
        if run is None:
            continue
        for one in (run, behind):
            if one is not None:
                register_filesystem(connection, one)
        if schema != "main":
            connection.execute(f"create schema {quoted(schema)}")
        for view in table_views(run, behind):
            try:
                connection.execute(view.create(schema))
            except duckdb.Error as error:
                raise StoreError(
                    f"Table {view.table} of {run.url} cannot be read: {error}.",
                    next_step="Delete the part that is named and run the same command again.",
                ) from None
            readable += view.paths
    for statement in (*closed(readable), LOCK):
        connection.execute(statement)
    return connection


def spill_folder(scratch: str) -> str:
    """A new folder, closed to other users, for what does not fit in memory: captions are as confidential there as in the run.

    Raises:
        QueryError: there is no such folder as ``scratch``, or it cannot be written.
    """
    try:
        return tempfile.mkdtemp(prefix="scanner-sql-", dir=scratch or None)
    except OSError as error:
        raise QueryError(f"Cannot write to scratch folder {scratch!r}: {error}.", next_step="Name one that exists.") from error


def limits(memory: str, threads: int) -> dict[str, str | int]:
    """DuckDB's settings for a process that may take ``memory``: a fifth or 300 MiB, at most half, is for what it does not count.

    Raises:
        ConfigError: ``memory`` is not a size.
    """
    allowed = parse_bytes(memory, name="memory")
    own = max(min(allowed * 4 // 5, allowed - OUTSIDE_DUCKDB), allowed // 2)
    return {"memory_limit": f"{own}B", **({"threads": threads} if threads else {})}


def register_filesystem(connection: duckdb.DuckDBPyConnection, store: Store) -> None:
    """Lets DuckDB read a remote run through fsspec; nothing to do for a local one."""
    if store.is_local:
        return
    names = store.fs.protocol
    if not any(connection.filesystem_is_registered(name) for name in ([names] if isinstance(names, str) else names)):
        connection.register_filesystem(store.fs)


def run_query(
    connection: duckdb.DuckDBPyConnection, query: Query, given: Mapping[str, Any] | None = None
) -> duckdb.DuckDBPyConnection:
    """Executes a query of the library; the connection then holds its result.

    Raises:
        QueryError: a parameter is wrong, or a table it reads was never written.
    """
    arguments = query.arguments(given or {})
    check_tables(connection, query)
    return execute(connection, query.sql, arguments, name=query.name)


def check_tables(connection: duckdb.DuckDBPyConnection, query: Query) -> None:
    """Raises QueryError where a table that the query reads is not there: which, and the stage that makes it."""
    rows = connection.execute("select schema_name, view_name from duckdb_views() where not internal").fetchall()
    views = {name if schema == "main" else f"{schema}.{name}" for schema, name in rows}
    if query.compares_runs and not any(view.startswith(f"{OTHER}.") for view in views):
        raise QueryError(f"{query.name} compares two runs.", next_step="Name the other one: --other RUN2.")
    for table in query.reads:
        if table not in views:
            raise _missing(query.name, table)


def _missing(name: str, table: str) -> QueryError:
    schema, _, bare = table.rpartition(".")
    stage, command = MADE_BY[bare]
    which = "the other run" if schema == OTHER else "this run"
    return QueryError(
        f"{name} reads table {bare}, which {which} does not have: stage {stage} makes it.",
        next_step=f"Run `scanner {command}` on it, to its end, first.",
    )


def query_rows(connection: duckdb.DuckDBPyConnection, name: str, given: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """All rows of the query called ``name``, each by its columns: for answers that a limit or an aggregate keeps small.

    Raises:
        QueryError: there is no such query; otherwise as ``run_query`` does.
    """
    cursor = run_query(connection, find_query(name), given)
    columns = [column[0] for column in cursor.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def execute(
    connection: duckdb.DuckDBPyConnection, sql: str, arguments: Mapping[str, Any] | None = None, *, name: str = "sql"
) -> duckdb.DuckDBPyConnection:
    """Executes trusted SQL with named parameters, DuckDB's errors made into QueryError."""
    with told(name):
        return connection.execute(sql, dict(arguments)) if arguments else connection.execute(sql)


def fetch_table(
    connection: duckdb.DuckDBPyConnection, sql: str, arguments: Mapping[str, Any] | None = None, *, name: str = "sql"
) -> pa.Table:
    """All rows of trusted SQL, as Arrow. Raises QueryError as ``execute`` does."""
    with told(name):
        return connection.sql(sql, params=dict(arguments) if arguments else None).to_arrow_table()


def fetch_blocks(
    connection: duckdb.DuckDBPyConnection, sql: str, arguments: Mapping[str, Any] | None = None, *, rows: int, name: str = "sql"
) -> Iterator[pa.RecordBatch]:
    """The rows of trusted SQL as Arrow, about ``rows`` at a time: never all in memory. Raises QueryError as ``execute`` does."""
    with told(name):
        yield from connection.sql(sql, params=dict(arguments) if arguments else None).to_arrow_reader(rows)


@contextmanager
def told(name: str) -> Iterator[None]:
    """DuckDB's errors as QueryError of the query ``name``."""
    import duckdb

    try:
        yield
    except duckdb.CatalogException as error:
        missing = re.search(r"Table with name (\w+)", str(error))
        if missing and missing[1] in MADE_BY:
            raise _missing(name, missing[1]) from None
        raise QueryError(f"{name}: {error}", next_step="`scanner tables` lists tables and columns.") from None
    except duckdb.OutOfMemoryException as error:
        raise QueryError(
            f"{name}: {error}", next_step="Give it more --memory, fewer --threads, or a larger disk to spill to: --scratch."
        ) from None
    except duckdb.Error as error:
        raise QueryError(f"{name}: {error}", next_step="`scanner tables` lists tables and columns.") from None


def check_reads_only(sql: str) -> str:
    """``sql`` itself, if it is one statement that only reads.

    Raises:
        QueryError: it does not parse, is more than one statement, or would write, attach, install or set something.
    """
    import duckdb

    with told("sql"):
        statements = duckdb.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise QueryError(
            "Only one statement that reads (select, describe, show) is run here.",
            next_step="To keep a result, redirect the output.",
        )
    return sql
