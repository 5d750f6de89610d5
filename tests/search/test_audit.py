"""The audit against what is known: its truth is everything, its recall the share found, its interval as wide as it must be."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from search.oracle import collect, planted

from scanner.search import audit as audit_module
from scanner.search.audit import FoundPairs, audit, band_edges, mean_recall, row_shares, sampled_truth
from scanner.search.forest import components
from scanner.search.join import ThresholdJoin


@pytest.mark.parametrize("brute", [0, 10**9])
def test_the_truth_of_a_sample_is_every_neighbour_of_it(monkeypatch, brute):
    monkeypatch.setattr(audit_module, "BRUTE_FORCE_PAIRS", brute)
    monkeypatch.setattr(audit_module, "ENOUGH_ROWS", 10)
    x = planted(600, 48)
    pairs = collect(ThresholdJoin(x=x, threshold=0.8).blocks()).keys()
    truth = sampled_truth(x, 0.8, seed=0, num_rows=100)
    assert len(truth.rows) == 100
    sampled = set(truth.rows.tolist())
    both = {(i, j) for i, j in pairs if i in sampled} | {(j, i) for i, j in pairs if j in sampled}
    assert set(zip(truth.left.tolist(), truth.right.tolist(), strict=True)) == both
    assert len(truth.left) == len(both) > 100


def test_more_rows_are_drawn_where_few_have_a_neighbour(monkeypatch):
    monkeypatch.setattr(audit_module, "ENOUGH_ROWS", 40)
    x = np.eye(512, dtype=np.float32)
    x[:100] = np.repeat(x[:50], 2, axis=0)
    truth = sampled_truth(x, 0.9, seed=0, num_rows=32)
    assert 32 < len(truth.rows) <= 512
    assert len(np.unique(truth.left)) >= 40
    assert len(sampled_truth(np.eye(200, dtype=np.float32), 0.9, seed=0, num_rows=32).rows) == 200


def test_recall_is_the_mean_share_of_rows_and_links_are_groups():
    # A chain 0-1-2 of which the search lost the pair 0-2 and nothing else, and a pair 3-4 that it lost.
    angle = np.deg2rad([0, 10, 20, 90, 95, 180])
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    threshold = float(np.cos(np.deg2rad(25)))
    truth = sampled_truth(x, threshold, seed=0, num_rows=6)
    found = FoundPairs(6, truth.rows)
    found.add(np.array([0, 1]), np.array([1, 2]))
    labels = components(6, np.array([0, 1]), np.array([1, 2]))
    neighbors, *bands, links = audit(truth, found, labels, threshold=threshold)[:6]
    assert (neighbors.measure, links.measure) == ("neighbors", "links")
    assert neighbors.num_sampled == 6
    assert neighbors.recall.num_rows == 5
    assert neighbors.recall.value == pytest.approx((0.5 + 1 + 0.5 + 0 + 0) / 5)
    assert links.recall.value == pytest.approx(3 / 5)
    assert neighbors.num_pairs == sum(band.num_pairs for band in bands) == 8


def test_bands_leave_no_gap():
    edges = band_edges(0.9)
    assert edges[0][0] == 0.9
    assert math.isinf(edges[-1][1])
    assert all(a[1] == b[0] for a, b in pairwise(edges))


def test_a_pair_within_rounding_of_the_threshold_is_in_no_count():
    x = np.array([[1, 0], [0.6, 0.8]], np.float32)
    truth = sampled_truth(x, 0.6, seed=0, num_rows=2)
    for band in audit(truth, FoundPairs(2, truth.rows), np.arange(2), threshold=0.6):
        assert band.num_pairs == 0
        assert (band.recall.low, band.recall.high) == (0.0, 1.0)
        assert math.isnan(band.recall.value)


def test_row_shares():
    row = np.array([7, 7, 3, 7, 7])
    assert row_shares(row, np.array([True, False, True, True, True])).tolist() == [1.0, 0.75]


@pytest.mark.parametrize(
    "law",
    [
        lambda rng: rng.random(20_000) < 0.98,
        lambda rng: rng.beta(20, 1, 20_000),
        lambda rng: np.where(rng.random(20_000) < 0.1, rng.random(20_000), 1.0),
        lambda rng: np.where(rng.random(20_000) < 0.004, 0.5, 1.0),
        lambda rng: np.full(20_000, 0.8),
    ],
    ids=["yes-or-no", "all-a-little", "a-tenth-anything", "hardly-any", "constant"],
)
@pytest.mark.parametrize("n", [60, 400])
def test_the_interval_covers(law, n):
    rng = np.random.default_rng(0)
    shares = law(rng).astype(float)
    hits, widths = 0, []
    for _ in range(400):
        recall = mean_recall(rng.choice(shares, n, replace=False))
        hits += recall.low <= shares.mean() <= recall.high
        widths.append(recall.high - recall.low)
    assert hits >= 368  # 95 % less three standard deviations
    assert np.mean(widths) < 6 / math.sqrt(n)


def test_nothing_missed_in_few_rows_is_no_proof():
    few, many = mean_recall(np.ones(20)), mean_recall(np.ones(2000))
    assert few.high == many.high == 1
    assert few.low < 0.9 < 0.99 < many.low
