"""Finished runs with their tables, as ``report_runs`` makes them."""

from __future__ import annotations

import pytest
from report_runs import build


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run that no test may change."""
    return build(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def own(tmp_path):
    """A run for one test alone; its images lie in ``tmp_path / "set"``."""
    return build(tmp_path)
