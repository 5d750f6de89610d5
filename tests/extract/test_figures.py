from __future__ import annotations

import numpy as np
import pytest

from scanner.extract.figures import fit_curve


def test_a_known_curve_is_found_again():
    rng = np.random.default_rng(0)
    k = np.repeat(2.0 ** np.arange(9), 60)
    truth = 0.9 / (1 + (40 / k) ** 2.5)
    curve = fit_curve(k, rng.random(len(k)) < truth, np.arange(len(k)))
    assert curve is not None
    assert curve.k50 == pytest.approx(40, rel=0.25)
    assert curve.most == pytest.approx(0.9, abs=0.06)
    at_grid = 0.9 / (1 + (40 / curve.k) ** 2.5)
    assert np.mean((curve.low <= at_grid) & (at_grid <= curve.high)) > 0.8
    assert (np.diff(curve.probability) >= 0).all()
    assert curve.at(np.array([1.0]))[0] < 0.01


def test_nothing_is_fitted_to_prompts_that_do_not_differ():
    assert fit_curve(np.array([1.0, 2, 4, 8]), np.zeros(4, bool), np.arange(4)) is None
    assert fit_curve(np.array([1.0, 2, 4, 8]), np.array([False, False, False, True]), np.arange(4)) is None


def test_prompts_of_one_picture_count_as_one():
    """Ten captions of a picture that all give it back say no more than one."""
    rng = np.random.default_rng(1)
    k = np.repeat(2.0 ** np.arange(9), 8)
    hit = rng.random(len(k)) < 0.9 / (1 + (40 / k) ** 2.5)
    once = fit_curve(k, hit, np.arange(len(k)))
    tenfold = fit_curve(np.repeat(k, 10), np.repeat(hit, 10), np.repeat(np.arange(len(k)), 10))
    as_if_apart = fit_curve(np.repeat(k, 10), np.repeat(hit, 10), np.arange(10 * len(k)))
    assert once is not None
    assert tenfold is not None
    assert as_if_apart is not None
    widths = [float(np.mean(curve.high - curve.low)) for curve in (once, tenfold, as_if_apart)]
    assert widths[1] == pytest.approx(widths[0], rel=0.35)
    assert widths[2] < 0.5 * widths[1]
