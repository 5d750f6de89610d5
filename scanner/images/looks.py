"""The files of images read again and decoded in worker processes, which may die of them, to small pictures.

Where the bytes come from is not known here: a ``Reader`` is given something that reads files (``sources.originals.Originals``).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import ComputeConfig, ImagesConfig
from scanner.images.align import LOOK
from scanner.images.prepare import ImageLimits, ImagePreparer


class SeenFile(Protocol):
    """A file as a scan saw it."""

    @property
    def image_id(self) -> int: ...

    @property
    def dataset(self) -> str: ...

    def is_as_scanned(self, sha256: bytes | None, phash: int | None) -> bool: ...


File = TypeVar("File", bound=SeenFile)
File_contra = TypeVar("File_contra", bound=SeenFile, contravariant=True)


class FileReader(Protocol[File_contra]):
    """Reads files, and counts those that could not be used."""

    num_failed: int
    last_failure: str

    def read_all(self, files: Iterable[File_contra]) -> Iterator[bytes | None]: ...

    def failed(self, reason: str) -> None: ...


@dataclass(kw_only=True, slots=True, eq=False)
class Looks:
    """What n files look like.

    Attributes:
        pixels: uint8 (n, 2 * SIDE, 2 * SIDE, 3) as ``images.align.LOOK`` prepares them; zeros where not read.
        is_read: bool (n,) whether the file could be read again and is what the scan saw.
        pixel_digest: of size and pixels of each, equal exactly where both are.
    """

    pixels: NDArray[np.uint8]
    is_read: NDArray[np.bool_]
    pixel_digest: list[bytes | None]


class Reader(Generic[File]):
    """Reads and decodes; its workers start when the first file is to be decoded. A context manager."""

    def __init__(self, originals: FileReader[File], images: ImagesConfig, compute: ComputeConfig) -> None:
        self.num_read = 0
        self._originals, self._images, self._compute = originals, images, compute
        self._stack = ExitStack()
        self._preparer: ImagePreparer | None = None

    @property
    def num_failed(self) -> int:
        return self._originals.num_failed

    @property
    def last_failure(self) -> str:
        return self._originals.last_failure

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def looks(self, files: Sequence[File], *, max_in_memory: int) -> Looks:
        """What the files look like; of more than ``max_in_memory`` in a temporary file. Never raises for one of them."""
        shape = (len(files), *LOOK.size, 3)
        if len(files) <= max_in_memory:
            pixels = np.zeros(shape, np.uint8)
        else:
            # The name goes at once, the space with the last reference.
            with tempfile.TemporaryFile(prefix="scanner-verify-") as file:
                pixels = np.memmap(file, np.uint8, "w+", shape=shape)
        found = Looks(pixels=pixels, is_read=np.zeros(len(files), bool), pixel_digest=[None] * len(files))
        # In the order of their ids, so that each shard is gone through once.
        order = sorted(range(len(files)), key=lambda i: (files[i].dataset, files[i].image_id))

        def originals() -> Iterator[tuple[int, bytes]]:
            for i, data in zip(order, self._originals.read_all(files[i] for i in order), strict=True):
                if data is not None:
                    yield i, data

        for i, facts, look in self._get_preparer().prepare(originals()):
            if look is None:
                self._originals.failed(facts.error_message or facts.status)
            elif not files[i].is_as_scanned(facts.sha256, facts.phash):
                self._originals.failed("the source has changed since the scan")
            else:
                found.pixels[i], found.is_read[i], found.pixel_digest[i] = look, True, facts.pixel_digest
                self.num_read += 1
        return found

    def _get_preparer(self) -> ImagePreparer:
        if self._preparer is None:
            workers = self._compute.workers
            count = os.cpu_count() or 1 if workers == "auto" else workers
            limits = ImageLimits.of(self._images)
            self._preparer = self._stack.enter_context(ImagePreparer(LOOK, limits, workers=count, has_pixel_digest=True))
        return self._preparer
