"""The join for arrays: neighbours, links and pairs of sets with copies, against the full product."""

from __future__ import annotations

import numpy as np
import pytest
from search.oracle import planted

from scanner.core.errors import ConfigError
from scanner.search.forest import components
from scanner.search.neighbors import threshold_join
from scanner.search.threshold import unit_rows


@pytest.fixture(scope="module")
def x():
    rows = planted(400, 48)
    return np.concatenate([rows, rows[:150], rows[:30]]).astype(np.float16)


@pytest.fixture(scope="module")
def products(x):
    rows = unit_rows(x)
    found = rows @ rows.T
    np.fill_diagonal(found, -1)
    return found


@pytest.mark.parametrize("search", ["join", "cells"])
def test_neighbours_and_links(x, products, search):
    found = threshold_join(x, threshold=0.8, search=search, recall=0.9999)
    near = products >= 0.8
    np.testing.assert_array_equal(found.num_neighbors, near.sum(axis=1))
    has = found.nearest >= 0
    np.testing.assert_array_equal(has, near.any(axis=1))
    np.testing.assert_allclose(products[np.flatnonzero(has), found.nearest[has]], products.max(axis=1)[has], atol=1e-6)
    i, j = np.nonzero(np.triu(near))
    np.testing.assert_array_equal(components(len(x), found.left, found.right), components(len(x), i, j))
    assert len(found.left) == len(x) - len(np.unique(components(len(x), i, j)))
    assert not found.is_truncated


def test_all_pairs_up_to_a_limit(x, products):
    found = threshold_join(x, threshold=0.8, pairs="all")
    pairs = set(zip(found.left.tolist(), found.right.tolist(), strict=True))
    assert pairs == {(i, j) for i, j in np.argwhere(np.triu(products >= 0.8)).tolist()}
    assert len(pairs) == len(found.left)
    cut = threshold_join(x, threshold=0.8, pairs="all", max_pairs=100)
    assert cut.is_truncated
    assert len(cut.left) == 100
    assert set(zip(cut.left.tolist(), cut.right.tolist(), strict=True)) < pairs


def test_between_two_sets(x, products):
    found = threshold_join(x[:200], x[200:], threshold=0.8)
    near = products[:200, 200:] >= 0.8
    pairs = set(zip(found.left.tolist(), found.right.tolist(), strict=True))
    assert pairs == {(i, j) for i, j in np.argwhere(near).tolist()}
    np.testing.assert_array_equal(found.num_neighbors, near.sum(axis=1))
    has = found.nearest >= 0
    np.testing.assert_array_equal(has, near.any(axis=1))
    np.testing.assert_allclose(
        products[:200, 200:][np.flatnonzero(has), found.nearest[has]], products[:200, 200:].max(axis=1)[has], atol=1e-6
    )
    assert threshold_join(x[:200], x[200:], threshold=0.8, max_pairs=5).is_truncated
    with pytest.raises(ConfigError, match="one set"):
        threshold_join(x, x, threshold=0.8, search="cells")


def test_copies_of_a_row_without_direction_match_nothing():
    x = planted(60, 16)
    x[10:20], x[20:30] = 0, np.nan
    found = threshold_join(x, threshold=0.8, pairs="all")
    assert not set(range(10, 30)) & {*found.left.tolist(), *found.right.tolist()}
    assert (found.num_neighbors[10:30] == 0).all()
    assert (found.nearest[10:30] == -1).all()


def test_copies_cost_what_one_row_does():
    x = np.repeat(planted(3, 64).astype(np.float16), [5000, 1, 1], axis=0)
    found = threshold_join(x, threshold=0.95)
    assert found.num_compared == 3
    assert len(found.left) == 4999
    assert found.num_neighbors[:5000].tolist() == [4999] * 5000
    assert found.nearest[:3].tolist() == [1, 0, 0]
