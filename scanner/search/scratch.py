"""Rows in search order on disk, where memory does not hold them: written once, read by place.

The file is made of float16 rows without a header, and goes when its object does. Rows come in any order and leave by ranges, so
a set many times the memory is sorted by one pass: each block of it goes to the places of its rows in a few runs.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import StoreError
from scanner.search.buffers import Buffer
from scanner.search.threshold import FloatRows, unit_rows, widened

RELEASE_BYTES = 1 << 27
"""Of mapped rows read, after which their pages are given back: they stay cached where there is room, and count as free."""


class ScratchRows:
    """A matrix of float16 rows in a file of its own.

    Args:
        folder: where it lies; made if it is not there. Empty: the system's folder for temporary files.
        num_rows, dim: its shape.
        is_exact: rows are read as they are instead of scaled.

    Raises:
        StoreError: there is no room, or no permission.
    """

    def __init__(self, folder: str, *, num_rows: int, dim: int, is_exact: bool = False) -> None:
        self._convert = widened if is_exact else unit_rows
        self.shape = (num_rows, dim)
        self._row_bytes = 2 * dim
        self._num_read = 0
        with _allocated(folder, self.num_bytes) as file:
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)
        self._map = mmap.mmap(self._descriptor, max(1, self.num_bytes), access=mmap.ACCESS_READ)
        self._rows: NDArray[np.float16] = np.frombuffer(self._map, np.float16, count=num_rows * dim).reshape(num_rows, dim)

    @property
    def num_bytes(self) -> int:
        return self.shape[0] * self._row_bytes

    def write(self, places: NDArray[np.int64], rows: NDArray[np.float16]) -> None:
        """Puts rows (m, dim) at ascending places (m,), run by run."""
        rows = np.ascontiguousarray(rows, np.float16)
        breaks = np.flatnonzero(np.diff(places) != 1) + 1
        edges = [0, *breaks.tolist(), len(places)]
        view = memoryview(rows.data).cast("B")
        for start, stop in pairwise(edges):
            if start == stop:
                continue
            part, offset = view[start * self._row_bytes : stop * self._row_bytes], int(places[start]) * self._row_bytes
            while part:
                written = os.pwrite(self._descriptor, part, offset)
                part, offset = part[written:], offset + written

    def take(self, places: NDArray[np.int64], buffer: Buffer) -> NDArray[np.float32]:
        """float32 (m, dim), in a buffer: rows at these places; of norm 1, or as they are where the recheck is exact."""
        rows = self._convert(self._rows[places], buffer.array(len(places), self.shape[1]))
        self._num_read += len(places) * max(self._row_bytes, mmap.PAGESIZE)
        if self._num_read > RELEASE_BYTES:
            self._num_read = 0
            self._map.madvise(mmap.MADV_DONTNEED)
        return rows


def scratch_matrix(folder: str, *, num_rows: int, dim: int) -> NDArray[np.float16]:
    """A float16 matrix of zeros in a file that goes with it, to be filled and read like any other array.

    Raises:
        StoreError: there is no room, or no permission.
    """
    if not num_rows * dim:
        return np.zeros((num_rows, dim), np.float16)
    with _allocated(folder, 2 * num_rows * dim) as file:
        return np.memmap(file, np.float16, mode="r+", shape=(num_rows, dim))


def _allocated(folder: str, num_bytes: int) -> IO[bytes]:
    """An empty file of that size, without a name: whatever ends the process, nothing is left behind."""
    try:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=folder or None, prefix="scanner-rows-")  # noqa: SIM115
        os.posix_fallocate(file.fileno(), 0, max(1, num_bytes))
    except OSError as error:
        raise StoreError(
            f"{folder or tempfile.gettempdir()} has no room for {num_bytes / 2**30:.1f} GiB of rows: {error.strerror}.",
            next_step="Give a larger disk with --scratch, or more memory with --memory.",
        ) from error
    return file


def release(x: FloatRows) -> None:
    """Gives the pages of a memory-mapped file that were read back to the system; other arrays stay as they are."""
    mapped = getattr(x, "_mmap", None)
    if isinstance(mapped, mmap.mmap) and hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_DONTNEED)
