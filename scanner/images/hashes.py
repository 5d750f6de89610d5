"""What is told of an image without a model: a perceptual hash, and whether it shows anything at all."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

BLANK_RANGE = 8
"""An image is blank if no channel spans more than this many of 255 levels.

A rendering that came out empty spans 0, and so does its JPEG; the slack is for noise and for re-encoding over a flat
ground. The faintest drawings of the Open Clip Art Library (thin light grey lines) span 18 and more.
"""

_SIDE = 32
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 3) pixels to (32, 32, 3): each value is a mean of its surroundings, weighted by a triangle.

    Of tall images evenly spaced rows are read, at least 128: enough for frequencies of 8 cycles an image.
    """
    import torch
    from torch.nn import functional

    step = max(1, len(pixels) // (4 * _SIDE))
    tensor = torch.from_numpy(pixels[step // 2 :: step])[None].permute(0, 3, 1, 2)
    small = functional.interpolate(tensor, size=(_SIDE, _SIDE), mode="bilinear", antialias=True)
    result: NDArray[np.uint8] = small[0].permute(1, 2, 0).numpy()
    return result


def perceptual_hash(small: NDArray[np.uint8]) -> int:
    """64-bit DCT hash of a (32, 32, 3) ``thumbnail``; compare two by the number of bits that differ.

    The 32 x 32 luma is cosine-transformed; of the coefficients with both frequencies in 1..8 (so without the mean), in
    rows, the first being the highest bit, a bit is set where the coefficient is above their median. Zauner 2010,
    "Implementation and benchmarking of perceptual image hash functions", section 3.2.1; ``ph_dct_imagehash`` of
    phash.org, which smooths with a 7 x 7 mean where we resize with antialiasing. The bits are not those of other
    libraries.
    """
    basis = _dct_rows()
    luma = small.reshape(-1, 3).dot(_LUMA).reshape(_SIDE, _SIDE)
    coefficients = basis @ luma @ basis.T
    # Symmetric and blank images have coefficients that are zero but for rounding, whose signs would be noise.
    coefficients = np.round(coefficients, 3).ravel()
    lower, upper = np.partition(coefficients, (31, 32))[31:33]
    bits = coefficients > (lower + upper) / 2  # the median, without np.median's overhead
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def is_blank(pixels: NDArray[np.uint8], small: NDArray[np.uint8]) -> bool:
    """Whether an image (h, w, 3), composited on white, is one flat colour: no channel spans more than ``BLANK_RANGE``.

    Every pixel counts, so a hairline on a large page is not blank. ``small``, its ``thumbnail``, settles nearly all images
    without looking at the pixels again: means span no more than what they are means of.
    """
    # One level more for the rounding of the means.
    return _spans_at_most(small, BLANK_RANGE + 1) and _spans_at_most(pixels, BLANK_RANGE)


def _spans_at_most(pixels: NDArray[np.uint8], limit: int) -> bool:
    """Whether no two pixels differ by more than ``limit`` in any channel."""
    flat = pixels.reshape(-1)  # channel by channel: numpy is slow over the two first axes of (h, w, 3)
    return all(int(flat[c::3].max()) - int(flat[c::3].min()) <= limit for c in range(3))


@functools.cache
def _dct_rows() -> NDArray[np.float64]:
    """Rows 1..8 of the orthonormal DCT-II of 32 points, (8, 32)."""
    k, n = np.arange(1, 9)[:, None], np.arange(_SIDE)[None]
    rows: NDArray[np.float64] = np.sqrt(2 / _SIDE) * np.cos(np.pi * (2 * n + 1) * k / (2 * _SIDE))
    return rows
