"""Searches between two sets, as comparisons of runs use them."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.core.config import ComputeConfig, NeighborsConfig
from scanner.lab.vectors import PlantedVectors
from scanner.search import searches
from scanner.search.exact import pair_similarities

THRESHOLD = 0.9


@pytest.fixture(scope="module")
def rows():
    settings = {"d": 48, "largest": 40, "cosines": (0.85, 0.999), "exact_share": 0.0, "grouped_share": 0.6}
    return np.random.default_rng(3).permutation(PlantedVectors(n=1200, seed=8, **settings).rows())


def pairs(search) -> dict[tuple[int, int], float]:
    found = {}
    for block in search.blocks(lambda _: None):
        for left, right, similarity in zip(block.left.tolist(), block.right.tolist(), block.similarity.tolist(), strict=True):
            assert (left, right) not in found, "each pair once"
            found[left, right] = similarity
    return found


def truth(x, y):
    left, right = np.divmod(np.arange(len(x) * len(y)), len(y))
    similarity = pair_similarities(x, y, left, right)
    near = similarity >= np.float32(THRESHOLD)
    return dict(zip(zip(left[near].tolist(), right[near].tolist(), strict=True), similarity[near].tolist(), strict=True))


@pytest.mark.parametrize("num_right", [150, 900])
def test_cells_find_nearly_all_pairs_between_and_none_within(rows, num_right):
    expected = truth(rows[num_right:], rows[:num_right])
    found = pairs(searches.between_in_cells(rows, num_right, THRESHOLD, NeighborsConfig(recall=0.95), ComputeConfig()))
    assert len(expected) > 100
    assert found.items() <= expected.items(), "what is found is exact, whichever set is the active one"
    assert len(found) >= 0.9 * len(expected)


def test_the_join_finds_all(rows):
    x, y = rows[150:], rows[:150]
    assert pairs(searches.between(x, y, THRESHOLD, ComputeConfig())) == truth(x, y)


def test_auto_compares_all_pairs_as_long_as_that_is_cheap():
    auto = NeighborsConfig()
    assert searches.chosen_between(auto, 1_000_000, 10_000) == "join"
    assert searches.chosen_between(auto, 10_000_000, 10_000) == "cells"
    assert searches.chosen_between(NeighborsConfig(search="cells"), 2, 2) == "cells"
    assert searches.chosen_between(NeighborsConfig(search="join"), 10**9, 10**9) == "join"
    assert searches.chosen_between(NeighborsConfig(search="faiss-ivf"), 2, 2) == "cells"
