"""The files of an export: each appears whole, with its size and sha256 noted in ``done/``, and is made once.

A file that was renamed into its place but not noted yet is made again; it comes out the same, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import IO, Any, cast

from scanner.core.errors import StoreError
from scanner.core.store import TEMPORARY, Store

DONE = "done"
MANIFEST_FILE = "manifest.json"
SUMS_FILE = "SHA256SUMS"


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A finished file. ``path`` is relative to the export; ``facts`` are counts of what is in it."""

    path: str
    num_bytes: int
    sha256: str
    facts: dict[str, int]


class Deliveries:
    """What an export has finished so far."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._done: dict[str, Delivery] = {}

    def find(self, path: str) -> Delivery | None:
        """The finished file at ``path``; None where it is to be made, as when it is gone or of another size."""
        if path not in self._done:
            note = self.store.get(DONE, _note_name(path))
            if note is None or not self.store.fs.exists(self.store.path(*path.split("/"))):
                return None
            delivery = _parsed(note, f"{self.store.url}/{DONE}/{_note_name(path)}")
            if self.store.fs.size(self.store.path(*path.split("/"))) != delivery.num_bytes:
                return None
            self._done[path] = delivery
        return self._done[path]

    @contextmanager
    def make(self, path: str, facts: dict[str, int]) -> Iterator[IO[bytes]]:
        """A file to be written front to back; it takes its place when the block ends. ``facts`` may be filled until then."""
        with self.store.writing(*path.split("/")) as file:
            hashing = _Hashing(file)
            try:
                yield cast("IO[bytes]", hashing)
            finally:
                hashing.is_over = True
        delivery = Delivery(path=path, num_bytes=hashing.num_bytes, sha256=hashing.digest.hexdigest(), facts=dict(facts))
        self.store.put(json.dumps(asdict(delivery), sort_keys=True).encode(), DONE, _note_name(path))
        self._done[path] = delivery

    def finish(self) -> list[Delivery]:
        """Writes ``manifest.json`` and ``SHA256SUMS`` (for ``sha256sum -c``) of every file made, this time or before."""
        folder = self.store.path(DONE)
        names = (
            [name.rsplit("/", 1)[-1] for name in self.store.fs.ls(folder, detail=False)] if self.store.fs.exists(folder) else []
        )
        notes = (self.store.get(DONE, name) for name in names if not name.startswith(TEMPORARY))
        found = sorted((_parsed(note, folder) for note in notes if note is not None), key=lambda delivery: delivery.path)
        document: dict[str, Any] = {"files": [asdict(delivery) for delivery in found]}
        self.store.put(json.dumps(document, indent=1, sort_keys=True).encode(), MANIFEST_FILE)
        self.store.put("".join(f"{one.sha256}  {one.path}\n" for one in found).encode(), SUMS_FILE)
        return found


class _Hashing:
    """Passes on what is written, and hashes it; what a writer that was given up writes while it goes is dropped."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.num_bytes = 0
        self.closed = False
        self.is_over = False

    def write(self, data: bytes) -> int:
        if self.is_over:
            return memoryview(data).nbytes
        self._file.write(data)
        self.digest.update(data)
        self.num_bytes += memoryview(data).nbytes
        return memoryview(data).nbytes

    def tell(self) -> int:
        return self.num_bytes

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """For writers that close what they were given; the file itself is closed by whoever opened it."""
        self.closed = True

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


def _note_name(path: str) -> str:
    return path.replace("/", "-") + ".json"


def _parsed(note: bytes, where: str) -> Delivery:
    try:
        return Delivery(**json.loads(note))
    except (ValueError, TypeError) as error:
        raise StoreError(f"{where} is damaged: {error}.", next_step="Delete the export and make it again.") from error
