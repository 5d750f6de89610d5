"""``pixels`` computes what its text says."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.models.loading import encoder_identity, load_encoder
from scanner.models.pixels import CHROMA, CHROMA_BLOCK, SIDE, TAU, VERSION, PixelsEncoder


def _noise(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, SIDE, SIDE, 3)).astype(np.uint8)


def _oracle(pixels):
    x = pixels.astype(np.float64) / 255
    y = x @ [0.299, 0.587, 0.114]
    planes = [y]
    for channel in (2, 0):
        difference = x[..., channel] - y
        size = SIDE // CHROMA_BLOCK
        coarse = np.array(
            [
                [[difference[n, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean() for j in range(size)] for i in range(size)]
                for n in range(len(x))
            ]
        )
        planes.append(CHROMA * (coarse - coarse.mean(axis=(1, 2), keepdims=True)))
    planes[0] = y - y.mean(axis=(1, 2), keepdims=True)
    v = np.concatenate([plane.reshape(len(x), -1) for plane in planes], axis=1) + TAU
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def test_equals_the_formula():
    pixels = np.concatenate([_noise(5), np.full((1, SIDE, SIDE, 3), 7, np.uint8)])
    vectors = PixelsEncoder().encode(pixels)
    assert vectors.dtype == np.float32
    assert vectors.shape == (6, PixelsEncoder.dim)
    np.testing.assert_allclose(vectors, _oracle(pixels), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_images_of_one_colour_are_one_vector_to_the_bit():
    colours = np.array([[0, 0, 0], [255, 255, 255], [3, 77, 201], [254, 1, 85]], np.uint8)
    vectors = PixelsEncoder().encode(np.broadcast_to(colours[:, None, None], (4, SIDE, SIDE, 3)))
    assert (vectors == vectors[0]).all()
    np.testing.assert_allclose(vectors[0], 1 / np.sqrt(PixelsEncoder.dim), rtol=1e-6)


def test_rounding_noise_of_a_blank_image_does_not_become_a_picture():
    rng = np.random.default_rng(1)
    blanks = (200 + rng.integers(0, 2, (20, SIDE, SIDE, 3))).astype(np.uint8)
    vectors = PixelsEncoder().encode(blanks)
    assert (vectors @ vectors.T).min() > 0.98


def test_constant_term_leaves_ordinary_pictures_alone():
    pixels = _noise(20)
    with_term, without = PixelsEncoder().encode(pixels), _oracle(pixels)
    without = without - without.mean(axis=1, keepdims=True)
    without /= np.linalg.norm(without, axis=1, keepdims=True)
    assert np.abs(with_term @ with_term.T - without @ without.T).max() < 0.012


@pytest.mark.parametrize("offset", [(-20, -20, -20), (20, 0, -10)])
def test_exposure_and_white_balance_do_not_matter(offset):
    pixels = np.clip(_noise(4), 30, 220)
    shifted = (pixels.astype(int) + offset).astype(np.uint8)
    encoder = PixelsEncoder()
    np.testing.assert_allclose(encoder.encode(shifted), encoder.encode(pixels), atol=1e-6)


def test_unlike_images_are_unlike_and_order_of_channels_matters():
    pixels = _noise(8)
    encoder = PixelsEncoder()
    vectors = encoder.encode(pixels)
    assert (vectors @ vectors.T - np.eye(8)).max() < 0.2
    assert (vectors * encoder.encode(np.ascontiguousarray(pixels[..., ::-1]))).sum(axis=1).max() < 0.9


def test_a_row_depends_on_its_image_alone():
    pixels = _noise(64)
    encoder = PixelsEncoder()
    whole = encoder.encode(pixels)
    assert (encoder.encode(pixels) == whole).all()
    assert (np.concatenate([encoder.encode(pixels[i : i + 7]) for i in range(0, 64, 7)]) == whole).all()
    assert encoder.encode(pixels[:0]).shape == (0, encoder.dim)


def test_is_an_encoder_by_name():
    encoder = load_encoder("pixels")
    assert encoder.name == "pixels"
    assert encoder.preprocess.size == (SIDE, SIDE)
    assert encoder.preprocess.resize_mode == "squash"
    assert len(encoder.weights_digest) == 64
    assert encoder_identity("pixels") == VERSION
