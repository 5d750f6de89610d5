from __future__ import annotations

import numpy as np
import pytest

from scanner.images.align import SIDE
from scanner.lab.verify_pairs import RELATIONS, fit_logistic, planted_pairs


def test_pairs_are_those_of_the_seed_and_of_every_relation():
    pairs, again, other = (planted_pairs(seed, 16) for seed in (3, 3, 4))
    assert pairs.a.shape == pairs.b.shape == (len(pairs.relation), SIDE, SIDE, 3)
    assert (pairs.a == again.a).all()
    assert (pairs.relation == again.relation).all()
    assert (pairs.a != other.a).any()
    number = {relation: int((pairs.relation == relation).sum()) for relation in RELATIONS}
    assert number == {"same": 32, "mirror": 2, "template": 8, "other": 16}
    assert (pairs.alterations[pairs.relation == "mirror"][:, 0] == "mirror").all()


def test_the_fit_finds_the_curve_that_made_the_labels():
    rng = np.random.default_rng(0)
    distance = np.exp(rng.uniform(np.log(0.03), np.log(1.2), 40_000)).astype(np.float32)
    slope, middle = 4.0, 0.2
    is_same = rng.random(len(distance)) < 1 / (1 + (distance / middle) ** slope)
    # Weighted by class, the curve is that of as many pairs of either: shifted by the logarithm of their ratio.
    ratio = is_same.sum() / (~is_same).sum()
    found = fit_logistic(distance, is_same)
    assert found[0] == pytest.approx(slope, rel=0.05)
    assert found[1] == pytest.approx(middle * ratio ** (-1 / slope), rel=0.05)


def test_a_clean_cut_still_has_a_finite_slope():
    distance = np.array([0.02, 0.05, 0.1, 0.6, 0.9, 1.2], np.float32)
    slope, middle = fit_logistic(distance, distance < 0.3)
    assert np.isfinite(slope)
    assert 0.1 < middle < 0.6
