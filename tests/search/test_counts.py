"""Neighbours counted from blocks of pairs, whatever their order."""

from __future__ import annotations

import numpy as np

from scanner.search.counts import NeighborCounts


def test_counts_and_the_nearest_do_not_depend_on_the_order():
    rng = np.random.default_rng(0)
    n = 60
    left, right = (side.astype(np.int64) for side in np.triu_indices(n, 1))
    similarity = (rng.integers(90, 100, len(left)) / 100).astype(np.float32)
    near = similarity >= np.float32(0.94)
    left, right, similarity = left[near], right[near], similarity[near]
    copies = rng.integers(1, 5, n)
    full = np.full((n, n), -np.inf, np.float32)
    full[left, right] = full[right, left] = similarity
    for seed in range(3):
        counts = NeighborCounts(copies)
        for part in np.array_split(np.random.default_rng(seed).permutation(len(left)), 7):
            counts.add(left[part], right[part], similarity[part])
        np.testing.assert_array_equal(counts.num_neighbors(), np.where(np.isfinite(full), copies, 0).sum(axis=1) + copies - 1)
        np.testing.assert_array_equal(counts.nearest, full.argmax(axis=1))
        np.testing.assert_array_equal(counts.similarity, full.max(axis=1))


def test_a_node_without_neighbours_has_none():
    counts = NeighborCounts(np.array([1, 3, 1, 2**40]))
    counts.add(np.array([0]), np.array([3]), np.array([1.0], np.float32))
    assert counts.num_neighbors().tolist() == [2**40, 2, 0, 2**40]
    assert counts.nearest.tolist() == [3, -1, -1, 0]
    assert counts.similarity.tolist() == [1.0, -np.inf, -np.inf, 1.0]


def test_counts_go_on_from_an_earlier_search():
    """Nodes 0 to 2 are known, and node 1 has gained two copies since; node 3 is new."""
    counts = NeighborCounts(np.array([1, 3, 1, 1]))
    known = {"num_others": np.array([1, 2, 1]), "nearest": np.array([1, -1, 1]), "similarity": np.float32([0.9, -np.inf, 0.95])}
    counts.start_from(**known)
    counts.add_copies(np.array([0, 2]), np.array([2, 2]))
    counts.add(np.array([0, 2]), np.array([3, 3]), np.float32([0.9, 0.96]))
    assert counts.num_neighbors().tolist() == [4, 4, 4, 2]
    assert counts.nearest.tolist() == [1, -1, 3, 2], "of two as near the lower stays"
    counts.add(np.empty(0, int), np.empty(0, int), np.empty(0, np.float32))
    assert counts.num_neighbors().tolist() == [4, 4, 4, 2]
