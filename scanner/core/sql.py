"""The tables of a run as DuckDB views, and the queries that stand in ``queries/<area>/<name>.sql``.

A query file is plain SQL with ``$parameters`` under a header of comments::

    -- purpose: captions that most images of one group carry
    -- grain:   one row per group and caption
    -- reads:   group_captions, group_risk
    -- needs:   exists (from group_risk) -- no group was ranked
    -- param:   limit integer = 20 -- rows
    -- example: scanner query RUN risk/top_captions --param limit=10

``needs`` is for queries whose rows are violations: where its condition does not hold, that there are none says nothing, for the
reason beside it. What ``param`` says is in ``core.parameters``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from scanner.core.errors import QueryError, StoreError, nearest
from scanner.core.parameters import Parameter, parse_parameter
from scanner.core.schemas import ARROW_TO_SQL, EMPTY_UNTIL_WRITTEN, TABLES
from scanner.core.store import COMMIT_FILE, Store

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

# float16 -> float in SQL: DuckDB has no half type. Bytes are little-endian, so the second byte pair of the hex comes first.
MACROS = """
create or replace macro half_to_float(bits) as
    (case when bits & 32768 = 0 then 1.0 else -1.0 end)
    * (case (bits >> 10) & 31
        when 0 then (bits & 1023) * pow(2.0, -24)
        when 31 then case when bits & 1023 = 0 then 'inf'::double else 'nan'::double end
        else (1 + (bits & 1023) / 1024.0) * pow(2.0, ((bits >> 10) & 31) - 15)
    end);
create or replace macro vec(embedding) as
    list_transform(range(0, octet_length(embedding) // 2),
        lambda i: half_to_float(
            ('0x' || hex(embedding)[4 * i + 3:4 * i + 4] || hex(embedding)[4 * i + 1:4 * i + 2])::integer)::float);
create or replace macro host(url) as nullif(
    lower(regexp_extract(url, '^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/@?#]*@)?([^/:?#]+)', 1)), '');
create or replace macro caption_hash(caption) as (('0x' || sha256(caption)[1:16])::ubigint >> 1)::bigint;
create or replace macro caption_kind(caption) as
    2 * least(len(string_split(trim(caption), ' ')) // 3, 10) + regexp_matches(caption, '[0-9]')::integer;
"""


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


def connect(store: Store, *, beside: Store | None = None, memory: str = "4GB", threads: int = 0) -> duckdb.DuckDBPyConnection:
    """An in-memory database with a view for every committed table of the run, and the macros ``vec``, ``host``,
    ``caption_hash`` and ``caption_kind`` (words in threes, digits or none).

    A committed table without rows is an empty view with its columns, and so is one of ``EMPTY_UNTIL_WRITTEN`` that is not there;
    another that was never committed has no view. Tables that the store lacks are those of ``beside``; of an export, those of the
    run that it was made of, where that is at hand.

    Raises:
        StoreError: a part is gone or damaged.
    """
    import duckdb

    settings: dict[str, str | bool | int | float | list[str]] = {"memory_limit": memory}
    if threads:
        settings["threads"] = threads
    connection = duckdb.connect(":memory:", config=settings)
    connection.execute(MACROS)
    other = beside or store.origin()
    for distant in (one for one in (store, other) if one is not None and not one.is_local):
        if not connection.filesystem_is_registered(_protocol(distant)):
            connection.register_filesystem(distant.fs)
    readable: list[str] = []
    for table, schema in TABLES.items():
        holder, manifest = store, store.manifest(table)
        if manifest is None and other is not None:
            holder, manifest = other, other.manifest(table)
        # A table of an older version is not empty, but unknown.
        if manifest is None and (table not in EMPTY_UNTIL_WRITTEN or holder.fs.exists(holder.path(table, COMMIT_FILE))):
            continue
        if manifest is not None and manifest.num_rows:
            protocol = "" if holder.is_local else f"{_protocol(holder)}://"
            paths = [_literal(protocol + path) for path in holder.part_paths(table)]
            readable += paths
            source = f"select * from read_parquet([{', '.join(paths)}], hive_partitioning = false)"
        else:
            columns = ", ".join(f"null::{ARROW_TO_SQL[c.type]} as {_quoted(c.name)}" for c in schema.columns)
            source = f"select {columns} where false"
        try:
            connection.execute(f"create view {_quoted(table)} as {source}")
        except duckdb.Error as error:
            raise StoreError(
                f"Table {table} of {store.url} cannot be read: {error}.",
                next_step="Delete the part that is named and run the same command again.",
            ) from None
    # From here on the parts are all that any statement can open, whatever its text says.
    connection.execute(f"set allowed_paths = [{', '.join(readable)}]")
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")
    return connection


def _protocol(store: Store) -> str:
    names = store.fs.protocol
    return names if isinstance(names, str) else str(names[0])


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return f'"{name}"'


def run_query(
    connection: duckdb.DuckDBPyConnection, query: Query, given: Mapping[str, Any] | None = None
) -> duckdb.DuckDBPyConnection:
    """Executes a query of the library; the connection then holds its result.

    Raises:
        QueryError: a parameter is wrong, or a table it reads was never written.
    """
    return execute(connection, query.sql, query.arguments(given or {}), name=query.name)


def execute(
    connection: duckdb.DuckDBPyConnection, sql: str, arguments: Mapping[str, Any] | None = None, *, name: str = "sql"
) -> duckdb.DuckDBPyConnection:
    """Executes trusted SQL with named parameters, DuckDB's errors made into QueryError."""
    with _told(name):
        return connection.execute(sql, dict(arguments)) if arguments else connection.execute(sql)


def fetch_table(
    connection: duckdb.DuckDBPyConnection, sql: str, arguments: Mapping[str, Any] | None = None, *, name: str = "sql"
) -> pa.Table:
    """All rows of trusted SQL, as Arrow. Raises QueryError as ``execute`` does."""
    with _told(name):
        return connection.sql(sql, params=dict(arguments) if arguments else None).to_arrow_table()


def fetch_blocks(
    connection: duckdb.DuckDBPyConnection, sql: str, arguments: Mapping[str, Any] | None = None, *, rows: int, name: str = "sql"
) -> Iterator[pa.RecordBatch]:
    """The rows of trusted SQL as Arrow, about ``rows`` at a time: never all in memory. Raises QueryError as ``execute`` does."""
    with _told(name):
        yield from connection.sql(sql, params=dict(arguments) if arguments else None).to_arrow_reader(rows)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """DuckDB's errors as QueryError of the query ``name``."""
    import duckdb

    try:
        yield
    except duckdb.CatalogException as error:
        missing = re.search(r"Table with name (\w+)", str(error))
        if missing and missing[1] in TABLES:
            raise QueryError(
                f"{name} reads table {missing[1]}, which this run does not have yet.", next_step="Run the scan to its end first."
            ) from None
        raise QueryError(f"{name}: {error}", next_step="`scanner tables` lists tables and columns.") from None
    except duckdb.Error as error:
        raise QueryError(f"{name}: {error}", next_step="`scanner tables` lists tables and columns.") from None


def check_reads_only(sql: str) -> str:
    """``sql`` itself, if it is one statement that only reads.

    Raises:
        QueryError: it does not parse, is more than one statement, or would write, attach, install or set something.
    """
    import duckdb

    with _told("sql"):
        statements = duckdb.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise QueryError(
            "Only one statement that reads (select, describe, show) is run here.",
            next_step="To keep a result, redirect the output.",
        )
    return sql
