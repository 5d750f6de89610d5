"""Rows with planted groups of near copies, and the pairs that a full product in float64 finds."""

from __future__ import annotations

import numpy as np

from scanner.search.join import ThresholdJoin

TIE = 1e-6


def join_pairs(x, threshold, **options):
    """Blocks of every pair within ``x``."""
    return ThresholdJoin(x=x, threshold=threshold).blocks(**options)


def planted(n, d, seed=0):
    """Unit rows, a quarter of them in groups of copies with cosine 0.9 to 1 to a centre; shuffled."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    start = 0
    while start < n // 4:
        size = min(int(rng.zipf(1.7)) + 1, n // 8)
        noise = rng.uniform(0, 0.4, size=(size, 1)) * rng.standard_normal((size, d))
        x[start : start + size] = x[start] + noise[: len(x[start : start + size])]
        start += size
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return rng.permutation(x).astype(np.float32)


def collect(blocks):
    """{(left, right): similarity}; fails when a pair comes twice, in the wrong order, or a block is empty."""
    pairs = {}
    for block in blocks:
        assert len(block) > 0
        assert block.left.dtype == block.right.dtype == np.int64
        assert block.similarity.dtype == np.float32
        assert (block.left < block.right).all()
        for left, right, similarity in zip(block.left.tolist(), block.right.tolist(), block.similarity.tolist(), strict=True):
            assert (left, right) not in pairs
            pairs[left, right] = similarity
    return pairs


def check_against_oracle(x, threshold, found):
    exact = np.asarray(x, dtype=np.float64)
    norms = np.linalg.norm(exact, axis=1, keepdims=True)
    exact = np.divide(exact, norms, out=np.zeros_like(exact), where=norms > 0)
    similarity = exact @ exact.T
    may = {(i, j) for i, j in np.argwhere(similarity >= threshold - TIE).tolist() if i < j}
    must = {pair for pair in may if similarity[pair] >= threshold + TIE}
    assert must <= found.keys() <= may
    assert all(abs(similarity[pair] - value) < TIE for pair, value in found.items())
    return must
