from __future__ import annotations

import fsspec
import numpy as np
import pyarrow as pa
import pytest

from scanner.core.errors import QueryError
from scanner.core.schemas import EMPTY_UNTIL_WRITTEN
from scanner.core.sql import check_reads_only, connect, execute, fetch_table, find_query, queries, run_query
from scanner.core.store import COMMIT_FILE, EXPORT_FILE, Store
from scanner.core.vectors import to_column, to_matrix


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    yield (s := Store(str(tmp_path / "it's a run") if request.param == "local" else "memory://test-sql/run"))
    if request.param == "memory" and s.fs.exists("/test-sql"):
        fsspec.filesystem("memory").rm("/test-sql", recursive=True)


def write_sweep(store: Store, n: int = 2) -> None:
    rows = {"threshold": [0.9, 0.95], "num_groups": [2, 1], "num_grouped": [5, 2], "largest_group": [3, 2], "num_pairs": [4, 1]}
    store.write_table("thresholds", pa.table(rows).slice(0, n), fingerprint="a" * 64, part_rows=1)


def test_tables_are_views_over_listed_parts(store):
    write_sweep(store)
    with connect(store) as connection:
        assert execute(connection, "select threshold from thresholds order by 1").fetchall() == [(0.9,), (0.95,)]


def test_an_empty_table_is_an_empty_view_with_its_columns(store):
    write_sweep(store, n=0)
    with connect(store) as connection:
        assert execute(connection, "select threshold, num_pairs from thresholds").fetchall() == []


def test_a_table_that_is_not_there_yet_is_named(store):
    write_sweep(store)
    with connect(store) as connection, pytest.raises(QueryError, match="table neighbors"):
        run_query(connection, find_query("threshold_sweep"))


def test_float16_vectors_read_as_lists(store):
    vectors = np.array([[0.1, -1.5, 0.0, 65504.0], [-6e-8, 3e-5, 1.0, np.inf]], dtype=np.float16)
    column = to_column(vectors)
    assert np.array_equal(to_matrix(pa.chunked_array([column, column.slice(1)])), vectors[[0, 1, 1]])
    store.write_table("embeddings", pa.table({"image_id": [0, 1], "embedding": column}), fingerprint="a" * 64, part_rows=10)
    with connect(store) as connection:
        rows = execute(connection, "select vec(embedding) from embeddings order by image_id").fetchall()
    assert np.array_equal(np.array([row[0] for row in rows], dtype=np.float32), vectors.astype(np.float32))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://u@Ex.com:80/a?b", "ex.com"),
        ("//no", None),
        ("", None),
        (None, None),
        ("http://a.b?c://d/", "a.b"),
        ("x' or 1", None),
    ],
)
def test_host_of_a_url(store, url, host):
    with connect(store) as connection:
        assert execute(connection, "select host($url)", {"url": url}).fetchall() == [(host,)]


@pytest.mark.parametrize(
    "statement",
    ["copy thresholds to 'x.csv'", "select 1; select 2", "attach 'x.db'", "set threads = 1", "create table t (a int)",
     "explain analyze copy (select 1) to 'x.csv'", "install httpfs", "selec 1"],
)  # fmt: skip
def test_only_reading_statements_pass(statement):
    with pytest.raises(QueryError):
        check_reads_only(statement)


def test_sql_reaches_nothing_but_the_parts(store, tmp_path):
    write_sweep(store)
    secret = tmp_path / "secret.txt"
    secret.write_text("x")
    with connect(store) as connection:
        for statement in (f"select * from read_text('{secret}')", f"copy (select 1) to '{tmp_path}/out.csv'"):
            with pytest.raises(QueryError):
                execute(connection, statement)
    assert not (tmp_path / "out.csv").exists()


def test_parameters_are_values_and_never_sql(store):
    with connect(store) as connection:
        hostile = "1; drop view thresholds; --"
        assert execute(connection, "select $x as x", {"x": hostile}).fetchall() == [(hostile,)]
    with pytest.raises(QueryError, match="integer"):
        find_query("top_captions").arguments({"limit": hostile})


def test_parameters_are_checked():
    query = find_query("groups/group_members")
    with pytest.raises(QueryError, match="group_id"):
        query.arguments({})
    with pytest.raises(QueryError, match="limit"):
        query.arguments({"group_id": "1", "limt": "3"})
    assert query.arguments({"group_id": "7"}) == {"group_id": 7, "limit": 1000}


def test_an_unknown_query_names_the_nearest():
    with pytest.raises(QueryError, match="risk/top_captions"):
        find_query("risk/top_caption")


def test_every_query_is_named_once():
    short = [name.rsplit("/", 1)[-1] for name in queries()]
    assert len(short) == len(set(short))


def test_fetch_table_gives_arrow(store):
    write_sweep(store)
    with connect(store) as connection:
        assert fetch_table(connection, "select threshold from thresholds where threshold > $t", {"t": 0.92}).to_pylist() == [
            {"threshold": 0.95}
        ]


def test_a_table_that_only_people_fill_is_empty_until_then_unless_it_is_of_another_version(store):
    write_sweep(store)
    with connect(store) as connection:
        for table in EMPTY_UNTIL_WRITTEN:
            assert execute(connection, f"select * from {table}").fetchall() == []
        with pytest.raises(QueryError, match="table extractions"):
            execute(connection, "select * from extractions")
    store.put(b'{"parts": [], "version": 0, "metadata": {}}', "reviews", COMMIT_FILE)
    with connect(store) as connection, pytest.raises(QueryError, match="table reviews"):
        execute(connection, "select * from reviews")


@pytest.mark.parametrize("where", ["local", "memory"])
def test_tables_that_a_store_lacks_are_those_beside_it(tmp_path, where):
    run = Store(str(tmp_path / "run"))
    write_sweep(run)
    run.write_run({"config": {}})
    out = Store(str(tmp_path / "out") if where == "local" else "memory://beside/out")
    keep = pa.table(
        {"image_id": [1], "is_kept": [True], "sample_weight": [1.0], "rule": [None], "because_of": [None], "similarity": [None]}
    )
    out.write_table("keep", keep, fingerprint="a" * 64, part_rows=10)
    question = "select count(*) from thresholds, keep"
    with connect(out, beside=run) as connection:
        (expected,) = execute(connection, question).fetchall()
    assert expected[0] > 0
    with connect(out) as connection, pytest.raises(QueryError, match="thresholds"):
        execute(connection, question)
    out.put(f"run: {{url: {run.url}}}".encode(), EXPORT_FILE)
    with connect(out) as connection:
        assert execute(connection, question).fetchall() == [expected]
    if where == "memory":
        out.fs.rm("/beside", recursive=True)
