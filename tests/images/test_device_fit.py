"""Resizing on tensors against the path of the decoding processes, which is held against open_clip's own transform."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pictures import draw, encoded

from scanner.core.preprocess import Preprocess
from scanner.images.device_fit import GROUP_PIXELS, MOST_PIXELS, can_fit, fit_images
from scanner.images.geometry import fit
from scanner.images.prepare import ImageLimits, ImagePreparer, prepare_image

SHAPES = [(32, 32), (64, 64), (64, 48), (48, 64), (200, 333), (333, 200), (17, 90), (31, 33), (8, 8), (500, 375), (64, 48)]


def noise(height, width, seed=0):
    """Every bit at random: filters overshoot on it as on nothing else."""
    return np.random.default_rng([seed, height, width]).integers(0, 256, (height, width, 3)).astype(np.uint8)


def smooth(height, width):
    return np.array(draw(height + width, size=(width, height)))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_pixels_are_within_two_levels_of_the_decoding_processes(size, mode, interpolation):
    preprocess = Preprocess(size=size, resize_mode=mode, interpolation=interpolation, fill_color=7)
    images = [make(*shape) for shape in SHAPES for make in (noise, smooth) if can_fit(*shape, preprocess)]
    assert len(images) >= 20
    found = fit_images([torch.from_numpy(image) for image in images], preprocess)
    assert (found.dtype, tuple(found.shape)) == (torch.uint8, (len(images), *size, 3))
    expected = np.stack([fit(image, preprocess) for image in images])
    differences = np.abs(found.numpy().astype(int) - expected)
    assert differences.max() <= 2
    assert (differences > 1).mean() < 1e-3
    assert (differences > 0).mean() < 0.05, "few pixels differ at all"


def test_what_has_the_size_already_is_left_alone():
    preprocess = Preprocess(size=(32, 32))
    images = [noise(32, 32, seed) for seed in range(3)]
    assert (fit_images([torch.from_numpy(image) for image in images], preprocess).numpy() == np.stack(images)).all()


def test_order_is_kept_and_large_groups_are_cut(monkeypatch):
    monkeypatch.setattr("scanner.images.device_fit.GROUP_PIXELS", 2 * 64 * 64)
    preprocess = Preprocess(size=(32, 32))
    images = [noise(*((64, 64) if seed % 3 else (50, 70)), seed) for seed in range(12)]
    found = fit_images([torch.from_numpy(image) for image in images], preprocess).numpy()
    for image, pixels in zip(images, found, strict=True):
        assert np.abs(pixels.astype(int) - fit(image, preprocess)).max() <= 2
    assert GROUP_PIXELS == 1 << 24


def test_large_images_and_strips_stay_with_the_decoding_processes():
    preprocess = Preprocess(size=(224, 224))
    assert can_fit(1024, 1024, preprocess)
    assert not can_fit(1024, 1025, preprocess)
    assert MOST_PIXELS == 1024 * 1024
    assert not can_fit(8, 30_000, preprocess), "it would be 840,000 pixels long"
    assert can_fit(8, 30_000, Preprocess(size=(224, 224), resize_mode="squash"))


def test_a_worker_leaves_the_size_alone_only_where_it_is_told_to():
    preprocess, limits = Preprocess(size=(32, 32)), ImageLimits()
    data = encoded(draw(1, size=(60, 50)))
    facts, pixels = prepare_image(data, preprocess=preprocess, limits=limits)
    kept_facts, kept = prepare_image(data, preprocess=preprocess, limits=limits, is_fitted_later=True)
    assert kept_facts == facts
    assert kept.shape == (50, 60, 3)
    assert (fit(kept, preprocess) == pixels).all()
    strip = encoded(draw(2, size=(4000, 10)))
    assert prepare_image(strip, preprocess=preprocess, limits=limits, is_fitted_later=True)[1].shape == (32, 32, 3)
    with ImagePreparer(preprocess, limits, workers=1, is_fitted_later=True) as preparer:
        shapes = [array.shape for _, _, array in preparer.prepare(enumerate([data, strip]))]
    assert shapes == [(50, 60, 3), (32, 32, 3)]
