"""Part 3, line 1: the exact join gives the pairs of an fp32 brute force, and the join in cells never more than them."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.lab.vectors import PlantedVectors
from scanner.search.cells_join import CellsJoin
from scanner.search.exact import pair_similarities
from scanner.search.join import ThresholdJoin
from scanner.search.neighbors import threshold_join
from scanner.search.threshold import unit_rows

THRESHOLD = 0.95
TIE = 1e-6


def brute_force(x, threshold, *, tile=4096):
    """Sorted keys left * n + right of all pairs at or above threshold - TIE, and their similarities: all products in fp32."""
    import torch

    rows, n = torch.from_numpy(unit_rows(x)), len(x)
    keys, found = [], []
    for i in range(0, n, tile):
        for j in range(i, n, tile):
            products = torch.mm(rows[i : i + tile], rows[j : j + tile].T).numpy()
            left, right = np.nonzero(products >= np.float32(threshold - TIE))
            similarity = products[left, right]
            above = left + i < right + j
            keys.append((left[above] + i) * n + right[above] + j)
            found.append(similarity[above])
    key, similarity = np.concatenate(keys), np.concatenate(found)
    order = np.argsort(key)
    return key[order], similarity[order]


def keys_of(blocks, n):
    blocks = list(blocks)
    key = np.concatenate([np.empty(0, np.int64), *(b.left * n + b.right for b in blocks)])
    similarity = np.concatenate([np.empty(0, np.float32), *(b.similarity for b in blocks)])
    order = np.argsort(key)
    assert (np.diff(key[order]) > 0).all(), "a pair came twice"
    return key[order], similarity[order]


@pytest.mark.parametrize("background", ["isotropic", "clip"])
@pytest.mark.parametrize(("n", "largest"), [(50_000, 1000), (200_000, 4000)])
def test_pair_for_pair_what_a_brute_force_finds(background, n, largest):
    x = PlantedVectors(n=n, background=background, largest=largest, cosines=(0.9, 0.999), seed=n + 1).rows()
    truth, cosine = brute_force(x, THRESHOLD)
    join = ThresholdJoin(x=x, threshold=THRESHOLD)
    found, similarity = keys_of(join.blocks(), n)
    # Two ways to sum 512 products in fp32 are up to 1e-6 apart; what they disagree on is judged by float64.
    disputed = np.setxor1d(found, truth[cosine >= np.float32(THRESHOLD)], assume_unique=True)
    exact = pair_similarities(x, x, disputed // n, disputed % n)
    print(f"\n{background}, n = {n:,}: {len(found):,} pairs; {len(disputed)} within {TIE} of the threshold and disputed:")
    for key, value in zip(disputed.tolist(), exact.tolist(), strict=True):
        print(f"  {key // n} {key % n} {value:.8f} {'found' if key in found else 'not found'}")
    assert (np.abs(exact - THRESHOLD) <= TIE).all()
    assert len(disputed) < 10
    assert len(found) > n
    _, mine, theirs = np.intersect1d(found, truth, assume_unique=True, return_indices=True)
    assert np.abs(similarity[mine] - cosine[theirs]).max() < 2 * TIE

    cells = CellsJoin(x=x, threshold=THRESHOLD)
    partial, _ = keys_of(cells.blocks(), n)
    assert not len(np.setdiff1d(partial, np.union1d(truth, found), assume_unique=True)), "cells found a pair that is none"
    counts, most = (np.bincount(np.concatenate([k // n, k % n]), minlength=n) for k in (partial, np.union1d(truth, found)))
    assert (counts <= most).all()
    has = most > 0
    print(f"  cells: {len(partial):,} pairs, {(counts[has] / most[has]).mean():.5f} of its neighbours a row")
    assert (counts[has] / most[has]).mean() >= 0.99


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_adversarial_rows(precision):
    rng = np.random.default_rng(0)
    n, d = 6000, 512
    base = rng.standard_normal((n // 2, d))
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    side = rng.standard_normal((n // 2, d))
    side -= (side * base).sum(axis=1, keepdims=True) * base
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    cosine = np.where(np.arange(n // 2) % 2, THRESHOLD + 1e-5, THRESHOLD - 1e-5)[:, None]
    x = np.concatenate([base, cosine * base + np.sqrt(1 - cosine**2) * side]).astype(np.float32)
    x[0], x[n // 2] = 0, 0
    x[1] = np.nan
    found, _ = keys_of(ThresholdJoin(x=x, threshold=THRESHOLD, precision=precision).blocks(), n)
    wanted = [i * n + i + n // 2 for i in range(3, n // 2, 2)]
    assert found.tolist() == wanted


@pytest.mark.parametrize("num_copies", [50_000, 100_000])
def test_copies_of_one_vector_cost_and_give_what_is_linear(num_copies):
    others = PlantedVectors(n=1000, seed=2, grouped_share=0).rows()
    x = np.concatenate([others, np.repeat(others[:1], num_copies, axis=0)])
    found = threshold_join(x, threshold=THRESHOLD)
    assert found.num_compared == 1000 * 999 // 2, "the copies are one row of the search"
    assert len(found.left) == num_copies
    assert (found.num_neighbors[1000:] == num_copies).all()
    assert found.num_neighbors[0] == num_copies
    listed = threshold_join(x, threshold=THRESHOLD, pairs="all", max_pairs=1000)
    assert listed.is_truncated
    assert len(listed.left) == 1000


def test_near_copies_of_one_vector_give_links_that_are_linear():
    """20,000 rows near one centre are 200 million pairs; what is kept of them is a link a row."""
    x = PlantedVectors(n=20_000, seed=3, grouped_share=1, law="equal", largest=20, cosines=(0.99, 0.999)).rows()
    centre = x[:1].astype(np.float32)
    x = (centre + 0.1 * np.linalg.norm(centre) * x.astype(np.float32)).astype(np.float16)
    found = threshold_join(x, threshold=THRESHOLD)
    assert found.num_neighbors.mean() > 19_000
    assert len(found.left) == len(x) - 1
