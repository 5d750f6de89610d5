from __future__ import annotations

import json
import os
import subprocess
import sys

import fsspec
import pyarrow as pa
import pytest

from scanner.core.errors import LockedError, StoreError
from scanner.core.lock import LOCK_FILE, lock
from scanner.core.schemas import TABLES, arrow_schema
from scanner.core.store import COMMIT_FILE, EXPORT_FILE, Part, Store


def forget(path: str) -> None:
    memory = fsspec.filesystem("memory")
    if memory.exists(path):
        memory.rm(path, recursive=True)


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    if request.param == "local":
        yield Store(str(tmp_path / "run"))
        return
    yield Store("memory://test-store/run")
    forget("/test-store")


def thresholds(*values: float) -> pa.Table:
    n = len(values)
    rows = {"threshold": values, "num_groups": [1] * n, "num_grouped": [2] * n, "largest_group": [2] * n, "num_pairs": [1] * n}
    return pa.table({name: list(column) for name, column in rows.items()})


def part(index: int, fingerprint: str = "a" * 64, **inputs: str) -> Part:
    return Part(index=index, fingerprint=fingerprint, num_rows=0, inputs=inputs)


def test_a_part_counts_only_once_committed(store):
    written = store.write_part("thresholds", part(0), thresholds(0.9, 0.95))
    assert written.num_rows == 2
    assert store.has_part("thresholds", part(0))
    assert store.manifest("thresholds") is None
    assert store.part_paths("thresholds") == []
    store.commit("thresholds", [written], metadata={"is_truncated": False})
    assert store.manifest("thresholds").num_rows == 2
    assert store.read("thresholds")["threshold"].to_pylist() == [0.9, 0.95]


def test_replacing_a_table_leaves_the_old_part_for_clean(store):
    old = store.write_table("thresholds", thresholds(0.9), fingerprint="a" * 64, part_rows=10)
    store.write_table("thresholds", thresholds(0.8), fingerprint="b" * 64, part_rows=10)
    assert store.read("thresholds")["threshold"].to_pylist() == [0.8]
    unlisted = store.unlisted()
    assert [path.rsplit("/", 1)[-1] for path in unlisted] == [old.parts[0].name]
    store.remove(unlisted)
    assert store.unlisted() == []
    assert store.read("thresholds").num_rows == 1


def test_a_table_is_cut_into_parts(store):
    manifest = store.write_table("thresholds", thresholds(0.1, 0.2, 0.3, 0.4, 0.5), fingerprint="a" * 64, part_rows=2)
    assert [p.num_rows for p in manifest.parts] == [2, 2, 1]
    assert [p.index for p in manifest.parts] == [0, 1, 2]
    assert store.read("thresholds", ["threshold"])["threshold"].to_pylist() == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_an_unchanged_commit_writes_nothing(store):
    store.write_table("thresholds", thresholds(0.9), fingerprint="a" * 64, part_rows=10)
    path = store.path("thresholds", COMMIT_FILE)
    before = store.fs.info(path)
    store.commit("thresholds", store.manifest("thresholds").parts)
    assert store.fs.info(path) == before


@pytest.mark.parametrize(
    "broken",
    [
        thresholds(0.9).drop_columns(["num_pairs"]),
        thresholds(0.9).set_column(0, "threshold", pa.array(["high"])),
        thresholds(0.9).set_column(0, "threshold", pa.array([None], type=pa.float64())),
    ],
    ids=["column missing", "other type", "null"],
)
def test_rows_that_do_not_fit_the_schema_are_refused(store, broken):
    with pytest.raises((pa.ArrowException, KeyError)):
        store.write_part("thresholds", part(0), broken)
    assert not store.has_part("thresholds", part(0))


def test_no_temporary_file_stays(tmp_path):
    store = Store(str(tmp_path / "run"))
    manifest = store.write_table("thresholds", thresholds(0.9), fingerprint="a" * 64, part_rows=10)
    assert sorted(os.listdir(tmp_path / "run" / "thresholds")) == [COMMIT_FILE, manifest.parts[0].name]
    (tmp_path / "run" / "thresholds" / ".tmp-part-00001-bbbbbbbb.parquet-1").write_bytes(b"half")
    assert len(store.unlisted()) == 1


def test_damage_is_told_and_says_what_to_do(store):
    store.write_table("thresholds", thresholds(0.9), fingerprint="a" * 64, part_rows=10)
    store.put(b"{half", "thresholds", COMMIT_FILE)
    with pytest.raises(StoreError, match="damaged"):
        store.read("thresholds")
    store.write_run({"config": {}})
    store.put(b"- a list", "run.yaml")
    with pytest.raises(StoreError, match="damaged"):
        store.read_run()


def test_a_damaged_part_names_itself(store):
    manifest = store.write_table("thresholds", thresholds(0.9), fingerprint="a" * 64, part_rows=10)
    store.put(b"PAR1 nothing", "thresholds", manifest.parts[0].name)
    with pytest.raises(StoreError, match=manifest.parts[0].name):
        store.read("thresholds")


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(StoreError, match="scanner scan"):
        Store.open(str(tmp_path))
    with pytest.raises(StoreError, match="nosuch"):
        Store("nosuch://x/y")


def test_a_table_that_was_never_written_says_so(store):
    with pytest.raises(StoreError, match="no table groups"):
        store.read("groups")


def test_every_schema_is_one_that_arrow_takes():
    for name, table in TABLES.items():
        schema = arrow_schema(name, embedding_dim=4)
        assert schema.names == table.column_names
        assert set(table.key) <= set(schema.names)


def test_two_writers_do_not_mix(store):
    with lock(store), pytest.raises(LockedError, match="process"), lock(store):
        pass
    with lock(store):
        pass


def test_a_lease_of_a_dead_process_is_taken_over():
    store = Store("memory://test-lease/run")
    try:
        store.put(b'{"host": "gone", "pid": 1, "at": 0, "id": "x"}', LOCK_FILE)
        with lock(store):
            pass
        assert store.get(LOCK_FILE) is None
    finally:
        forget("/test-lease")


def test_a_lease_of_this_machine_ends_with_its_process():
    store = Store("memory://test-lease/run")
    script = "import sys; from scanner.core import lock; sys.stdout.buffer.write(lock._holder())"
    try:
        store.put(subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True).stdout, LOCK_FILE)
        with lock(store):  # of a process that ended a moment ago
            pass
        with lock(store):
            alive = store.get(LOCK_FILE)
        other = json.dumps({**json.loads(alive), "id": "other"}).encode()
        store.put(other, LOCK_FILE)
        with pytest.raises(LockedError, match="process"), lock(store):
            pass
        assert store.get(LOCK_FILE) == other
    finally:
        forget("/test-lease")


def lose(store):
    store.put(b'{"id": "other", "at": 0}', LOCK_FILE)
    raise ZeroDivisionError


def test_a_writer_whose_lease_was_taken_over_says_so_and_leaves_the_lock_alone():
    store = Store("memory://test-lease/run")
    try:
        with pytest.raises(LockedError, match="taken over"), lock(store):
            store.put(b'{"id": "other", "at": 0}', LOCK_FILE)
        assert store.get(LOCK_FILE) == b'{"id": "other", "at": 0}'
        # What ended the work is told first.
        with pytest.raises(ZeroDivisionError), lock(store):
            lose(store)
    finally:
        forget("/test-lease")


def test_parts_left_by_a_stopped_write_of_another_cut_are_not_taken_for_these(store):
    rows = thresholds(0.1, 0.2, 0.3, 0.4, 0.5)
    store.write_table("thresholds", rows, fingerprint="a" * 64, part_rows=2)
    store.fs.rm_file(store.path("thresholds", COMMIT_FILE))
    manifest = store.write_table("thresholds", rows, fingerprint="a" * 64, part_rows=3)
    assert store.read("thresholds")["threshold"].to_pylist() == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert manifest.num_rows == 5


def test_no_name_leads_out_of_the_run(tmp_path):
    (tmp_path / "secret").write_text("x")
    store = Store(str(tmp_path / "run"))
    with pytest.raises(StoreError, match="outside"):
        store.get("generated/../../secret")
    assert store.get("generated", "..png") is None


def test_a_file_is_written_whole_or_not_at_all(store):
    with store.writing("folder", "a.bin") as file:
        file.write(b"one")
        file.write(b"two")
        assert store.get("folder", "a.bin") is None
    assert store.get("folder", "a.bin") == b"onetwo"

    def stop() -> None:
        with store.writing("folder", "a.bin") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert store.get("folder", "a.bin") == b"onetwo"
    assert [path.rsplit("/", 1)[-1] for path in store.fs.ls(store.path("folder"), detail=False)] == ["a.bin"]


def test_a_large_file_for_a_distant_store_waits_in_the_scratch_folder(tmp_path):
    store = Store("memory://test-scratch/run", scratch=str(tmp_path / "scratch"))
    try:
        with store.writing("a.bin") as file:
            file.write(b"1")
            assert len(list((tmp_path / "scratch").iterdir())) == 1
        assert list((tmp_path / "scratch").iterdir()) == []
        assert store.get("a.bin") == b"1"
    finally:
        forget("/test-scratch")


def test_an_export_knows_its_run_as_long_as_it_is_there(store, tmp_path):
    run = Store(str(tmp_path / "origin"))
    assert store.origin() is None
    store.put(f"run: {{url: {run.url}}}".encode(), EXPORT_FILE)
    assert store.origin() is None
    run.write_run({"config": {}})
    assert store.origin().root == run.root
    assert Store.open(store.url).root == store.root
    assert run.origin() is None
    with pytest.raises(StoreError, match="export"):
        store.read_run()
    for damaged in (b"[", b"run: 3", b"run: {url: 3}", b"run: {url: 'nosuch://x'}"):
        store.put(damaged, EXPORT_FILE)
        assert store.origin() is None
