from __future__ import annotations

import pytest


@pytest.fixture(params=["local", "memory"])
def root(request, tmp_path):
    """A folder's URL on a local disk and in fsspec's memory file system."""
    if request.param == "local":
        yield str(tmp_path / "set")
        return
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield "memory://set"
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
