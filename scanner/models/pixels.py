"""``pixels``: a thumbnail as a vector. No learning, no weights: for tests, and the floor that other encoders must beat.

A picture is brought to 64 x 64, whatever its aspect. With R, G, B in [0, 1] its luma is Y = .299 R + .587 G + .114 B (ITU-R
BT.601) and its colour differences are B - Y and R - Y; luma is kept at 64 x 64, where the drawing is, colour at 16 x 16, as
means of 4 x 4 pixels. With m the mean of each of the three planes, the descriptor of d = 4096 + 2 * 256 = 4608 numbers is

    v = [Y - m_Y, CHROMA (B - Y - m_B), CHROMA (R - Y - m_R)] + TAU * 1,    then v / |v|.

CHROMA = 2.8: a plane of 256 numbers then weighs half as much as one of 4096 of the same contrast. More finds more planted copies
at the same rate of false pairs, but lets colour outvote the drawing: faces of one colour with other mouths become neighbours.

The means are removed: two thumbnails of nearly any pictures have a cosine above 0.9 as long as they share their brightness,
and a change of exposure or white balance (an offset per channel) then costs nothing. It also makes images of one colour,
whatever the colour, the zero vector.

A zero vector has no direction, and the noise of a nearly constant image must not become one. So a constant is added along the
all-ones direction, which is orthogonal to every centred plane: all images of one colour land on the same unit vector, and the
less contrast an image has, the closer it lies to it. For two images whose centred vectors have root mean squares s and t and
correlation r the similarity is

    (s t r + TAU^2) / sqrt((s^2 + TAU^2) (t^2 + TAU^2)).

TAU = 0.02, five grey levels: a picture of ordinary contrast (s = 0.2) keeps its cosines within 0.01, and the rounding noise of
a blank image (s = 0.002, half a grey level) leaves it within 0.995 of the blank vector.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from scanner.core.preprocess import Preprocess

VERSION = "pixels/2"
SIDE = 64
CHROMA_BLOCK = 4
CHROMA = 2.8
TAU = 0.02

# Thousandths, so that all sums are whole numbers: exact, and exactly zero for an image of one colour.
LUMA = np.array([299, 587, 114], dtype=np.int64)


class PixelsEncoder:
    """See the module's text. Deterministic to the bit: each row is computed from its own image alone."""

    name = "pixels"
    device = "cpu"
    precision = "fp32"
    dim = SIDE * SIDE + 2 * (SIDE // CHROMA_BLOCK) ** 2
    weights_digest = hashlib.sha256(VERSION.encode()).hexdigest()
    preprocess = Preprocess(size=(SIDE, SIDE), resize_mode="squash", interpolation="bicubic")

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``encoders.Encoder.encode``; the order of the numbers is luma, B - Y, R - Y, each by row and column."""
        assert pixels.dtype == np.uint8, pixels.dtype
        assert pixels.shape[1:] == (SIDE, SIDE, 3), pixels.shape
        integers = pixels.astype(np.int64)
        luma = integers @ LUMA
        planes = [_centred(luma)]
        for channel in (2, 0):
            difference = 1000 * integers[..., channel] - luma
            planes.append(CHROMA * _centred(_block_sums(difference)) / CHROMA_BLOCK**2)
        vectors = (np.concatenate(planes, axis=1) / 255_000 + TAU).astype(np.float32)
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


def _centred(plane: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, h, w) whole numbers without their mean: (n, h * w)."""
    num_values = plane.shape[1] * plane.shape[2]
    flat = plane.reshape(len(plane), num_values)
    centred: NDArray[np.float64] = (flat * num_values - flat.sum(axis=1, keepdims=True)) / num_values
    return centred


def _block_sums(plane: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, h, w) to the sums of its blocks."""
    n, height, width = plane.shape
    sums: NDArray[np.int64] = plane.reshape(n, height // CHROMA_BLOCK, CHROMA_BLOCK, width // CHROMA_BLOCK, CHROMA_BLOCK).sum(
        axis=(2, 4)
    )
    return sums
