"""Memory that is filled again and again.

A fresh array of megabytes comes from the system page by page, which takes longer than filling it: 1,024 rows of 512 numbers
were had in 2.4 us a row, in memory of before in 0.4 (one AVX-512 core).
"""

from __future__ import annotations

import math
from threading import local
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

ALIGNMENT = 4096
"""Bytes. numpy gives 16, with which every store of 64 touches two lines of the cache: products took a fifth longer."""


class Buffer:
    """One array at a time; it lasts until the next is asked for."""

    def __init__(self) -> None:
        self._held = np.empty(0, np.uint8)

    def array(self, *shape: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Of that shape, filled with whatever was there."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if len(self._held) < size:
            held = np.empty(size + ALIGNMENT, np.uint8)
            self._held = held[-held.ctypes.data % ALIGNMENT :][:size]
        return self._held[:size].view(dtype).reshape(shape)


class ThreadBuffers(local):
    """Buffers by name, of each thread its own."""

    def __init__(self) -> None:
        self._named: dict[str, Buffer] = {}

    def __getitem__(self, name: str) -> Buffer:
        return self._named.setdefault(name, Buffer())
