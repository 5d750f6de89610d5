"""What a comparison has done so far, so that a stopped one goes on: arrays in files of the run, gone once the tables hold all."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.store import Store

FOLDER = ".leak"
"""Of the run: journals, the scans of folders that were compared, PDQ hashes."""


def place_of(name: str) -> str:
    """A folder's name for a name of any characters."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


class Journal:
    """Of one comparison, which ``key`` is the fingerprint of: a change of anything it depends on starts anew.

    Args:
        name: of the other set.
    """

    def __init__(self, store: Store, name: str, key: str) -> None:
        self._store, self._parent = store, (FOLDER, "journal", place_of(name))
        self._folder = (*self._parent, key[:16])
        root = store.path(*self._parent)
        for path in store.fs.ls(root, detail=False) if store.fs.exists(root) else []:
            if path.rstrip("/").rsplit("/", 1)[-1] != key[:16]:
                store.fs.rm(path, recursive=True)

    def read(self, name: str) -> dict[str, NDArray[Any]] | None:
        """What ``write`` left; None where it did not."""
        data = self._store.get(*self._folder, f"{name}.npz")
        return load_arrays(data) if data is not None else None

    def write(self, name: str, **arrays: NDArray[Any]) -> None:
        """Whole or not at all."""
        self._store.put(dump_arrays(arrays), *self._folder, f"{name}.npz")

    def remove(self) -> None:
        """Once the tables hold everything."""
        root = self._store.path(*self._parent)
        if self._store.fs.exists(root):
            self._store.fs.rm(root, recursive=True)


def dump_arrays(arrays: dict[str, NDArray[Any]]) -> bytes:
    """As ``npz``."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def load_arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """From ``npz``; nothing in it is unpickled."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
