"""A small real scan and a server of its live pages."""

from __future__ import annotations

import pytest
from served_run import build, ids_of
from serving import Client, serving

from scanner.pipelines.scan import open_sources


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """(store, config) of a run that no test may change."""
    return build(tmp_path_factory.mktemp("serve"))


@pytest.fixture
def own(tmp_path):
    """(store, config) of a run for one test alone; its images lie in ``tmp_path / "set"``."""
    return build(tmp_path)


@pytest.fixture(scope="session")
def ids(run) -> dict[str, int]:
    """image_id by name."""
    return ids_of(run[0])


@pytest.fixture(scope="session")
def client(run) -> Client:
    store, config = run
    with serving(store, config, lambda: open_sources(config)) as client:
        yield client
