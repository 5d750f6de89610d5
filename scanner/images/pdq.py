"""PDQ: a perceptual hash of 256 bits that lists of known images are exchanged in, made of pixels by numpy alone.

"The TMK+PDQF video-hashing algorithm and the PDQ image-hashing algorithm" (Facebook 2019), the part on PDQ: luminance; a tent
filter as two passes of a box along each axis (Jarosz 2001, "Fast image convolutions"); the middle of every 64th of the sides; the
cosine transform of these 64 x 64, frequencies 1 to 16 of each axis; a bit is set where one exceeds their median.

All of that before the median is linear, and the axes are separate. So it is computed as two products of matrices with the 64
rows of the filter that are wanted, at the cost of 64 multiplications a pixel, whatever the width of the filter.

Its authors call an implementation correct that gives the reference's bits on the reference's pixels, and stays within 10 bits
where decoders and scaling differ. We read images flattened on white, as everywhere here, and do not shrink them first.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIDE, FREQUENCIES = 64, 16
BITS = FREQUENCIES**2
MIN_SIDE = 5
"""Pixels of a side below which there is no hash: all bits are 0, of quality 0."""
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_QUALITY_SCALE = 90
_STRIP_ROWS = 256
"""Rows of pixels that are widened to float32 at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pdq:
    """A hash of 32 bytes, the highest bit first, so its hex digits are those that lists hold; and its quality from 0 to 100,
    low where there is little to be told by: 49 and less is discarded by its authors."""

    hash: bytes
    quality: int


def pdq(pixels: NDArray[np.uint8]) -> Pdq:
    """The PDQ hash of an image (h, w, 3)."""
    height, width, _ = pixels.shape
    if min(height, width) < MIN_SIDE:
        return Pdq(hash=bytes(BITS // 8), quality=0)
    rows, columns = _filter_rows(height), _filter_rows(width)
    squashed = np.zeros((SIDE, width), np.float32)
    for start in range(0, height, _STRIP_ROWS):
        strip = pixels[start : start + _STRIP_ROWS].astype(np.float32) @ _LUMA
        squashed += rows[:, start : start + _STRIP_ROWS] @ strip
    small = squashed @ columns.T
    basis = _dct_rows()
    coefficients = basis @ small.astype(np.float64) @ basis.T
    # The lower of the two in the middle, as the reference takes it.
    median = np.partition(coefficients.ravel(), BITS // 2 - 1)[BITS // 2 - 1]
    # Bit i * 16 + j is of the frequencies i down and j across; the hash is written from the highest bit on.
    bits = (coefficients > median).ravel()[::-1]
    return Pdq(hash=np.packbits(bits).tobytes(), quality=_quality(small))


def _quality(small: NDArray[np.float32]) -> int:
    """Sum of the steps between neighbours, in whole hundredths of the range so that only marked ones count."""
    total = 0
    for axis in (0, 1):
        total += int(np.abs(np.trunc(np.diff(small, axis=axis) * np.float32(100) / np.float32(255))).sum())
    return min(100, total // _QUALITY_SCALE)


@functools.lru_cache(maxsize=256)
def _filter_rows(n: int) -> NDArray[np.float32]:
    """(64, n): what each of the 64 wanted pixels of an axis is made of.

    A box is of half a 64th of the side, rounded up, cut at the edges; of an even one the longer half lies after the pixel.
    """
    window = -(-n // (2 * SIDE))
    after = (window + 2) // 2
    place = np.arange(n)
    start, stop = np.maximum(place + after - window, 0), np.minimum(place + after, n)
    wanted = ((np.arange(SIDE) + 0.5) * n / SIDE).astype(np.int64)
    # The second box over the first: each pixel of its window stands for a window of its own.
    row = np.repeat(np.arange(SIDE), (stop - start)[wanted])
    first = np.repeat(np.cumsum((stop - start)[wanted]) - (stop - start)[wanted], (stop - start)[wanted])
    inner = start[wanted][row] + np.arange(len(row)) - first
    weight = 1 / ((stop - start)[wanted][row] * (stop - start)[inner])
    steps = np.zeros((SIDE, n + 1))
    np.add.at(steps, (row, start[inner]), weight)
    np.add.at(steps, (row, stop[inner]), -weight)
    return np.cumsum(steps, axis=1)[:, :-1].astype(np.float32)


@functools.cache
def _dct_rows() -> NDArray[np.float64]:
    """Rows 1..16 of the orthonormal DCT-II of 64 points, (16, 64)."""
    k, n = np.arange(1, FREQUENCIES + 1)[:, None], np.arange(SIDE)[None]
    rows: NDArray[np.float64] = np.sqrt(2 / SIDE) * np.cos(np.pi * (2 * n + 1) * k / (2 * SIDE))
    return rows
