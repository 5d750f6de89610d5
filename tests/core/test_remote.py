from __future__ import annotations

import errno
import pickle
import time

import fsspec
import pytest
from flaky import FlakyFileSystem, HTTPClientError

from scanner.core import retry
from scanner.core.errors import ObjectError, UnreachableError
from scanner.core.lock import LOCK_FILE, lock
from scanner.core.remote import RemoteFileSystem, open_filesystem
from scanner.core.retry import TRIES, kind_of
from scanner.core.store import RUN_FILE, Store


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.0)
    FlakyFileSystem.reset()
    yield
    FlakyFileSystem.reset()


@pytest.fixture
def fs():
    fs, _ = open_filesystem("flaky://set/a")
    assert isinstance(fs, RemoteFileSystem)
    fs.pipe_file("/set/a", b"0123456789")
    fs.pipe_file("/set/folder/b", b"b")
    FlakyFileSystem.calls.clear()
    return fs


def failing(operation: str, error: Exception, *, times: int = 10**6, path: str = ""):
    def fault(op, at, number):
        if op == operation and at.startswith(path) and number <= times:
            raise error
        return

    FlakyFileSystem.fault = staticmethod(fault)


def passing() -> list[Exception]:
    slow_down = OSError(errno.EBUSY, "SlowDown")
    return [
        HTTPClientError("reset"),
        ConnectionResetError(),
        TimeoutError(),
        slow_down,
        OSError(errno.EIO, "Bad Gateway"),
        OSError("?"),
    ]


@pytest.mark.parametrize("error", passing(), ids=repr)
def test_what_may_pass_is_tried_again(fs, error):
    failing("read", error, times=TRIES - 1)
    assert fs.cat_file("/set/a") == b"0123456789"
    failing("info", error, times=TRIES - 1)
    FlakyFileSystem.calls.clear()
    assert fs.exists("/set/a")
    failing("list", error, times=TRIES - 1)
    assert set(fs.find("/set")) == {"/set/a", "/set/folder/b"}
    failing("write", error, times=TRIES - 1)
    fs.pipe_file("/set/c", b"c")
    assert fs.cat_file("/set/c") == b"c"


def test_tries_end_and_tell_the_object_from_the_store(fs):
    failing("read", HTTPClientError("nothing came"))
    with pytest.raises(ObjectError, match=r"flaky://set/a failed although its store answers \(5 tries, the last: nothing came"):
        fs.cat_file("/set/a")
    assert FlakyFileSystem.calls["read", "/set/a"] == TRIES

    def fault(op, at, number):
        raise HTTPClientError("nothing came")

    FlakyFileSystem.fault = staticmethod(fault)
    with pytest.raises(UnreachableError, match="cannot be reached"):
        fs.cat_file("/set/a")
    for question in (fs.exists, fs.isfile, fs.isdir, fs.ls, fs.find):
        with pytest.raises(UnreachableError):
            question("/set/a")


def test_a_long_failure_is_not_tried_for_ever(fs, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def fault(op, at, number):
        now[0] += 100
        raise TimeoutError("slow")

    FlakyFileSystem.fault = staticmethod(fault)
    with pytest.raises(UnreachableError):
        fs.cat_file("/set/a")
    assert FlakyFileSystem.calls["read", "/set/a"] == 2


@pytest.mark.parametrize(
    ("error", "match"),
    [(PermissionError("AccessDenied"), "credentials"), (OSError(errno.EINVAL, "InvalidBucketName"), "settings")],
)
def test_what_will_last_is_told_at_once(fs, error, match):
    failing("read", error)
    with pytest.raises(ObjectError, match=match):
        fs.cat_file("/set/a")
    assert FlakyFileSystem.calls["read", "/set/a"] == 1


def test_answers_and_mistakes_pass_unchanged(fs):
    with pytest.raises(FileNotFoundError):
        fs.cat_file("/set/nothing")
    assert not fs.exists("/set/nothing")
    failing("read", KeyError("ours"))
    with pytest.raises(KeyError):
        fs.cat_file("/set/a")


def test_what_is_known_of_a_part_is_asked_once_and_forgotten_with_it(fs):
    part, other = "/set/groups/part-00000-0123abcd.parquet", "/set/groups/_table.json"
    fs.pipe_file(part, b"rows")
    fs.pipe_file(other, b"{}")
    FlakyFileSystem.calls.clear()
    for _ in range(3):
        assert fs.info(part)["size"] == fs.info(f"flaky:/{part}")["size"] == 4
        assert fs.exists(part)
        assert fs.info(other)["size"] == 2
    assert FlakyFileSystem.calls["info", part] == 1
    assert FlakyFileSystem.calls["info", other] == 3

    fs.pipe_file(part, b"more rows")
    assert fs.info(part)["size"] == 9
    fs.rm_file(part)
    assert not fs.exists(part)
    # By another process: seen once the cache is told, as a store does before it takes a part for finished.
    fs.pipe_file(part, b"rows")
    assert fs.exists(part)
    fs.inner.rm_file(part)
    fs.invalidate_cache(part)
    assert not fs.exists(part)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(500, "passing"), (502, "passing"), (429, "passing"), (401, "refusal"), (403, "refusal"), (400, "lasting")],
)
def test_errors_of_drivers_are_told_by_their_status(status, kind):
    error = HTTPClientError("x")
    error.status = status
    assert kind_of(error) == kind
    other = type("ClientError", (Exception,), {"__module__": "botocore.exceptions"})("x")
    other.response = {"ResponseMetadata": {"HTTPStatusCode": status}}
    assert kind_of(other) == kind


def short(times: int):
    def fault(op, at, number):
        return b"0123" if op == "read" and number <= times else None

    FlakyFileSystem.fault = staticmethod(fault)


def test_a_body_that_is_cut_is_fetched_again_and_never_taken(fs):
    reads = [
        lambda: fs.cat_file("/set/a"), lambda: fs.cat_whole("/set/a", size=10), lambda: fs.cat_file("/set/a", 0, 10),
        lambda: fs.cat_file("/set/a", 0, 99), lambda: fs.open("/set/a").read(),
    ]  # fmt: skip
    for read in reads:
        FlakyFileSystem.calls.clear()
        short(2)
        assert read() == b"0123456789"
        FlakyFileSystem.calls.clear()
        short(99)
        with pytest.raises(ObjectError, match="4 of 10 bytes came"):
            read()
    FlakyFileSystem.reset()
    fs.pipe_file("/set/a", b"now longer than listed")
    assert fs.cat_whole("/set/a", size=10) == b"now longer than listed"


def test_a_folder_that_cannot_be_listed_is_no_empty_folder(fs):
    failing("list", HTTPClientError("no"), path="/set/folder")
    with pytest.raises(ObjectError):
        fs.find("/set")


def test_it_pickles_and_files_are_read_by_ranges(fs):
    again = pickle.loads(pickle.dumps(fs))
    assert again.cat_file("/set/a", 2, 4) == b"23"
    FlakyFileSystem.calls.clear()
    with again.open("/set/a", "rb", block_size=2) as file:
        file.seek(6)
        assert file.read(2) == b"67"
    assert FlakyFileSystem.calls["read", "/set/a"] == 1


def test_a_question_about_a_run_is_not_answered_by_a_failure():
    store = Store("flaky://run")
    store.put(b"config: {}", RUN_FILE)
    failing("info", HTTPClientError("no"))
    with pytest.raises(UnreachableError):
        Store.open("flaky://run")
    failing("info", HTTPClientError("no"), times=3)
    FlakyFileSystem.calls.clear()
    assert Store.open("flaky://run").read_run() == {"config": {}}


def test_a_lock_that_was_taken_by_a_try_whose_answer_was_lost_is_ours():
    store = Store("flaky://run")
    failing("written", HTTPClientError("lost"), times=1, path="/run/.lock")
    with lock(store):
        assert store.get(LOCK_FILE) is not None
    assert store.get(LOCK_FILE) is None


@pytest.mark.parametrize(
    ("url", "options"),
    [("s3://b/x", {"use_listings_cache": False}), ("gs://b/x", {"use_listings_cache": False}), ("hf://datasets/a/b", {}),
     ("sftp://host/x", {})],
)  # fmt: skip
def test_listings_of_object_stores_are_never_kept(url, options, monkeypatch):
    given = {}

    def url_to_fs(url, **kwargs):
        given.update(kwargs)
        return FlakyFileSystem(), url.partition("://")[2]

    monkeypatch.setattr(fsspec.core, "url_to_fs", url_to_fs)
    open_filesystem(url)
    assert given == options


def test_the_hub_is_an_object_store_of_the_same_kind():
    """Without a network: the driver is made, its paths are kept, and it goes to another process."""
    fs, path = open_filesystem("hf://datasets/team/set/data")
    assert (fs.name, path, fs.is_object_store, fs.is_concurrent) == ("hf", "datasets/team/set/data", True, True)
    assert type(pickle.loads(pickle.dumps(fs)).inner) is type(fs.inner)
