"""When to stop generating: rounds, what a verdict needs after each, and when none is worth waiting for. With exact error rates.

Carlini et al. 2023 draw 500 images a prompt and ask for a clique of 10: in effect, whether at least about 3 % repeat. Most
memorized prompts repeat far more often, and most others never. So images are drawn in rounds, and a prompt is left after a
round in which it has enough repetitions for a verdict, or so few that a rate worth finding would have shown more.

Repetitions among n images are taken as Bin(n, p): seeds are independent, and p is the prompt's own rate. They are counted as the
generations that come near one training image, or as the largest clique, whichever is more, so none at all can be told from one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import ConfigError

FIRST_ROUND = 8
MIN_CLIQUE = 3
"""Smallest clique that is taken for one, as the share below takes over only at 200 images and more."""
CLIQUE_SHARE = 0.02
"""Of the images, that a clique must have: 10 of 500 (Carlini et al. 2023, section 4.2)."""

Decision = Literal["verdict", "futility", "max_generations", "continue"]


def clique_needed(num_generations: int) -> int:
    """Smallest clique that a verdict needs among so many generations: 3 up to 150, 10 at 500."""
    return max(MIN_CLIQUE, int(np.ceil(CLIQUE_SHARE * num_generations)))


@dataclass(frozen=True, kw_only=True)
class SequentialPlan:
    """Rounds of generations with the limits of each, made by ``make_plan``.

    Attributes:
        rounds: generations in all after each round, ascending.
        futile: after each round the largest number of repetitions at which a prompt is left; -1 where none is. After the last
            round it is one below what a verdict needs.
        min_rate, max_miss: a prompt that repeats at ``min_rate`` or above is left without a verdict with probability
            ``max_miss`` at most, if its last round comes late enough for that; see ``miss``.
    """

    rounds: tuple[int, ...]
    futile: tuple[int, ...]
    min_rate: float
    max_miss: float

    @cached_property
    def needed(self) -> tuple[int, ...]:
        """Clique that a verdict needs after each round."""
        return tuple(clique_needed(n) for n in self.rounds)

    def decide(self, place: int, *, has_verdict: bool, repetitions: int) -> Decision:
        """What follows from round number ``place``, the first being 0.

        Args:
            has_verdict: the clique is large enough, and it has been told what it shows.
            repetitions: the largest clique (0 where no two are close), or the generations near one image, if more.
        """
        if has_verdict:
            return "verdict"
        if place == len(self.rounds) - 1:
            return "max_generations"
        return "futility" if repetitions <= self.futile[place] else "continue"

    def miss(self, rate: float) -> float:
        """P(no verdict | a prompt whose generations repeat at ``rate``), exactly."""
        return self._outcome(rate)[0]

    def expected_generations(self, rate: float) -> float:
        """E[generations drawn | rate]."""
        return self._outcome(rate)[1]

    def _outcome(self, rate: float) -> tuple[float, float]:
        """By the distribution of repetitions among prompts that go on, round by round."""
        going = np.ones(1)
        missed = drawn = 0.0
        before = 0
        for place, (n, needed) in enumerate(zip(self.rounds, self.needed, strict=True)):
            drawn += float(going.sum()) * (n - before)
            going = np.convolve(going, _binomial(n - before, rate))
            counts = np.arange(len(going))
            going[counts >= needed] = 0.0
            is_last = place == len(self.rounds) - 1
            stops = counts <= (needed - 1 if is_last else self.futile[place])
            missed += float(going[stops].sum())
            going[stops] = 0.0
            before = n
        return missed, drawn


def make_plan(*, max_generations: int, min_rate: float, max_miss: float) -> SequentialPlan:
    """Rounds that double from 8, each leaving as many prompts as ``max_miss`` allows.

    Each round takes what it can of the misses that are allowed, the first one first: most prompts never repeat, and the round
    that leaves those without any repetition decides what they cost.

    Raises:
        ConfigError: ``min_rate`` cannot be found with so few generations.
    """
    rounds: list[int] = []
    n = FIRST_ROUND
    while n < max_generations:
        rounds.append(n)
        n *= 2
    rounds.append(max_generations)
    futile = [-1] * len(rounds)
    plan = SequentialPlan(rounds=tuple(rounds), futile=tuple(futile), min_rate=min_rate, max_miss=max_miss)
    at_least = plan.miss(min_rate)
    if at_least > max_miss:
        raise ConfigError(
            f"With {max_generations:,} generations a prompt that repeats at {min_rate:g} is missed with probability "
            f"{at_least:.2g}; at most {max_miss:g} is allowed.",
            next_step="Raise extract.max_generations or extract.min_rate, or allow more with extract.max_miss.",
        )
    for place in range(len(rounds) - 1):
        for count in range(plan.needed[place]):
            tried = SequentialPlan(
                rounds=plan.rounds, futile=(*futile[:place], count, *futile[place + 1 :]), min_rate=min_rate, max_miss=max_miss
            )
            if tried.miss(min_rate) > max_miss:
                break
            futile[place] = count
    return SequentialPlan(rounds=plan.rounds, futile=tuple(futile), min_rate=min_rate, max_miss=max_miss)


def _binomial(n: int, p: float) -> NDArray[np.float64]:
    """P(Bin(n, p) = 0 ... n)."""
    from scipy.stats import binom

    pmf: NDArray[np.float64] = binom.pmf(np.arange(n + 1), n, p)
    return pmf
