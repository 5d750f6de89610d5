"""Hashes within a Hamming distance of one another: every pair of two sets, counted bit by bit.

Of hashes of several words the first half is counted for all pairs; what exceeds the distance there exceeds it altogether, and
only the rest is counted to the end. Nothing is left out for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.search.workers import in_order

TASK_PAIRS = 1 << 22
"""Pairs of one task, at most: what is found of them is in memory at once."""
BLOCK_PAIRS = 1 << 17
"""Pairs whose words are laid side by side: a megabyte, which stays in a core's cache."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HammingBlock:
    """Pairs of hashes.

    Attributes:
        left, right: int64 (k,) rows of the one set and of the other.
        distance: int64 (k,) bits that differ.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    distance: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.left)


def hamming_blocks(
    x: NDArray[np.uint64],
    y: NDArray[np.uint64],
    max_distance: int,
    *,
    threads: int | None = None,
    on_tile: Callable[[int], None] | None = None,
) -> Iterator[HammingBlock]:
    """Every row of ``x`` (n, w) with every row of ``y`` (m, w) at most ``max_distance`` bits from it, in a fixed order.

    Args:
        threads: workers; None is one a core.
        on_tile: called with the number of pairs just compared; the calls add up to n m.
    """
    assert x.shape[1] == y.shape[1], (x.shape, y.shape)
    columns = max(1, min(len(y), TASK_PAIRS))
    rows = max(1, TASK_PAIRS // columns)
    tasks = ((row, column) for row in range(0, len(x), rows) for column in range(0, len(y), columns))

    def work(task: tuple[int, int]) -> HammingBlock:
        row, column = task
        return _pairs(x[row : row + rows], y[column : column + columns], max_distance, row, column)

    for (row, column), block in in_order(tasks, work, threads or os.cpu_count() or 1):
        if on_tile:
            on_tile(min(rows, len(x) - row) * min(columns, len(y) - column))
        if len(block):
            yield block


def _pairs(x: NDArray[np.uint64], y: NDArray[np.uint64], max_distance: int, first_x: int, first_y: int) -> HammingBlock:
    num_words = x.shape[1]
    # Two words of a PDQ hash leave one pair in ten million; one would leave half of them.
    early = (num_words + 1) // 2
    height = max(1, min(len(x), BLOCK_PAIRS // max(1, min(len(y), BLOCK_PAIRS))))
    width = max(1, BLOCK_PAIRS // height)
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
    for top in range(0, len(x), height):
        a = x[top : top + height]
        for start in range(0, len(y), width):
            b = y[start : start + width]
            distance = np.zeros((len(a), len(b)), np.uint16)
            for word in range(early):
                distance += np.bitwise_count(a[:, None, word] ^ b[None, :, word])
            i, j = np.nonzero(distance <= max_distance)
            if not len(i):
                continue
            bits = distance[i, j].astype(np.int64)
            for word in range(early, num_words):
                bits += np.bitwise_count(a[i, word] ^ b[j, word])
            near = bits <= max_distance
            found.append((i[near] + (top + first_x), j[near] + (start + first_y), bits[near]))
    empty = np.empty(0, np.int64)
    left, right, bits = (np.concatenate([empty, *(piece[k] for piece in found)]) for k in range(3))
    return HammingBlock(left=left, right=right, distance=bits)
