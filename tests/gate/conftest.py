from __future__ import annotations

import pytest
from gate.making import build

from scanner.core.store import Store


@pytest.fixture
def store(tmp_path) -> Store:
    return build(str(tmp_path / "run"))
