"""How far images are from one another, pixel by pixel: l2, tiled l2 and the adaptive ratio of Carlini et al. 2023.

"Extracting Training Data from Diffusion Models" (USENIX Security 2023, arXiv 2301.13188). Images are arrays (..., h, w, c) of
floats in [0, 1], as ``unit`` makes them of bytes; distances are root mean squares, so they lie in [0, 1] whatever the size.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

TILES = 4
"""Tiles along each side: Carlini et al. cut 512 x 512 pixels into 16 tiles of 128 x 128 (section 4.2)."""
ALPHA = 0.5
NUM_NEIGHBORS = 50
"""Of the adaptive ratio, as Carlini et al. take them on CIFAR-10 (section 5.1)."""
BLOCK_ROWS = 256

Floats = NDArray[np.float32]


def unit(pixels: NDArray[np.uint8]) -> Floats:
    """Bytes (..., h, w, c) as float32 in [0, 1]."""
    assert pixels.dtype == np.uint8, pixels.dtype
    return pixels.astype(np.float32) / np.float32(255)


def l2(a: Floats, b: Floats) -> Floats:
    """Root mean square difference of (..., h, w, c) images, pair by pair; leading axes broadcast.

    Carlini et al. 2023, section 4.1: ``l2(a, b) = sqrt(sum_i (a_i - b_i)^2 / d)``.
    """
    squares: NDArray[np.float64] = np.square(a - b, dtype=np.float64).mean(axis=(-3, -2, -1))
    return np.sqrt(squares).astype(np.float32)


def tiled_l2(a: Floats, b: Floats, *, tiles: int = TILES) -> Floats:
    """The largest l2 among ``tiles`` x ``tiles`` non-overlapping tiles, pair by pair; leading axes broadcast.

    Carlini et al. 2023, section 4.2: images that share a flat ground but differ in what stands on it are close in l2 and far
    in this. Where a side does not divide, tiles differ by one pixel.
    """
    squares: NDArray[np.float64] = np.square(a - b, dtype=np.float64).mean(axis=-1)
    height, width = squares.shape[-2:]
    sums = np.add.reduceat(np.add.reduceat(squares, _starts(height, tiles), axis=-2), _starts(width, tiles), axis=-1)
    areas = np.diff([*_starts(height, tiles), height])[:, None] * np.diff([*_starts(width, tiles), width])[None]
    largest: NDArray[np.float64] = (sums / areas).max(axis=(-2, -1))
    return np.sqrt(largest).astype(np.float32)


def l2_blocks(a: Floats, b: Floats, *, block_rows: int = BLOCK_ROWS) -> Iterator[tuple[int, Floats]]:
    """All l2 of ``a`` (n, h, w, c) against ``b`` (m, h, w, c): (first row, distances (rows, m)), ``block_rows`` rows at a time.

    By ``||a||^2 + ||b||^2 - 2ab``; equal images come out as 0, all others within 1e-4 of ``l2``.
    """
    mean_squares = _MeanSquares(b.reshape(len(b), -1))
    for start in range(0, len(a), block_rows):
        block = a[start : start + block_rows]
        yield start, np.sqrt(mean_squares.to(block.reshape(len(block), -1)))


def all_l2(a: Floats, b: Floats, *, block_rows: int = BLOCK_ROWS) -> Floats:
    """All l2 of ``a`` (n, h, w, c) against ``b`` (m, h, w, c), float32 (n, m); as exact as ``l2_blocks``."""
    distances = np.empty((len(a), len(b)), np.float32)
    for start, rows in l2_blocks(a, b, block_rows=block_rows):
        distances[start : start + len(rows)] = rows
    return distances


def all_tiled_l2(a: Floats, b: Floats, *, tiles: int = TILES, block_rows: int = BLOCK_ROWS) -> Floats:
    """All tiled l2 of ``a`` (n, h, w, c) against ``b`` (m, h, w, c), float32 (n, m): one product of matrices a tile."""
    largest = np.zeros((len(a), len(b)), np.float32)
    for rows in _slices(a.shape[1], tiles):
        for columns in _slices(a.shape[2], tiles):
            mean_squares = _MeanSquares(b[:, rows, columns].reshape(len(b), -1))
            for start in range(0, len(a), block_rows):
                block = largest[start : start + block_rows]
                tile = a[start : start + block_rows, rows, columns].reshape(len(block), -1)
                np.maximum(block, mean_squares.to(tile), out=block)
    return np.sqrt(largest)


def adaptive_ratio(distances: Floats, *, n: int = NUM_NEIGHBORS, alpha: float = ALPHA) -> tuple[Floats, NDArray[np.int64]]:
    """How much closer than its surroundings the nearest image is; below 1 is memorized by the rule of Carlini et al.

    Section 5.1: ``l2(x^, x) / (alpha * mean over y in S of l2(x^, y))``, S being the ``n`` images next after the nearest. Plain
    and blurred images are close to everything, which this takes out.

    S must hold no copy of x, or the ratio tends to 1 / alpha for what was memorized best. So columns are distinct pictures: of
    copies and near copies, the smallest distance stands for all.

    Args:
        distances: (g, p) of g generations to p distinct pictures.
        n: pictures in S; where there are fewer, all others.
        alpha: 0.5 in the paper; with 1 the ratio is the plain quotient.

    Returns:
        ratio (g,), infinite where S is empty, and the position of the nearest picture (g,), the first of equals.
    """
    assert distances.ndim == 2, distances.shape
    assert distances.shape[1] > 0, "no pictures to compare with"
    nearest = distances.argmin(axis=1)
    n = min(n, distances.shape[1] - 1)
    if not n:
        return np.full(len(distances), np.inf, np.float32), nearest
    rows = np.arange(len(distances))
    others = distances.astype(np.float64)
    first = others[rows, nearest]
    others[rows, nearest] = np.inf
    around = np.partition(others, n - 1, axis=1)[:, :n].mean(axis=1)
    # Where all are at distance 0 nothing stands out: 0 / 0 counts as 1, before alpha.
    quotient = np.divide(first, around, out=np.ones_like(first), where=around > 0)
    return (quotient / alpha).astype(np.float32), nearest


def nearest_of(distances: Floats, picture: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """Distances (g, m) to m images as distances to the pictures that they are copies of: the smallest of each picture's.

    Args:
        picture: (m,) which picture each image shows; any integers.

    Returns:
        float32 (g, p), and the p pictures, ascending.
    """
    order = np.argsort(picture, kind="stable")
    pictures, starts = np.unique(picture[order], return_index=True)
    return np.minimum.reduceat(distances[:, order], starts, axis=1), pictures


class _MeanSquares:
    """Mean squared differences to each row of ``b`` (m, d).

    Norms and the final subtraction are in float64: what cancels is then only the rounding of the product, which is centred to
    keep it small. Pairs that come out closer than the rounding allows to tell are computed directly.
    """

    def __init__(self, b: Floats) -> None:
        self._b = b
        self._centre = b.mean(axis=0, dtype=np.float64).astype(np.float32) if len(b) else np.zeros(b.shape[1], np.float32)
        self._right = b - self._centre
        self._norms = np.einsum("nd,nd->n", self._right, self._right, dtype=np.float64)

    def to(self, a: Floats) -> Floats:
        """float32 (n, m), from each row of ``a`` (n, d)."""
        left = a - self._centre
        norms = np.einsum("nd,nd->n", left, left, dtype=np.float64)[:, None] + self._norms[None]
        squares: NDArray[np.float64] = norms - 2.0 * (left @ self._right.T)
        # The product of float32 vectors errs by about 1e-6 of the norms: below 1e-4 of them it says too little.
        unsure = squares < 1e-4 * norms
        for row in np.flatnonzero(unsure.any(axis=1)):
            columns = np.flatnonzero(unsure[row])
            squares[row, columns] = np.square(self._b[columns] - a[row], dtype=np.float64).sum(axis=1)
        means: Floats = (squares / a.shape[1]).astype(np.float32)
        return means


def _starts(size: int, tiles: int) -> list[int]:
    assert 1 <= tiles <= size, (tiles, size)
    return [size * i // tiles for i in range(tiles)]


def _slices(size: int, tiles: int) -> list[slice]:
    edges = [*_starts(size, tiles), size]
    return [slice(low, high) for low, high in pairwise(edges)]
