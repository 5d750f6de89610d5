"""Each alteration stays within its bounds, repeats, and leaves its argument alone."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from scanner.lab import copies
from scanner.lab.scenes import SCENES

SIZES = [(96, 96), (320, 180), (131, 257)]


def picture(size):
    return SCENES["landscape"](np.random.default_rng(5), size).image


def draws(kind, size, n=40):
    image = picture(size)
    return image, [copies.ALTERATIONS[kind](image, np.random.default_rng([9, i])) for i in range(n)]


@pytest.mark.parametrize("kind", copies.ALTERATIONS)
def test_an_alteration_is_a_pure_function_of_image_and_rng(kind):
    image = picture((140, 110))
    before = image.tobytes()
    first, again, other = (copies.ALTERATIONS[kind](image, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert image.tobytes() == before
    assert first.mode == "RGB"
    assert (first.size, first.tobytes()) == (again.size, again.tobytes())
    assert (first.size, first.tobytes()) not in [(other.size, other.tobytes()), (image.size, before)]


@pytest.mark.parametrize("size", SIZES)
def test_a_crop_takes_at_most_ten_percent_of_a_side(size):
    image, cropped = draws("crop", size)
    for copy in cropped:
        for kept, side in zip(copy.size, image.size, strict=True):
            assert 0.9 * side <= kept < side
    pixels, part = np.asarray(image), np.asarray(cropped[0])
    places = [
        (y, x)
        for y in range(pixels.shape[0] - part.shape[0] + 1)
        for x in range(pixels.shape[1] - part.shape[1] + 1)
        if (pixels[y : y + part.shape[0], x : x + part.shape[1]] == part).all()
    ]
    assert places, "a crop is a window of its source"


@pytest.mark.parametrize("size", SIZES)
def test_a_watermark_touches_at_most_eight_percent_of_the_area_and_hides_nothing(size):
    image, marked = draws("watermark", size)
    for copy in marked:
        changed = (np.asarray(copy) != np.asarray(image)).any(axis=2)
        assert 0 < changed.mean() <= copies.WATERMARK_AREA
        # The box around all changes is the plate: nothing outside of it is touched.
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        assert np.ptp(rows) * np.ptp(columns) <= copies.WATERMARK_AREA * changed.size
        assert np.abs(np.asarray(copy, int) - np.asarray(image, int)).max() < 230, "opaque"


@pytest.mark.parametrize("size", SIZES)
def test_a_resize_keeps_the_aspect_within_its_range(size):
    image, resized = draws("resize", size)
    factors = [copy.width / image.width for copy in resized]
    assert 0.74 <= min(factors) < 0.9
    assert 1.1 < max(factors) <= 1.51
    for copy in resized:
        assert abs(copy.width / copy.height / (image.width / image.height) - 1) < 0.02


def test_brightness_scales_every_level_by_at_most_eight_percent():
    ramp = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2))
    seen = set()
    for i in range(40):
        levels = np.asarray(copies.brightness(ramp, np.random.default_rng(i)), float)[0, :, 0]
        factor = levels[200] / 200
        seen.add(factor > 1)
        assert 0.02 < abs(factor - 1) < 0.083
        np.testing.assert_allclose(levels, np.clip(np.arange(256) * factor, 0, 255), atol=1.5)
    assert seen == {True, False}


def test_reencoding_changes_pixels_a_little_and_not_the_size():
    image, encoded = draws("reencode", (200, 150), n=10)
    for copy in encoded:
        error = np.abs(np.asarray(copy, float) - np.asarray(image, float)).mean()
        assert copy.size == image.size
        assert 0 < error < 12


@pytest.mark.parametrize("size", SIZES)
def test_a_border_is_of_one_color_around_the_whole_picture(size):
    image, framed = draws("border", size)
    seen = set()
    for copy in framed:
        pixels, width = np.asarray(copy), (copy.width - image.width) // 2
        assert 0.02 * min(size) - 1 <= width <= 0.08 * min(size) + 1
        assert copy.size == (image.width + 2 * width, image.height + 2 * width)
        assert (pixels[width:-width, width:-width] == np.asarray(image)).all()
        edges = np.concatenate([pixels[:width].reshape(-1, 3), pixels[-width:].reshape(-1, 3), pixels[:, 0], pixels[:, -1]])
        assert (edges == edges[0]).all()
        seen.add(tuple(edges[0]))
    assert {(255, 255, 255), (0, 0, 0)} < seen, "white, black and other colours"


def test_a_mirror_exchanges_left_and_right_and_is_no_near_copy():
    image = picture((131, 97))
    assert (np.asarray(copies.mirror(image))[:, ::-1] == np.asarray(image)).all()
    assert "mirror" not in copies.ALTERATIONS
