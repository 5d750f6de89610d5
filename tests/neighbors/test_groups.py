from __future__ import annotations

import numpy as np

from scanner.neighbors.groups import make_groups
from scanner.search.exact import row_similarities


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
