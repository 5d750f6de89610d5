"""How many neighbours a row has and which is nearest, gathered from blocks of pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class NeighborCounts:
    """Counts over classes of equal copies: a class of m copies is one node that counts m times.

    Args:
        counts: int64 (u,), copies of each node.
    """

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self._counts = counts
        self._num_neighbors = np.zeros(len(counts), dtype=np.int64)
        self.nearest = np.full(len(counts), -1, dtype=np.int64)
        self.similarity = np.full(len(counts), -np.inf, dtype=np.float32)

    def add(self, left: NDArray[np.int64], right: NDArray[np.int64], similarity: NDArray[np.float32]) -> None:
        """Counts pairs of nodes: three arrays of one length, each pair once, all within the threshold."""
        np.add.at(self._num_neighbors, left, self._counts[right])
        np.add.at(self._num_neighbors, right, self._counts[left])
        node = np.concatenate([left, right])
        other = np.concatenate([right, left])
        both = np.concatenate([similarity, similarity])
        # The nearest of each node: highest similarity, then lowest row, so that the order of blocks does not matter.
        order = np.lexsort((other, -both, node))
        node, other, both = node[order], other[order], both[order]
        head = np.concatenate([[True], node[1:] != node[:-1]])
        node, other, both = node[head], other[head], both[head]
        better = (both > self.similarity[node]) | ((both == self.similarity[node]) & (other < self.nearest[node]))
        self.nearest[node[better]] = other[better]
        self.similarity[node[better]] = both[better]

    def num_neighbors(self) -> NDArray[np.int64]:
        """int64 (u,): images within the threshold of each copy of a node, the other copies of it included."""
        return self._num_neighbors + self._counts - 1
