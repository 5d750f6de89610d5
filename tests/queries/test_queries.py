"""Every query of the library against planted rows: ``<area>/<name>/<case>.yaml`` holds rows in, parameters and rows
expected; ``other.`` before a table names the second run of queries that compare two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from scanner.core.errors import QueryError
from scanner.core.schemas import EMPTY_UNTIL_WRITTEN, MADE_BY, TABLES, arrow_schema
from scanner.core.sql import OTHER, Query, connect, execute, find_query, queries, run_query
from scanner.core.store import Store

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*/*/*.yaml"))
DEFAULTS = {"int64": 0, "float32": 0.0, "float64": 0.0, "string": "", "bool": False, "uint64": 0, "embedding": b"\0\0"}


def write(store: Store, table: str, rows: list[dict]) -> None:
    """Rows with the columns that a case does not name filled in."""
    schema = arrow_schema(table, embedding_dim=1)
    blank = {c.name: None if c.is_nullable else DEFAULTS[c.type] for c in TABLES[table].columns}
    if table == "shards":
        blank["status"] = "current"
    if table == "images":
        blank["status"] = "ok"
    unknown = {key for row in rows for key in row} - set(blank)
    assert not unknown, f"{table} has no columns {unknown}"
    content = [{**blank, **row} for row in rows]
    store.write_table(table, pa.Table.from_pylist(content, schema=schema), fingerprint="a" * 64, part_rows=3)


def stores(query: Query, tables: dict[str, list[dict]], folder: Path) -> tuple[Store, Store | None]:
    """A run with the tables that the query reads, and a second one where it reads tables of one."""
    store, other = Store(str(folder / "run")), Store(str(folder / "other"))
    for table in query.reads:
        bare = table.removeprefix(f"{OTHER}.")
        write(store if bare == table else other, bare, tables.get(table, []))
    return store, other if query.compares_runs else None


def plain(value):
    return round(value, 6) if isinstance(value, float) else value


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.relative_to(HERE).with_suffix("")))
def test_case(case: Path, tmp_path):
    content = yaml.safe_load(case.read_text())
    query = find_query(f"{case.parent.parent.name}/{case.parent.name}")
    assert set(content["tables"]) <= set(query.reads), "the header of the query names every table it reads"
    store, other = stores(query, content["tables"], tmp_path)
    with connect(store, other=other) as connection:
        cursor = run_query(connection, query, content.get("params"))
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, map(plain, row), strict=True)) for row in cursor.fetchall()]
    columns = list(content["expected"][0]) if content["expected"] else names
    assert [{name: row[name] for name in columns} for row in rows] == content["expected"]


@pytest.mark.parametrize("name", queries())
def test_every_query_has_a_case_and_runs_on_an_empty_run(name, tmp_path):
    assert list((HERE / name).glob("*.yaml")), f"tests/queries/{name}/ holds no case"
    query = queries()[name]
    store, other = stores(query, {}, tmp_path)
    given = {p.name: {"integer": 1, "number": 1, "text": "x"}[p.type] for p in query.parameters if p.default is None}
    with connect(store, other=other) as connection:
        rows = run_query(connection, query, given).fetchall()
    assert all(value in (0, None) or isinstance(value, str) for row in rows for value in row), "nothing comes of nothing"


@pytest.mark.parametrize("name", queries())
def test_a_table_that_is_missing_is_named_with_the_stage_that_makes_it(name, tmp_path):
    query = queries()[name]
    given = {p.name: 1 for p in query.parameters if p.default is None}
    for missing in query.reads:
        bare = missing.removeprefix(f"{OTHER}.")
        if bare in EMPTY_UNTIL_WRITTEN:
            continue
        store, other = stores(replace(query, reads=tuple(t for t in query.reads if t != missing)), {}, tmp_path / missing)
        stage, command = MADE_BY[bare]
        wanted = f"table {bare}.*stage {stage} makes it(.|\n)*scanner {command}"
        if missing != bare and other is None:
            wanted = "--other"
        with connect(store, other=other) as connection:
            with pytest.raises(QueryError, match=wanted):
                run_query(connection, query, given)
            # The header names none that the text does without.
            with pytest.raises(QueryError, match=f"table {bare}|schema.*{OTHER}"):
                execute(connection, query.sql, query.arguments(given))
