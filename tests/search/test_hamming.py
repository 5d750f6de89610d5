from __future__ import annotations

import numpy as np
import pytest

from scanner.search import hamming
from scanner.search.hamming import hamming_blocks


def hashes(n: int, words: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, size=(n, words), dtype=np.uint64)


def flipped(x: np.ndarray, bits: list[int]) -> np.ndarray:
    """Row i with bits[i] of its bits changed, drawn at random over all words."""
    rng, out = np.random.default_rng(9), x.copy()
    for i, number in enumerate(bits):
        for bit in rng.choice(64 * x.shape[1], size=number, replace=False).tolist():
            out[i, bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
    return out


def found(x, y, max_distance, **options):
    pairs = {}
    for block in hamming_blocks(x, y, max_distance, **options):
        for left, right, distance in zip(block.left.tolist(), block.right.tolist(), block.distance.tolist(), strict=True):
            assert (left, right) not in pairs, "each pair once"
            pairs[left, right] = distance
    return pairs


def brute(x, y, max_distance):
    distance = np.bitwise_count(x[:, None] ^ y[None]).sum(axis=2, dtype=np.int64)
    return {
        (i, j): int(distance[i, j]) for i, j in zip(*map(np.ndarray.tolist, np.nonzero(distance <= max_distance)), strict=True)
    }


@pytest.mark.parametrize(("words", "max_distance"), [(1, 8), (1, 24), (4, 31), (4, 110), (4, 0)])
def test_all_pairs_and_no_others(words, max_distance, monkeypatch):
    monkeypatch.setattr(hamming, "TASK_PAIRS", 700)
    monkeypatch.setattr(hamming, "BLOCK_PAIRS", 130)
    x, y = hashes(90, words, 1), hashes(70, words, 2)
    y[:40] = flipped(x[20:60], [*range(max(0, max_distance - 20), max_distance + 20)])
    expected = brute(x, y, max_distance)
    assert found(x, y, max_distance) == expected == found(x, y, max_distance, threads=1)
    assert len(expected) > (0 if max_distance == 0 else 5)


def test_the_line_is_drawn_at_the_distance():
    x = hashes(1, 4, 3)
    assert found(x, flipped(x, [31]), 31) == {(0, 0): 31}
    assert found(x, flipped(x, [32]), 31) == {}


def test_every_comparison_is_told_once():
    told = []
    list(hamming_blocks(hashes(33, 1, 1), hashes(7, 1, 2), 5, on_tile=told.append))
    assert sum(told) == 33 * 7


@pytest.mark.parametrize(("n", "m"), [(0, 3), (3, 0), (0, 0)])
def test_empty_sets_have_no_pairs(n, m):
    assert found(hashes(n, 4, 1), hashes(m, 4, 2), 256) == {}
