from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

import scanner
from scanner.core.errors import QueryError, StoreError
from scanner.core.store import Store

THRESHOLDS = {"threshold": [0.95, 0.9], "num_groups": [1, 2], "num_grouped": [2, 5], "largest_group": [2, 3], "num_pairs": [1, 4]}


def write(folder: Path, num_neighbors: int) -> None:
    store = Store(str(folder))
    store.write_run({"config": {}})
    store.write_table("thresholds", pa.table(THRESHOLDS), fingerprint="a" * 64, part_rows=1)
    ids = pa.array(range(num_neighbors), pa.int64())
    zeros = pa.array([0] * num_neighbors, pa.int64())
    rows = {
        "image_id": ids, "num_neighbors": zeros, "nearest_id": pa.nulls(num_neighbors, pa.int64()),
        "nearest_similarity": pa.nulls(num_neighbors, pa.float32()), "outlier_score": zeros.cast(pa.float32()),
    }  # fmt: skip
    store.write_table("neighbors", pa.table(rows), fingerprint="b" * 64, part_rows=1000)


@pytest.fixture
def run(tmp_path):
    write(tmp_path / "run", 10)
    with scanner.open(tmp_path / "run", threads=1) as opened:
        yield opened


def test_tables_with_their_rows(run):
    assert run.tables == {"thresholds": 2, "neighbors": 10}
    with pytest.raises(TypeError):
        run.tables["images"] = 1


def test_a_query_is_fetched_as_rows_arrow_and_pandas(run):
    found = run.query("groups/threshold_sweep")
    assert found.columns[:2] == ("threshold", "num_groups")
    rows = found.fetchall()
    assert [(row[0], row[5], row[6]) for row in rows] == [(0.9, 3, 0.3), (0.95, 1, 0.1)]
    assert found.fetchall() == rows, "a second time too"
    assert found.arrow().column("num_removable").to_pylist() == [3, 1]
    assert found.df()["removable_share"].tolist() == [0.3, 0.1]
    assert [batch.num_rows for batch in found.blocks()] == [2]


def test_a_result_outlives_the_next_query(run):
    first = run.query("threshold_sweep")
    second = run.sql("select image_id from neighbors order by 1")
    assert second.fetchall() == [(i,) for i in range(10)]
    assert len(first.fetchall()) == 2


def test_parameters_are_values(run):
    assert run.sql("select $text as t, $n + 1 as n", {"text": "'; drop view neighbors; --", "n": 2}).fetchall() == [
        ("'; drop view neighbors; --", 3)
    ]
    assert run.query("groups/duplicate_histogram").fetchall() == [(1, 1, 10)]


def test_errors_come_at_once(run):
    with pytest.raises(QueryError, match="limit"):
        run.query("risk/top_captions", limt=20)
    with pytest.raises(QueryError, match="table prompts"):
        run.query("risk/top_captions", limit=20)
    with pytest.raises(QueryError, match="reads"):
        run.sql("create table t (a int)")
    with pytest.raises(QueryError, match="no_such_column"):
        run.sql("select no_such_column from neighbors")
    with pytest.raises(StoreError, match="not a run"):
        scanner.open("no/such/run")
    run.close()
    with pytest.raises(QueryError):
        run.sql("select 1").fetchall()


def test_two_runs(tmp_path):
    write(tmp_path / "run", 10)
    write(tmp_path / "before", 7)
    with scanner.open(str(tmp_path / "run"), other=tmp_path / "before") as run:
        sql = "select count(*) from neighbors anti join other.neighbors using (image_id)"
        assert run.sql(sql).fetchall() == [(3,)]
        with pytest.raises(QueryError, match="table images"):
            run.query("groups/runs_compared")
    with scanner.open(tmp_path / "run") as run, pytest.raises(QueryError, match="--other"):
        run.query("groups/runs_compared")


def test_blocks_are_not_all_in_memory(run):
    blocks = run.sql("select i from range(1_000_000) r(i) order by i").blocks(1000)
    assert next(blocks).num_rows <= 2048
    assert 1 + sum(1 for _ in blocks) > 100


def test_pandas_is_asked_for_where_it_is_missing(run, monkeypatch):
    monkeypatch.setattr("scanner.core.run.find_spec", lambda _: None)
    with pytest.raises(QueryError, match="pandas"):
        run.sql("select 1 as a").df()


def test_importing_the_package_loads_nothing_heavy():
    heavy = "{'duckdb', 'pyarrow', 'numpy', 'torch', 'yaml', 'click', 'fsspec'}"
    code = f"import sys, scanner; scanner.open; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
