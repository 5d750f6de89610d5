"""Outliers lie far from what else a set holds; placeholders look like cards, blanks like nothing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from scanner.lab.oddities import OUTLIERS, draw_blank, draw_outlier, draw_placeholder
from scanner.lab.scenes import SCENES, draw_scene


def spectrum(image):
    """Energy of the luma at the higher half of its frequencies, of all but the mean, at 64 x 64."""
    luma = np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BICUBIC), float)
    power = np.abs(np.fft.fft2(luma - luma.mean())) ** 2
    frequency = np.abs(np.fft.fftfreq(64))
    high = np.maximum(frequency[:, None], frequency[None]) > 0.12
    return power[high].sum() / power.sum()


@pytest.mark.parametrize("kind", OUTLIERS)
@pytest.mark.parametrize("size", [(96, 96), (320, 160), (96, 192)])
def test_every_outlier_draws_at_every_size_and_repeats(kind, size):
    first, again, other = (OUTLIERS[kind](np.random.default_rng(seed), size) for seed in (7, 7, 8))
    assert first.image.size == size
    assert first.image.tobytes() == again.image.tobytes() != other.image.tobytes()
    assert first.subject == again.subject
    assert np.ptp(np.asarray(first.image), axis=(0, 1)).max() > 40


def test_outliers_are_of_no_kind_that_scenes_are_of():
    assert not set(OUTLIERS) & set(SCENES)
    odd = [spectrum(draw_outlier(np.random.default_rng([1, i])).image) for i in range(60)]
    usual = [spectrum(draw_scene(np.random.default_rng([2, i])).image) for i in range(120)]
    assert np.median(odd) > np.quantile(usual, 0.9), "fine structure all over, which the others do not have"


def test_placeholders_are_light_grey_cards_and_blanks_are_flat():
    for i in range(20):
        card = np.asarray(draw_placeholder(np.random.default_rng(i)).image, float)
        assert np.ptp(card.mean(axis=(0, 1))) == 0, "grey"
        assert np.median(card) > 200
        assert np.ptp(card) > 40, "and something on it"
        assert np.ptp(np.asarray(draw_blank(np.random.default_rng(i)))) <= 2
