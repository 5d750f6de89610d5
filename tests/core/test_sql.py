from __future__ import annotations

import gc
from pathlib import Path

import duckdb
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.core.errors import ConfigError, QueryError
from scanner.core.schemas import EMPTY_UNTIL_WRITTEN, MADE_BY, TABLES
from scanner.core.sql import check_reads_only, connect, execute, fetch_table, find_query, queries, query_rows, run_query
from scanner.core.store import COMMIT_FILE, EXPORT_FILE, Store
from scanner.core.vectors import to_column, to_matrix
from scanner.core.views import MACROS


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


def test_every_float16_number_reads_as_it_is():
    every = np.arange(65_536, dtype=np.uint16)
    with duckdb.connect() as connection:
        connection.execute(MACROS)
        read = connection.execute("select vec($bytes)", {"bytes": every.astype("<u2").tobytes()}).fetchone()
    assert np.array_equal(np.array(read[0], np.float32), every.view(np.float16).astype(np.float32), equal_nan=True)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://u@Ex.com:80/a?b", "ex.com"),
        ("//no", None),
        ("", None),
        (None, None),
        ("http://a.b?c://d/", "a.b"),
        ("x' or 1", None),
        ("http://user:pw@Host.example:8080?q=a@b", "host.example"),
        ("http://a@b@c/", "b@c"),
        ("http://:80/", None),
        ("http://user@:80/", "user@"),
        ("http:///path", None),
        ("s3+x.y-z://Bucket#f", "bucket"),
        ("1http://a/", None),
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


def test_query_rows_gives_rows_by_column(store):
    write_sweep(store)
    neighbors = {"image_id": [1, 2], "num_neighbors": [0, 3], "nearest_id": [None, 1], "nearest_similarity": [None, 0.5]}
    store.write_table("neighbors", pa.table({**neighbors, "outlier_score": [0.0, 0.0]}), fingerprint="a" * 64, part_rows=10)
    with connect(store) as connection:
        rows = query_rows(connection, "groups/duplicate_histogram")
        assert rows == [
            {"duplicates_from": 1, "duplicates_to": 1, "num_images": 1},
            {"duplicates_from": 4, "duplicates_to": 7, "num_images": 1},
        ]  # fmt: skip
        with pytest.raises(QueryError, match="no query"):
            query_rows(connection, "groups/nothing")
        with pytest.raises(QueryError, match="no parameter"):
            query_rows(connection, "groups/duplicate_histogram", {"limit": 3})


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


@pytest.mark.parametrize(
    "statement",
    [
        "select * from read_text('{secret}')", "select * from read_csv('{secret}')", "select * from read_blob('{folder}/*')",
        "select * from glob('{folder}/*')", "from '{folder}/other.parquet'",
        "select * from read_parquet('{folder}/other.parquet')",
        "select * from parquet_metadata('{folder}/other.parquet')", "copy (select 1) to '{folder}/out.csv'",
        "attach '{folder}/out.db'", "export database '{folder}/out'", "install httpfs", "load httpfs",
        "select * from 'https://example.org/x.csv'", "set enable_external_access = true", "set allowed_directories = ['/']",
        "reset lock_configuration", "set temp_directory = '{folder}'",
        "pragma database_list; copy (select 1) to '{folder}/out.csv'",
        "create secret s (type s3, key_id 'x', secret 'y')", "import database '{folder}'", "set home_directory = '{folder}'",
    ],
)  # fmt: skip
def test_no_statement_reaches_beyond_the_parts(store, tmp_path, statement):
    """Executed past ``check_reads_only``: the second of two locks holds alone."""
    write_sweep(store)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "secret.txt").write_text("a,b\n1,2\n")
    pq.write_table(pa.table({"a": [1]}), folder / "other.parquet")
    before = sorted(folder.iterdir())
    with connect(store) as connection, pytest.raises(QueryError):
        execute(connection, statement.format(folder=folder, secret=folder / "secret.txt"))
    assert sorted(folder.iterdir()) == before


def test_no_part_can_be_overwritten(tmp_path):
    store = Store(str(tmp_path))
    write_sweep(store)
    part = Path(store.part_paths("thresholds")[0])
    before = part.read_bytes()
    with connect(store) as connection:
        for statement in (f"copy (select 1 as a) to '{part}'", f"copy (select 1 as a) to '{part}' (format parquet)"):
            with pytest.raises(QueryError):
                execute(connection, check_reads_only(statement))
    assert part.read_bytes() == before


def test_what_does_not_fit_is_spilled_to_a_folder_of_its_own_which_goes(store, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    write_sweep(store)
    connection = connect(store, memory="100MB", threads=1, scratch=str(scratch))
    (spill,) = scratch.iterdir()
    assert spill.stat().st_mode & 0o077 == 0
    # Two million different texts: 100 MB and more.
    sql = "select count(*) from (select md5(i::varchar) || md5((i + 1)::varchar) as t from range(2_000_000) r(i) order by t)"
    ((num_rows,),) = execute(connection, sql).fetchall()
    assert num_rows == 2_000_000
    connection.close()
    del connection
    gc.collect()
    assert list(scratch.iterdir()) == []


def test_too_little_memory_says_what_to_give(store):
    with connect(store, memory="20MB", threads=1) as connection, pytest.raises(QueryError, match="--memory"):
        execute(connection, "select list(i::varchar || 'aaaaaaaaaaaaaaaaaaaaaaaaaa') from range(3_000_000) r(i)")


@pytest.mark.parametrize("memory", ["much", "-1GB", ""])
def test_memory_is_a_size(store, memory):
    with pytest.raises(ConfigError, match="memory"):
        connect(store, memory=memory)


def test_a_scratch_folder_that_is_none_is_told(store, tmp_path):
    with pytest.raises(QueryError, match="scratch"):
        connect(store, scratch=str(tmp_path / "no"))


def test_a_second_run_stands_beside_the_first(store, tmp_path):
    write_sweep(store)
    other = Store(str(tmp_path / "second"))
    write_sweep(other, n=1)
    with connect(store, other=other) as connection:
        sql = "select (select count(*) from thresholds), (select count(*) from other.thresholds)"
        assert execute(connection, sql).fetchall() == [(2, 1)]
        with pytest.raises(QueryError, match="table groups"):
            execute(connection, "select * from groups")


def test_a_table_nobody_made_is_named_with_the_command_that_makes_it(store):
    write_sweep(store)
    with connect(store) as connection, pytest.raises(QueryError, match=r"extractions(.|\n)*scanner extract"):
        execute(connection, "select * from extractions")


def test_every_table_has_a_stage():
    assert set(MADE_BY) == set(TABLES)


def test_whole_numbers_are_whole():
    query = find_query("groups/group_members")
    assert query.arguments({"group_id": 7.0, "limit": 5}) == {"group_id": 7, "limit": 5}
    for wrong in (7.5, float("inf"), None, [7]):
        with pytest.raises(QueryError):
            query.arguments({"group_id": wrong})
