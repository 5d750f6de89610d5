from __future__ import annotations

import errno
import threading
import time

import pytest
from flaky import FlakyFileSystem, HTTPClientError

from scanner.core import retry
from scanner.core.errors import BrokenShardError, SourceError, UnreachableError
from scanner.core.remote import OBJECT_STORES, RemoteFileSystem, open_filesystem
from scanner.core.store import Store
from scanner.embed.registry import read_shards
from scanner.sources import fetching
from scanner.sources.base import UNFETCHED
from scanner.sources.fetching import ahead, fetch, find_all
from scanner.sources.open import open_source


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(RemoteFileSystem, "is_concurrent", True)
    FlakyFileSystem.reset()
    yield
    FlakyFileSystem.reset()


def put(**files: bytes) -> None:
    fs, _ = open_filesystem("flaky://set")
    for name, data in files.items():
        fs.pipe_file(f"/set/{name.replace('__', '/').replace('_', '.')}", data)


def refuse(*endings: str, error: Exception | None = None) -> None:
    def fault(operation, path, number):
        if operation == "read" and path.endswith(endings):
            raise error or PermissionError("AccessDenied")
        return

    FlakyFileSystem.fault = staticmethod(fault)


def test_files_come_in_order_several_at_once_and_errors_in_their_place():
    put(**{f"a{i:03d}": bytes([i]) * 3 for i in range(150)})
    refuse("a007")
    fs, _ = open_filesystem("flaky://set")
    files = [(f"/set/a{i:03d}", 3) for i in range(150)] + [("/set/none", 3)]
    found = list(fetch(fs, files))
    assert isinstance(found[7], OSError)
    assert isinstance(found[150], FileNotFoundError)
    assert [data for i, data in enumerate(found) if i not in (7, 150)] == [bytes([i]) * 3 for i in range(150) if i != 7]


def test_what_is_under_way_is_bounded_by_number_and_bytes(monkeypatch):
    monkeypatch.setattr(fetching, "_AHEAD_FILES", 5)
    monkeypatch.setattr(fetching, "_AHEAD_BYTES", 100)
    begun, lock = [], threading.Lock()

    def call(item):
        with lock:
            begun.append(item)
        return item

    drawn = []

    def items(size):
        for i in range(20):
            drawn.append(i)
            yield i

    found = ahead(call, items(1), size_of=lambda item: 1)
    assert next(found) == 0
    assert len(drawn) == 6
    drawn.clear()
    found = ahead(call, items(60), size_of=lambda item: 60)
    assert next(found) == 0
    assert len(drawn) == 2
    found.close()
    time.sleep(0.05)
    assert begun.count(5) <= 1, "what was not begun is given up"


@pytest.mark.parametrize("most", [0, 1024])
def test_listing_side_by_side_is_the_listing(monkeypatch, most):
    monkeypatch.setattr(fetching, "_MAX_PREFIXES", most)
    monkeypatch.setattr("scanner.core.remote.OBJECT_STORES", OBJECT_STORES | {"flaky"})
    put(a_jpg=b"1", x__b_jpg=b"2", x__y__c_jpg=b"3", z__d_jpg=b"4")
    fs, root = open_filesystem("flaky://set")
    assert fs.is_object_store
    found = {info["name"]: info["type"] for info in find_all(fs, root)}
    found.pop("/set", None)
    folders = {"/set/x", "/set/x/y", "/set/z"}
    assert {name for name, kind in found.items() if kind == "file"} == {
        "/set/a.jpg", "/set/x/b.jpg", "/set/x/y/c.jpg", "/set/z/d.jpg",
    }  # fmt: skip
    assert {name for name, kind in found.items() if kind == "directory"} == folders


def test_files_that_cannot_be_fetched_are_rows_and_a_broken_shard():
    put(a_jpg=b"1", b_jpg=b"2", c_jpg=b"3", c_txt=b"caption")
    refuse("b.jpg", "c.txt")
    source = open_source("flaky://set")
    (shard,) = source.shards()
    rows = []
    with pytest.raises(BrokenShardError, match=f"^{UNFETCHED}2 files"):
        rows.extend(source.samples(shard))
    assert [(row.key, row.status, row.is_unfetched) for row in rows] == [
        ("a.jpg", "ok", False), ("b.jpg", "missing", True), ("c.jpg", "ok", True),
    ]  # fmt: skip
    assert "refused" in rows[1].error_message


def test_a_store_that_goes_away_ends_the_scan_and_is_no_row():
    put(a_jpg=b"1", b_jpg=b"2")
    source = open_source("flaky://set")
    (shard,) = source.shards()

    def fault(operation, path, number):
        raise HTTPClientError("gone")

    FlakyFileSystem.fault = staticmethod(fault)
    with pytest.raises(SourceError, match="cannot be reached") as caught:
        list(source.samples(shard))
    assert not isinstance(caught.value, BrokenShardError)
    with pytest.raises(UnreachableError):
        open_source("flaky://set")


def test_a_scan_tries_what_it_could_not_fetch_again(shards, tmp_path):
    from scanner.core.config import RunConfig, override
    from scanner.core.progress import Progress
    from scanner.pipelines.scan import scan

    fs, _ = open_filesystem("flaky://set")
    for tar in sorted(shards.glob("*.tar")):
        fs.pipe_file(f"/set/{tar.name}", tar.read_bytes())
    run = Store(str(tmp_path / "run"))
    changes = {"sources": [{"url": "flaky://set", "name": "set"}], "encoder.name": "pixels", "compute.workers": 1}
    config = override(RunConfig(), changes)

    refuse("00001.tar", error=OSError(errno.EIO, "Bad Gateway"))
    scan(run, config, Progress(quiet=True))
    rows = read_shards(run)
    assert [(row.url, row.status, row.num_rows) for row in rows] == [
        ("00000.tar", "current", 8), ("00001.tar", "broken", 0), ("00002.tar", "current", 8),
    ]  # fmt: skip
    assert rows[1].error_message.startswith(UNFETCHED)

    FlakyFileSystem.fault = staticmethod(lambda operation, path, number: None)
    scan(run, config, Progress(quiet=True))
    rows = read_shards(run)
    assert [(row.url, row.status, row.num_rows) for row in rows] == [
        ("00000.tar", "current", 8), ("00001.tar", "superseded", 0), ("00002.tar", "current", 8), ("00001.tar", "current", 8),
    ]  # fmt: skip
    assert rows[1].error_message == "read again"
    assert run.read("images").num_rows == 24
    assert not scan(run, config, Progress(quiet=True)).is_recomputed


@pytest.mark.timeout(20)
def test_what_is_fetched_for_something_that_is_fetched_does_not_wait_for_itself():
    """An image of a folder is read by several threads, and each reads its file by the same ones."""

    def outer(i: int) -> list:
        time.sleep(0.01)
        return list(ahead(lambda j: 10 * i + j, range(3), size_of=lambda _: 1))

    found = list(ahead(outer, range(4 * fetching.THREADS), size_of=lambda _: 1))
    assert found == [[10 * i, 10 * i + 1, 10 * i + 2] for i in range(4 * fetching.THREADS)]
