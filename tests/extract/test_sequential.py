from __future__ import annotations

import numpy as np
import pytest

from scanner.core.errors import ConfigError
from scanner.extract.sequential import clique_needed, make_plan


def test_a_verdict_needs_what_the_paper_asks_for_at_500():
    assert [clique_needed(n) for n in (8, 64, 128, 256, 500)] == [3, 3, 3, 6, 10]


@pytest.mark.parametrize(
    ("min_rate", "max_miss", "most"), [(0.1, 0.05, 500), (0.25, 0.02, 500), (0.05, 0.05, 500), (0.3, 0.1, 20)]
)
def test_misses_are_as_stated(min_rate, max_miss, most):
    """Simulated: prompts whose generations repeat at a known rate, taken through the rounds."""
    plan = make_plan(max_generations=most, min_rate=min_rate, max_miss=max_miss)
    assert plan.rounds[-1] == most
    rng = np.random.default_rng(0)
    for rate in (min_rate, 1.5 * min_rate, 0.02):
        missed, drawn = 0, 0
        for _ in range(4000):
            repeats = rng.random(most) < rate
            for place, n in enumerate(plan.rounds):
                count = int(repeats[:n].sum())
                decision = plan.decide(place, has_verdict=count >= plan.needed[place], repetitions=count)
                if decision != "continue":
                    missed += decision != "verdict"
                    drawn += n
                    break
        assert missed / 4000 == pytest.approx(plan.miss(rate), abs=0.025)
        assert drawn / 4000 == pytest.approx(plan.expected_generations(rate), rel=0.06)
    assert plan.miss(min_rate) <= max_miss


def test_a_prompt_that_never_repeats_is_left_early():
    plan = make_plan(max_generations=500, min_rate=0.1, max_miss=0.05)
    assert plan.expected_generations(0.0) == 32
    assert plan.decide(2, has_verdict=False, repetitions=0) == "futility"
    assert plan.decide(2, has_verdict=False, repetitions=1) == "continue"
    assert plan.decide(6, has_verdict=False, repetitions=9) == "max_generations"


def test_what_cannot_be_found_is_refused():
    with pytest.raises(ConfigError, match="is missed with probability"):
        make_plan(max_generations=16, min_rate=0.05, max_miss=0.05)
