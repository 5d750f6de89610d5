"""How many neighbours a row has and which is nearest, gathered from blocks of pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LOW = 2**32 - 1
"""Nodes are below it: csgraph, which links them, counts them in int32."""


class NeighborCounts:
    """Counts over classes of equal copies: a class of m copies is one node that counts m times.

    Similarities are above 0, as every threshold is.

    Args:
        counts: int64 (u,), copies of each node.
    """

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self._counts = counts
        self._num_neighbors = np.zeros(len(counts), dtype=np.int64)
        self._best = np.zeros(len(counts), dtype=np.uint64)

    @property
    def nearest(self) -> NDArray[np.int64]:
        """int64 (u,): the nearest other node, the lowest of equally near ones; -1 where there is none."""
        return np.where(self._best > 0, _LOW - (self._best & np.uint64(_LOW)).astype(np.int64), -1)

    @property
    def similarity(self) -> NDArray[np.float32]:
        """float32 (u,): its cosine; -inf where there is none."""
        found = (self._best >> np.uint64(32)).astype(np.uint32).view(np.float32)
        return np.where(self._best > 0, found, np.float32(-np.inf))

    def start_from(self, num_others: NDArray[np.int64], nearest: NDArray[np.int64], similarity: NDArray[np.float32]) -> None:
        """Takes over what an earlier search found of the first nodes.

        Args:
            num_others: int64 (o,), images of other nodes within the threshold.
            nearest: int64 (o,), nearest other node, -1 where there is none or nobody knows.
            similarity: float32 (o,), its cosine, -inf where ``nearest`` is -1.
        """
        known = slice(len(num_others))
        self._num_neighbors[known] = num_others
        self._best[known] = np.where(nearest >= 0, _keys(np.maximum(nearest, 0), np.maximum(similarity, 0)), np.uint64(0))

    def add(self, left: NDArray[np.int64], right: NDArray[np.int64], similarity: NDArray[np.float32]) -> None:
        """Counts pairs of nodes: three arrays of one length, each pair once, all within the threshold."""
        if not len(left):
            return
        np.add.at(self._num_neighbors, left, self._counts[right])
        np.add.at(self._num_neighbors, right, self._counts[left])
        np.maximum.at(self._best, left, _keys(right, similarity))
        np.maximum.at(self._best, right, _keys(left, similarity))

    def add_copies(self, node: NDArray[np.int64], num_copies: NDArray[np.int64]) -> None:
        """Counts further copies of a neighbour that is known: ``num_copies`` more images within the threshold of ``node``."""
        np.add.at(self._num_neighbors, node, num_copies)

    def num_neighbors(self) -> NDArray[np.int64]:
        """int64 (u,): images within the threshold of each copy of a node, the other copies of it included."""
        return self._num_neighbors + self._counts - 1


def _keys(other: NDArray[np.int64], similarity: NDArray[np.float32]) -> NDArray[np.uint64]:
    """The larger the nearer, and of equally near the lower: bits of a positive float are in its order."""
    bits = np.ascontiguousarray(similarity, np.float32).view(np.uint32).astype(np.uint64)
    return (bits << np.uint64(32)) | (_LOW - other).astype(np.uint64)
