"""faiss's inverted file as a search: what it finds is right, comes once, and is as much as was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from search.oracle import collect, planted

from scanner.core.errors import ConfigError
from scanner.lab.vectors import PlantedVectors
from scanner.search.ivf import ivf_pairs
from scanner.search.join import ThresholdJoin


@pytest.mark.parametrize("background", ["isotropic", "clip"])
def test_finds_what_was_asked_for(background):
    x = PlantedVectors(n=6000, d=64, background=background, law="geometric", cosines=(0.95, 0.999)).rows()
    exact = collect(ThresholdJoin(x=x, threshold=0.93).blocks())
    seen = []
    found = collect(ivf_pairs(x, 0.93, recall=0.95, on_tile=seen.append))
    assert sum(seen) == 6000
    assert found.keys() <= exact.keys() | {pair for pair, s in found.items() if abs(s - 0.93) < 1e-6}
    assert len(found) >= 0.94 * len(exact) > 1000
    assert all(abs(exact.get(pair, value) - value) < 1e-5 for pair, value in found.items())


def test_rows_without_direction_match_nothing():
    x = planted(300, 32)
    x[5], x[7] = 0, np.nan
    found = collect(ivf_pairs(x, 0.8, recall=0.999))
    assert len(found) > 100
    assert not {5, 7} & {row for pair in found for row in pair}
    assert not list(ivf_pairs(np.zeros((5, 4), np.float32), 0.8))


def test_a_threshold_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="similarity threshold"):
        list(ivf_pairs(planted(50, 8), 1.5))
