from __future__ import annotations

import duckdb
import fsspec
import numpy as np
import pyarrow as pa
import pytest

from scanner.core import database_file
from scanner.core.database_file import write_database
from scanner.core.errors import QueryError, StoreError
from scanner.core.store import Store
from scanner.core.vectors import to_column


@pytest.fixture
def store(tmp_path):
    return filled(Store(str(tmp_path / "it's a run")))


def filled(store: Store) -> Store:
    rows = {"threshold": [0.9, 0.95], "num_groups": [2, 1], "num_grouped": [5, 2], "largest_group": [3, 2], "num_pairs": [4, 1]}
    store.write_table("thresholds", pa.table(rows), fingerprint="a" * 64, part_rows=1)
    vectors = to_column(np.array([[0.5, -1.0]], dtype=np.float16))
    store.write_table("embeddings", pa.table({"image_id": [7], "embedding": vectors}), fingerprint="a" * 64, part_rows=10)
    empty = pa.table({"left_id": [], "right_id": [], "similarity": []})
    store.write_table("links", empty, fingerprint="a" * 64, part_rows=10)
    return store


def read(path, sql):
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_tables_are_real_and_explained(store, tmp_path):
    path = tmp_path / "risk's.duckdb"
    written = write_database(store, path, threads=1)
    assert written.num_rows == {"thresholds": 2, "links": 0}
    assert written.left_out == ("embeddings",)
    assert written.num_bytes == path.stat().st_size
    for part in (tmp_path / "it's a run").rglob("*.parquet"):
        part.unlink()
    assert read(path, "select threshold, num_pairs from thresholds order by 1") == [(0.9, 4), (0.95, 1)]
    assert read(path, "select count(*) from duckdb_views() where not internal") == [(0,)]
    assert read(path, "select host('https://A.org/b'), caption_hash('x') > 0") == [("a.org", True)]
    assert read(
        path, "select data_type, comment from duckdb_columns() where table_name = 'links' and column_name = 'similarity'"
    ) == [("FLOAT", "cosine of the two embeddings; 1 for exact copies (equal bytes or equal embeddings)")]
    assert read(path, "select comment from duckdb_tables() where table_name = 'thresholds'") == [("one row per swept threshold",)]
    assert read(path, "select table_name, num_rows, run from exported order by 1") == [
        ("links", 0, store.url), ("thresholds", 2, store.url),
    ]  # fmt: skip
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["it's a run", "risk's.duckdb"]


def test_embeddings_come_when_they_are_asked_for(store, tmp_path):
    written = write_database(store, tmp_path / "all.duckdb", with_embeddings=True)
    assert (written.num_rows["embeddings"], written.left_out) == (1, ())
    assert read(tmp_path / "all.duckdb", "select image_id, vec(embedding) from embeddings") == [(7, [0.5, -1.0])]


def test_older_duckdbs_can_open_it(store, tmp_path):
    write_database(store, tmp_path / "a.duckdb")
    with duckdb.connect() as connection:
        connection.execute(f"attach '{tmp_path}/a.duckdb' as a (read_only)")
        ((tags,),) = connection.execute("select tags from duckdb_databases() where database_name = 'a'").fetchall()
    assert tags["storage_version"].startswith("v1.2.0")


def test_a_file_that_is_there_is_kept_unless_forced(store, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(StoreError, match="there already"):
        write_database(store, path)
    assert path.read_text() == "mine"
    write_database(store, path, is_forced=True)
    assert read(path, "select count(*) from thresholds") == [(2,)]
    with pytest.raises(StoreError, match="there already"):
        write_database(store, tmp_path, is_forced=True)
    with pytest.raises(StoreError, match="folder"):
        write_database(store, tmp_path / "no" / "a.duckdb")
    with pytest.raises(StoreError, match="no tables"):
        write_database(Store(str(tmp_path / "nothing")), tmp_path / "b.duckdb")


def test_one_that_fails_leaves_the_old_file_and_nothing_else(store, tmp_path, monkeypatch):
    path = tmp_path / "a.duckdb"
    write_database(store, path)
    before = path.read_bytes()

    def fail(*_):
        raise duckdb.IOException("no space left")

    monkeypatch.setattr(database_file, "_tell_origin", fail)
    with pytest.raises(QueryError, match="no space left"):
        write_database(store, path, is_forced=True)
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.duckdb", "it's a run"]


def test_a_remote_run_is_read_through_fsspec(tmp_path):
    store = filled(Store("memory://test-database/run"))
    try:
        assert write_database(store, tmp_path / "a.duckdb").num_rows["thresholds"] == 2
    finally:
        fsspec.filesystem("memory").rm("/test-database", recursive=True)
