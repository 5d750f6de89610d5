from __future__ import annotations

import numpy as np

from scanner.neighbors.groups import make_groups, row_similarities
from scanner.search.counts import NeighborCounts


def test_the_representative_has_best_resolution_then_longest_caption_then_lowest_row():
    labels = np.array([0, 0, 0, 3, 4, 4, 6, 6, 0])
    resolution = np.array([1, 9, 9, 5, 2, 2, 7, 7, 9])
    caption_length = np.array([9, 1, 3, 0, 4, 5, 1, 1, 3])
    groups = make_groups(labels, resolution, caption_length)
    assert groups.rows.tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    assert groups.group.tolist() == [0, 0, 0, 4, 4, 6, 6, 0]
    assert groups.representative.tolist() == [2, 2, 2, 5, 5, 6, 6, 2]


def test_no_groups():
    groups = make_groups(np.arange(4), np.zeros(4, int), np.zeros(4, int))
    assert len(groups.rows) == len(groups.representative) == 0
    assert len(make_groups(np.empty(0, int), np.empty(0, int), np.empty(0, int)).rows) == 0


def test_similarities_are_cosines_whatever_the_length():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((50, 8)) * rng.uniform(0.1, 3, (50, 1))).astype(np.float16)
    left, right = rng.integers(0, 50, 200), rng.integers(0, 50, 200)
    unit = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    assert np.allclose(row_similarities(x, left, right), (unit[left] * unit[right]).sum(axis=1), atol=1e-6)
    assert (row_similarities(x, left, left) == 1).all()
    wide = rng.standard_normal((5, 5000)).astype(np.float16)
    wide[4] = 0
    rows = np.arange(5)
    assert row_similarities(wide, rows, rows).tolist() == [1, 1, 1, 1, 0]


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


def test_counts_hold_multiplicity_and_do_not_depend_on_the_order_of_blocks():
    rng = np.random.default_rng(1)
    copies = rng.integers(1, 4, 30)
    left, right = np.triu_indices(30, k=1)
    take = rng.random(len(left)) < 0.2
    left, right = left[take], right[take]
    similarity = np.round(rng.uniform(0.9, 1, len(left)), 2).astype(np.float32)
    results = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(left))
        counts = NeighborCounts(copies)
        for block in np.array_split(order, 5):
            counts.add(left[block], right[block], similarity[block])
        results.append((counts.num_neighbors(), counts.nearest, counts.similarity))
    for result in results[1:]:
        for a, b in zip(results[0], result, strict=True):
            assert np.array_equal(a, b)
    for node in range(30):
        others = [(s, -(r if i == node else i)) for i, r, s in zip(left, right, similarity, strict=True) if node in (i, r)]
        assert results[0][0][node] == copies[node] - 1 + sum(copies[-other] for _, other in others)
        assert results[0][1][node] == (-max(others)[1] if others else -1)
