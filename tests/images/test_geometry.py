from __future__ import annotations

import numpy as np
import open_clip
import pytest
from PIL import Image

from scanner.core.preprocess import Preprocess
from scanner.images.geometry import fit, place

SIZES = [
    (500, 375), (375, 500), (224, 224), (225, 224), (223, 400), (640, 427), (333, 500), (1023, 767), (97, 61), (30, 41),
    (256, 257), (301, 299), (17, 180), (900, 60), (61, 1203), (448, 448), (8, 8),
]  # fmt: skip
MODES = [
    Preprocess(size=(224, 224)),
    Preprocess(size=(224, 224), interpolation="bilinear"),
    Preprocess(size=(64, 64)),
    Preprocess(size=(96, 160)),
    Preprocess(size=(96, 160), interpolation="bilinear"),
    Preprocess(size=(224, 224), resize_mode="longest"),
    Preprocess(size=(160, 96), resize_mode="longest", fill_color=127, interpolation="bilinear"),
    Preprocess(size=(384, 384), resize_mode="squash"),
    Preprocess(size=(60, 90), resize_mode="squash", interpolation="bilinear"),
]


def photo(width, height, seed=0):
    """Smooth shapes with texture, as a photograph has."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells, weight in ((3, 60), (12, 30), (50, 12)):
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += weight / 64 * (np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=float) - 128)
    return np.clip(total + 128 + rng.normal(0, 4, total.shape), 0, 255).astype(np.uint8)


def by_open_clip(pixels, preprocess):
    """open_clip's own transform of a Pillow image, back to bytes."""
    size = preprocess.size[0] if preprocess.size[0] == preprocess.size[1] else preprocess.size
    transform = open_clip.transform.image_transform(
        size,
        is_train=False,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        resize_mode=preprocess.resize_mode,
        interpolation=preprocess.interpolation,
        fill_color=preprocess.fill_color,
    )
    return (transform(Image.fromarray(pixels)).permute(1, 2, 0).numpy() * 255).round().astype(int)


@pytest.mark.parametrize("preprocess", MODES, ids=lambda p: f"{p.resize_mode}-{p.size[0]}x{p.size[1]}-{p.interpolation}")
def test_pixels_are_those_of_open_clip(preprocess):
    for i, (width, height) in enumerate(SIZES):
        pixels = photo(width, height, i)
        ours, theirs = fit(pixels, preprocess), by_open_clip(pixels, preprocess)
        assert ours.shape == theirs.shape == (*preprocess.size, 3)
        assert ours.dtype == np.uint8
        assert ours.flags.c_contiguous
        assert np.abs(ours.astype(int) - theirs).max() <= 2, (width, height)


def test_a_shift_of_one_pixel_would_be_seen():
    pixels = photo(500, 375)
    theirs = by_open_clip(pixels, MODES[0])
    assert np.abs(fit(np.roll(pixels, 2, axis=1), MODES[0]).astype(int) - theirs).max() > 10


def test_a_long_strip_is_resized_only_where_it_is_kept(monkeypatch):
    strip = photo(30_000, 8)
    assert place(8, 30_000, MODES[0]).width == 840_000
    import torch

    monkeypatch.setattr(torch.nn.functional, "interpolate", None)
    ours = fit(strip, MODES[0])
    # The same window of a shorter strip, cut evenly, has the same surroundings.
    theirs = by_open_clip(np.ascontiguousarray(strip[:, 14_900:15_100]), MODES[0])
    assert np.abs(ours.astype(int) - theirs).max() <= 2


def test_a_strip_keeps_a_pixel_where_its_short_side_would_vanish():
    at = place(8, 30_000, Preprocess(size=(64, 64), resize_mode="longest"))
    assert (at.height, at.width, at.top) == (1, 64, -31)
    assert fit(photo(30_000, 8), Preprocess(size=(64, 64), resize_mode="longest")).shape == (64, 64, 3)


def test_crop_rounds_to_even_as_python_does():
    preprocess = Preprocess(size=(224, 224))
    assert place(224, 225, preprocess).left == 0
    assert place(224, 227, preprocess).left == 2
    assert place(375, 500, preprocess) == place(375, 500, Preprocess(size=(224, 224)))
    assert (place(375, 500, preprocess).width, place(375, 500, preprocess).left) == (298, 37)
