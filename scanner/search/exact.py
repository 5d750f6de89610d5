"""Cosines that do not depend on how they were found, so that one scan and two scans of the same images write the same tables.

A search multiplies in fp32, where the last digits depend on the shape of a tile and on the machine. Here every pair that it
found is computed again in float64. Embeddings are float16 of norm about 1: their numbers are multiples of 2^-24, products of two
multiples of 2^-48, and a sum of those below 2 needs 49 bits. float64 has 53, so an inner product is exact in any order of
summation, by any routine; what is left is one square root and one division.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from scanner.search.threshold import PairBlock

MARGIN = 1e-5
"""By so much a search goes below the threshold asked for: fp32 is off by about 1e-7, and by 1e-6 at a few thousand numbers."""
CHUNK_VALUES = 1 << 23
"""Numbers of one side that are widened at once, at most: 64 MiB. A chunk has as many pairs as rows of that."""
DENSE = 24
"""Up to so many entries of a product a pair, all rows concerned are multiplied, else pair by pair; assumed, as in the join."""
GATHER_PAIRS = 4096
"""Pairs whose rows are fetched at once: 32 MiB at d = 512."""
BLOCK_VALUES = 1 << 22
"""Numbers of one side of given pairs that are widened at once: 32 MiB."""


def searched_threshold(threshold: float) -> float:
    """Where a search must start so that it finds every pair whose exact cosine reaches ``threshold``; above 0."""
    return max(threshold - MARGIN, threshold / 2)


def exact_blocks(
    blocks: Iterable[PairBlock], x: NDArray[np.float16], y: NDArray[np.float16], threshold: float
) -> Iterator[PairBlock]:
    """The pairs of ``blocks`` (left a row of ``x``, right one of ``y``) with exact cosines, those at or above ``threshold``."""
    cut = np.float32(threshold)
    step = max(1, CHUNK_VALUES // max(1, x.shape[1]))
    for block in blocks:
        for start in range(0, len(block), step):
            left, right = block.left[start : start + step], block.right[start : start + step]
            similarity = pair_similarities(x, y, left, right)
            near = similarity >= cut
            if near.any():
                yield PairBlock(left=left[near], right=right[near], similarity=similarity[near])


def pair_similarities(
    x: NDArray[np.float16], y: NDArray[np.float16], left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Cosine of rows ``left`` of ``x`` (n, d) with rows ``right`` of ``y`` (m, d): float32, at most 1; 0 for a row of zeros."""
    if x is y:
        # Which of two rows of one set stands left is an accident; the pairs of a large group lie dense only once their
        # commoner rows stand on one side.
        nodes, node = np.unique(np.concatenate([left, right]), return_inverse=True)
        degree = np.bincount(node, minlength=len(nodes))
        a, b = node[: len(left)], node[len(left) :]
        turned = degree[b] > degree[a]
        left, right = np.where(turned, right, left), np.where(turned, left, right)
    rows, i = np.unique(left, return_inverse=True)
    columns, j = np.unique(right, return_inverse=True)
    p, q = _float64(x, rows), _float64(y, columns)
    norms = (p * p).sum(axis=1)[i] * (q * q).sum(axis=1)[j]
    products = np.empty(len(left))
    if len(rows) * len(columns) <= DENSE * len(left):
        products[:] = (p @ q.T)[i, j]
    else:
        for start in range(0, len(left), GATHER_PAIRS):
            block = slice(start, start + GATHER_PAIRS)
            np.einsum("nd,nd->n", p[i[block]], q[j[block]], out=products[block])
    return cosines(products, norms)


def row_similarities(x: NDArray[np.float16], left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float32]:
    """Cosine of rows ``left`` with rows ``right`` of ``x`` (n, d): float32, as long as they are, at most 1.

    Summed in float64, so that equal rows come out as 1 and not as 0.9999.
    """
    out = np.zeros(len(left), dtype=np.float32)
    step = max(1, BLOCK_VALUES // x.shape[1])
    for start in range(0, len(left), step):
        block = slice(start, start + step)
        a, b = x[left[block]].astype(np.float64), x[right[block]].astype(np.float64)
        lengths = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
        np.divide((a * b).sum(axis=1), lengths, out=out[block], where=lengths > 0, casting="same_kind")
    return np.minimum(out, np.float32(1.0))


def cosines(products: NDArray[np.float64], norms: NDArray[np.float64]) -> NDArray[np.float32]:
    """float32 cosines, at most 1, of inner products and products of squared norms; 0 where a norm is 0."""
    out = np.zeros(products.shape, dtype=np.float32)
    np.divide(products, np.sqrt(norms), out=out, where=norms > 0, casting="same_kind")
    return np.minimum(out, np.float32(1.0))


def _float64(x: NDArray[np.float16], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    wide: NDArray[np.float64] = x[rows].astype(np.float64)
    return wide
