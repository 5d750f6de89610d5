"""Cosines against integers of unlimited size, and their independence of how pairs are put together."""

from __future__ import annotations

from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from search.oracle import join_pairs, planted

from scanner.lab.vectors import PlantedVectors
from scanner.search import exact, tiles
from scanner.search.cells_join import CellsJoin
from scanner.search.exact import exact_blocks, pair_similarities, row_similarities, searched_threshold
from scanner.search.join import ThresholdJoin
from scanner.search.threshold import PairBlock, threshold_pairs


@pytest.fixture(scope="module")
def x():
    return PlantedVectors(n=900, d=96, seed=4, largest=80, cosines=(0.9, 1.0), exact_share=0.2, grouped_share=0.6).rows()


def test_products_of_half_precision_are_exact_in_any_order(x):
    rng = np.random.default_rng(0)
    wide = x.astype(np.float64)
    for i, j in rng.integers(0, len(x), (40, 2)).tolist():
        true = sum((Fraction(float(a)) * Fraction(float(b)) for a, b in zip(wide[i], wide[j], strict=True)), Fraction(0))
        order = rng.permutation(x.shape[1])
        assert Fraction(float(wide[i] @ wide[j])) == Fraction(float(wide[i][order] @ wide[j][order])) == true


@pytest.mark.parametrize(("dense", "values"), [(0, 1 << 23), (10**9, 1 << 23), (24, 96 * 50), (24, 1 << 23)])
def test_they_are_those_of_rows_however_pairs_are_taken(x, monkeypatch, dense, values):
    monkeypatch.setattr(exact, "DENSE", dense)
    monkeypatch.setattr(exact, "CHUNK_VALUES", values)
    found = list(exact_blocks(join_pairs(x, searched_threshold(0.85)), x, x, 0.85))
    left, right, similarity = (np.concatenate([getattr(b, name) for b in found]) for name in ("left", "right", "similarity"))
    assert len(left) > 1000
    assert (left < right).all()
    assert np.array_equal(similarity, row_similarities(x, left, right))
    y = x[::-1].copy()
    assert np.array_equal(pair_similarities(x, y, left, len(x) - 1 - right), similarity)


@pytest.mark.parametrize("threshold", [0.9, 0.95, 1.0])
def test_two_searches_find_the_same_pairs_to_the_last_bit(x, threshold):
    found = []
    for search in (join_pairs, threshold_pairs):
        pairs = {}
        for block in exact_blocks(search(x, searched_threshold(threshold)), x, x, threshold):
            pairs |= zip(zip(block.left.tolist(), block.right.tolist(), strict=True), block.similarity.tolist(), strict=True)
        found.append(pairs)
    assert found[0] == found[1]
    left, right = np.triu_indices(len(x), 1)
    similarity = row_similarities(x, left, right)
    assert len(found[0]) == (similarity >= np.float32(threshold)).sum() > 0


def test_rows_of_zeros_and_thresholds_near_zero():
    x = np.zeros((3, 4), np.float16)
    x[2] = 1
    pairs = PairBlock(left=np.array([0, 0]), right=np.array([1, 2]), similarity=np.ones(2, np.float32))
    assert list(exact_blocks([pairs], x, x, 0.5)) == []
    assert 0 < searched_threshold(1e-7) < 1e-7


@pytest.mark.parametrize("make", [ThresholdJoin, partial(CellsJoin, num_cells=8, reach=3.0)], ids=["join", "cells"])
@pytest.mark.parametrize("dense", [0, 24, 10**6], ids=["row-by-row", "mixed", "all-products"])
def test_a_join_that_is_exact_gives_these_cosines_to_the_last_bit(make, dense, monkeypatch):
    monkeypatch.setattr(tiles, "DENSE", dense)
    x = planted(700, 96).astype(np.float16)
    x[3], x[4] = 0, np.nan
    blocks = list(make(x=x, threshold=0.8, is_exact=True).blocks())
    assert sum(map(len, blocks)) > 1000
    for block in blocks:
        np.testing.assert_array_equal(block.similarity, pair_similarities(x, x, block.left, block.right))
        assert not {3, 4} & {*block.left.tolist(), *block.right.tolist()}
