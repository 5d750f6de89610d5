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

    def start_from(self, num_others: NDArray[np.int64], nearest: NDArray[np.int64], similarity: NDArray[np.float32]) -> None:
        """Takes over what an earlier search found of the first nodes.

        Args:
            num_others: int64 (o,), images of other nodes within the threshold.
            nearest: int64 (o,), nearest other node, -1 where there is none or nobody knows.
            similarity: float32 (o,), its cosine, -inf where ``nearest`` is -1.
        """
        known = slice(len(num_others))
        self._num_neighbors[known], self.nearest[known], self.similarity[known] = num_others, nearest, similarity

    def add(self, left: NDArray[np.int64], right: NDArray[np.int64], similarity: NDArray[np.float32]) -> None:
        """Counts pairs of nodes: three arrays of one length, each pair once, all within the threshold."""
        if not len(left):
            return
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

    def add_copies(self, node: NDArray[np.int64], num_copies: NDArray[np.int64]) -> None:
        """Counts further copies of a neighbour that is known: ``num_copies`` more images within the threshold of ``node``."""
        np.add.at(self._num_neighbors, node, num_copies)

    def num_neighbors(self) -> NDArray[np.int64]:
        """int64 (u,): images within the threshold of each copy of a node, the other copies of it included."""
        return self._num_neighbors + self._counts - 1
