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
    """(h, w, 3) pixels to (32, 32, 3), antialiased with a triangle filter: each value is a weighted mean of its surroundings."""
    import torch
    import torch.nn.functional as F

    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    small = F.interpolate(tensor, size=(_SIDE, _SIDE), mode="bilinear", antialias=True)
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
    coefficients = basis @ (small @ _LUMA) @ basis.T
    # Symmetric and blank images have coefficients that are zero but for rounding, whose signs would be noise.
    coefficients = np.round(coefficients, 3).ravel()
    bits = coefficients > np.median(coefficients)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def is_blank(pixels: NDArray[np.uint8], small: NDArray[np.uint8]) -> bool:
    """Whether an image (h, w, 3), composited on white, is one flat colour: no channel spans more than ``BLANK_RANGE``.

    Every pixel counts, so a hairline on a large page is not blank. ``small``, its ``thumbnail``, settles nearly all images
    without looking at the pixels again: means span no more than what they are means of.
    """
    if _range(small) > BLANK_RANGE + 1:  # one level for the rounding of the means
        return False
    return _range(pixels) <= BLANK_RANGE


def _range(pixels: NDArray[np.uint8]) -> int:
    """Largest difference between two pixels in the same channel."""
    # Along the last axis of a plane numpy's minimum is vectorised; over (h, w) of (h, w, 3) it is fifty times slower.
    flat = pixels.reshape(-1)
    return max(int(flat[c::3].max()) - int(flat[c::3].min()) for c in range(3))


@functools.cache
def _dct_rows() -> NDArray[np.float64]:
    """Rows 1..8 of the orthonormal DCT-II of 32 points, (8, 32)."""
    k, n = np.arange(1, 9)[:, None], np.arange(_SIDE)[None]
    return np.sqrt(2 / _SIDE) * np.cos(np.pi * (2 * n + 1) * k / (2 * _SIDE))
