"""False pairs are counted as brute force counts them, and the threshold is the lowest that keeps the bound."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from scanner.core.errors import TrainingError
from scanner.lab import calibrate as module
from scanner.lab.calibrate import calibrate, count_false
from scanner.lab.planted import make_planted
from scanner.models.pixels import PixelsEncoder


@pytest.mark.parametrize("block", [7, 1000])
def test_counts_equal_those_over_all_pairs(monkeypatch, block):
    monkeypatch.setattr(module, "_BLOCK_ROWS", block)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 6)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    labels = rng.integers(0, 20, 60).astype(str)
    grid = np.arange(0.3, 1.0, 0.1)
    counts, num_unlike = count_false(x, labels, grid)
    unlike = [float(x[i] @ x[j]) for i, j in combinations(range(60), 2) if labels[i] != labels[j]]
    assert num_unlike == len(unlike)
    assert counts.tolist() == [sum(s >= t for s in unlike) for t in grid]
    assert counts[0] > counts[-1]


def test_the_threshold_is_the_lowest_step_that_keeps_the_bound(tmp_path, monkeypatch):
    planted = make_planted(str(tmp_path), num_images=400, seed=5)
    monkeypatch.setattr(module, "MAX_FALSE_SHARE", {"planted": 1e-3, "drawings": 1e-3})
    found = calibrate(PixelsEncoder(), planted, [], seed=5)
    vectors, labels = module._planted_vectors(PixelsEncoder(), planted)
    counts, number = count_false(vectors, labels, np.array([found.threshold - module.STEP, found.threshold]))
    assert counts[1] <= 1e-3 * number < counts[0]
    assert found.num_false["planted"] == counts[1]
    assert found.num_unlike == {"planted": number}


def test_an_encoder_that_tells_nothing_apart_has_no_threshold(tmp_path):
    class Same(PixelsEncoder):
        def encode(self, pixels):
            return np.tile(np.float32([1.0, 0.0]), (len(pixels), 1))

    with pytest.raises(TrainingError, match="At no threshold"):
        calibrate(Same(), make_planted(str(tmp_path), num_images=200, seed=5), [], seed=5)
