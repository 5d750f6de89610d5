"""Every query of the library against planted rows: ``<area>/<name>/<case>.yaml`` holds rows in, parameters and rows expected."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from scanner.core.schemas import TABLES, arrow_schema
from scanner.core.sql import connect, find_query, queries, run_query
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


def plain(value):
    return round(value, 6) if isinstance(value, float) else value


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.relative_to(HERE).with_suffix("")))
def test_case(case: Path, tmp_path):
    content = yaml.safe_load(case.read_text())
    query = find_query(f"{case.parent.parent.name}/{case.parent.name}")
    store = Store(str(tmp_path))
    assert set(content["tables"]) <= set(query.reads), "the header of the query names every table it reads"
    for table in query.reads:
        write(store, table, content["tables"].get(table, []))
    with connect(store) as connection:
        cursor = run_query(connection, query, content.get("params"))
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, map(plain, row), strict=True)) for row in cursor.fetchall()]
    columns = list(content["expected"][0]) if content["expected"] else names
    assert [{name: row[name] for name in columns} for row in rows] == content["expected"]


@pytest.mark.parametrize("name", queries())
def test_every_query_has_a_case_and_runs_on_an_empty_run(name, tmp_path):
    assert list((HERE / name).glob("*.yaml")), f"tests/queries/{name}/ holds no case"
    query, store = queries()[name], Store(str(tmp_path))
    for table in query.reads:
        write(store, table, [])
    given = {p.name: {"integer": 1, "number": 1, "text": "x"}[p.type] for p in query.parameters if p.default is None}
    with connect(store) as connection:
        rows = run_query(connection, query, given).fetchall()
    assert rows == [] or all(value in (0, None) for value in rows[0])
