"""``pixels``: a thumbnail as a vector. No learning, no weights: for tests, and the floor that other encoders must beat.

With x the RGB thumbnail of 32 x 32, scaled to [0, 1] and read as a vector of d = 3072 numbers, and m the mean of each of its
channels, the descriptor is

    v = (x - m) + TAU * 1,    then v / |v|.

The mean is removed per channel: two thumbnails of nearly any pictures have a cosine above 0.9 as long as they share their
brightness, and a change of exposure or white balance (an offset per channel) then costs nothing. It also makes images of one
colour, whatever the colour, the zero vector. One mean for all channels was tried: at equal numbers of pairs on clip art it lost
copies with a tint (30 of 30 that only the mean per channel found) for different faces drawn alike.

A zero vector has no direction, and the noise of a nearly constant image must not become one. So a constant is added along the
all-ones direction, which is orthogonal to every x - m: all images of one colour land on the same unit vector, and the less
contrast an image has, the closer it lies to it. For two images with root mean square contrasts s and t and correlation r the
similarity is

    (s t r + TAU^2) / sqrt((s^2 + TAU^2) (t^2 + TAU^2)).

TAU = 0.02, five grey levels: a picture of ordinary contrast (s = 0.2) keeps its cosines within 0.01, and the rounding noise of
a blank image (s = 0.002, half a grey level) leaves it within 0.995 of the blank vector.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from scanner.core.preprocess import Preprocess

VERSION = "pixels/1"
SIDE = 32
TAU = 0.02


class PixelsEncoder:
    """See the module's text. Deterministic to the bit: each row is computed from its own image alone."""

    name = "pixels"
    dim = SIDE * SIDE * 3
    weights_digest = hashlib.sha256(VERSION.encode()).hexdigest()
    preprocess = Preprocess(size=(SIDE, SIDE), resize_mode="squash", interpolation="bicubic")

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``encoders.Encoder.encode``; the order of the numbers is row, column, channel."""
        assert pixels.dtype == np.uint8, pixels.dtype
        assert pixels.shape[1:] == (SIDE, SIDE, 3), pixels.shape
        # In whole numbers the sum is exact, so an image of one colour gives exact zeros and not the rounding of its mean.
        num_pixels = SIDE * SIDE
        integers = pixels.astype(np.int32)
        centred = integers * num_pixels - integers.sum(axis=(1, 2), keepdims=True)
        vectors = centred.reshape(len(pixels), self.dim).astype(np.float32) / np.float32(num_pixels * 255) + np.float32(TAU)
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit
