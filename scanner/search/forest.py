"""Links that arrive in any order, kept as one forest that answers for every threshold; and counts of all pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scanner.search.threshold import PairBlock


def components(num_nodes: int, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Connected components of an undirected graph: for every node the smallest node of its component, int64 (num_nodes,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes, row, column = _linked(num_nodes, left, right)
    graph = coo_array((np.ones(len(row), dtype=np.int8), (row, column)), shape=(len(nodes), len(nodes))).tocsr()
    num_components, labels = connected_components(graph, directed=False)
    smallest = np.empty(num_components, dtype=np.int64)
    # Of several values assigned to one place the last stays: going backwards, that of the smallest node.
    smallest[labels[::-1]] = nodes[::-1]
    found = np.arange(num_nodes, dtype=np.int64)
    found[nodes] = smallest[labels]
    return found


def _linked(
    num_nodes: int, left: NDArray[np.int64], right: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """The nodes that have a link, ascending, and the links by their place among them: of a large set most nodes have none."""
    is_linked = np.zeros(num_nodes, bool)
    is_linked[left] = True
    is_linked[right] = True
    nodes = np.flatnonzero(is_linked)
    place = np.empty(num_nodes, np.int32)
    place[nodes] = np.arange(len(nodes), dtype=np.int32)
    return nodes, place[left], place[right]


LEVELS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)
"""Quantiles of the forest's similarities at which its components are kept, to drop links that cannot be in it."""


class SpanningForest:
    """The maximum spanning forest of every link ever added, in memory for the forest and one buffer.

    For any threshold t, two nodes are connected by links of similarity >= t if and only if they are connected by links of
    the forest with similarity >= t (Kruskal 1956; the cut property). So a search at one threshold, seen once, gives the
    components at that threshold and at every higher one.

    Links are ordered by (similarity descending, left, right). No two links tie in that order, so the forest is unique: it
    depends neither on the order of arrival nor on the size of the buffer.

    Args:
        num_nodes: nodes are 0 … num_nodes - 1.
        buffer_links: links collected before they are merged into the forest (20 bytes each; a merge needs about eight
            times that).
    """

    def __init__(self, num_nodes: int, *, buffer_links: int = 1_000_000) -> None:
        assert 0 <= num_nodes < 2**31, "csgraph counts nodes in int32"
        self.num_nodes = num_nodes
        self._buffer_links = buffer_links
        self._num_buffered = 0
        self._levels: list[tuple[np.float32, NDArray[np.int32]]] = []
        self._buffer: list[PairBlock] = []
        self._forest = PairBlock(
            left=np.empty(0, dtype=np.int64), right=np.empty(0, dtype=np.int64), similarity=np.empty(0, dtype=np.float32)
        )

    def add(self, left: NDArray[np.int64], right: NDArray[np.int64], similarity: NDArray[np.float32]) -> None:
        """Adds candidate links: three arrays of one length, ``left < right``. Of a pair that comes again the highest counts."""
        if not len(left):
            return
        assert len(left) == len(right) == len(similarity)
        assert (left < right).all()
        assert left.min() >= 0
        assert right.max() < self.num_nodes
        kept = self._may_matter(left, right, similarity)
        if not kept.all():
            left, right, similarity = left[kept], right[kept], similarity[kept]
        self._buffer.append(PairBlock(left=left, right=right, similarity=similarity))
        self._num_buffered += len(left)
        # Waiting for as many links as the forest has keeps the total work within a constant factor of the links seen.
        if self._num_buffered >= max(self._buffer_links, len(self._forest)):
            self._merge()

    def links(self) -> PairBlock:
        """The forest: at most ``num_nodes - 1`` links, sorted by (left, right)."""
        self._merge()
        return self._forest

    def components(self, threshold: float) -> NDArray[np.int64]:
        """For every node the smallest node of its component when links of similarity >= ``threshold`` connect.

        int64 (num_nodes,). Exact at every threshold at or above the one the links were searched with.
        """
        links = self.links()
        kept = links.similarity >= np.float32(threshold)
        return components(self.num_nodes, links.left[kept], links.right[kept])

    def _may_matter(
        self, left: NDArray[np.int64], right: NDArray[np.int64], similarity: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """False for links whose ends are joined already by links that are all higher: those of a large group, nearly always."""
        kept = np.ones(len(left), bool)
        for level, label in self._levels:
            kept &= (similarity >= level) | (label[left] != label[right])
        return kept

    def _merge(self) -> None:
        if not self._num_buffered:
            return
        blocks = [self._forest, *self._buffer]
        # Cleared first: the blocks are the largest thing in memory.
        self._buffer, self._num_buffered = [], 0
        left = np.concatenate([block.left for block in blocks])
        right = np.concatenate([block.right for block in blocks])
        similarity = np.concatenate([block.similarity for block in blocks])
        del blocks
        self._forest = _maximum_spanning_forest(self.num_nodes, left, right, similarity)
        if len(left) > self._buffer_links:
            # More is to come: what the forest already says of it is worth knowing beforehand.
            self._levels = [(level, self._labels(level)) for level in self._quantiles()]

    def _quantiles(self) -> list[np.float32]:
        found: list[np.float32] = np.unique(np.quantile(self._forest.similarity, LEVELS, method="lower")).tolist()
        return found

    def _labels(self, level: np.float32) -> NDArray[np.int32]:
        kept = self._forest.similarity >= level
        return components(self.num_nodes, self._forest.left[kept], self._forest.right[kept]).astype(np.int32)


def _maximum_spanning_forest(
    num_nodes: int, left: NDArray[np.int64], right: NDArray[np.int64], similarity: NDArray[np.float32]
) -> PairBlock:
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    key = left * num_nodes + right
    order = np.argsort(key)
    key = key[order]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    left, right = np.divmod(key[starts], num_nodes)
    similarity = np.maximum.reduceat(similarity[order], starts)
    del key, order
    nodes, row, column = _linked(num_nodes, left, right)

    # The weight of a link is its rank, from 1: no ties, and no 0, which scipy drops from a tree. Links lie in order of
    # (left, right) already, so a stable sort by similarity ranks them by (similarity descending, left, right).
    by_rank = np.argsort(-similarity, kind="stable")
    rank = np.empty(len(by_rank), dtype=np.float64)
    rank[by_rank] = np.arange(1, len(by_rank) + 1)
    indptr = np.searchsorted(row, np.arange(len(nodes) + 1))
    graph: csr_array[np.float64, tuple[int, int]] = csr_array((rank, column, indptr), shape=(len(nodes), len(nodes)))
    tree = minimum_spanning_tree(graph, overwrite=True)
    spanning = np.sort(by_rank[tree.data.astype(np.int64) - 1])
    return PairBlock(left=left[spanning], right=right[spanning], similarity=similarity[spanning])


class PairHistogram:
    """Counts pairs of images at or above each of several thresholds, when a node stands for several equal copies.

    A pair of nodes with m_i and m_j copies is m_i * m_j pairs of images; the copies of one node are m_i * (m_i - 1) / 2
    pairs more, of similarity 1, and are counted from the start.

    Args:
        thresholds: cosine similarities, in any order. Counts are exact at or above the threshold that was searched with.
        counts: int64 (num_nodes,), copies that a node stands for. None: one each.
    """

    def __init__(self, thresholds: Sequence[float], *, counts: NDArray[np.int64] | None = None) -> None:
        self.thresholds = tuple(thresholds)
        self._cuts = np.sort(np.asarray(self.thresholds, dtype=np.float32))
        self._counts = counts
        self.num_copy_pairs = 0 if counts is None else int((counts * (counts - 1) // 2).sum())
        # Element k counts the pairs that reach exactly k of the sorted thresholds.
        self._reached = np.zeros(len(self._cuts) + 1, dtype=np.int64)

    def add(self, left: NDArray[np.int64], right: NDArray[np.int64], similarity: NDArray[np.float32]) -> None:
        """Counts pairs of nodes: three arrays of one length. Each pair must come once only."""
        reached = np.searchsorted(self._cuts, similarity, side="right")
        if self._counts is None:
            self._reached += np.bincount(reached, minlength=len(self._reached))
            return
        weight = self._counts[left] * self._counts[right]
        # Not bincount's weights: those are float64, exact only up to 2^53.
        for k in range(len(self._reached)):
            self._reached[k] += weight[reached == k].sum()

    def num_pairs(self) -> NDArray[np.int64]:
        """Pairs of images with similarity >= each threshold, copies of one node included; int64, in the order given."""
        at_least = self._reached[::-1].cumsum()[::-1][1:] + self.num_copy_pairs
        return at_least[np.searchsorted(self._cuts, np.asarray(self.thresholds, dtype=np.float32))]
