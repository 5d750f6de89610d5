from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from scanner.extract import cliques
from scanner.extract.cliques import find_clique


def _random(n: int, seed: int) -> np.ndarray:
    half = np.random.default_rng(seed).random((n, n)).astype(np.float32)
    whole = np.maximum(half, half.T)
    np.fill_diagonal(whole, 0)
    return whole


@pytest.mark.parametrize("seed", range(20))
def test_no_larger_clique_exists(seed):
    """Against every subset of twelve nodes."""
    distances = _random(12, seed)
    found = find_clique(distances, 0.7)
    close = distances <= 0.7
    largest = max(
        len(chosen)
        for size in range(1, 13)
        for chosen in combinations(range(12), size)
        if all(close[i, j] for i, j in combinations(chosen, 2))
    )
    assert len(found) == largest
    assert found.is_largest
    assert all(close[i, j] for i, j in combinations(found.members.tolist(), 2))


def test_a_planted_clique_is_found_among_500():
    distances = _random(500, 0)
    members = np.random.default_rng(1).permutation(500)[:40]
    distances[np.ix_(members, members)] = 0.01
    found = find_clique(distances, 0.05)
    assert sorted(members.tolist()) == found.members.tolist()
    assert found.diameter == pytest.approx(0.01)


def test_the_medoid_is_nearest_to_the_others():
    distances = np.array([[0, 0.1, 0.1, 0.9], [0.1, 0, 0.2, 0.9], [0.1, 0.2, 0, 0.9], [0.9, 0.9, 0.9, 0]], np.float32)
    found = find_clique(distances, 0.2)
    assert (found.members.tolist(), found.medoid) == ([0, 1, 2], 0)


def test_without_an_edge_one_stands_for_all():
    found = find_clique(_random(5, 0) + 1, 0.5)
    assert len(found) == 1
    assert np.isnan(found.diameter)


def test_a_search_that_is_cut_short_says_so(monkeypatch):
    monkeypatch.setattr(cliques, "MAX_STEPS", 3)
    found = find_clique(_random(60, 3), 0.6)
    assert not found.is_largest
