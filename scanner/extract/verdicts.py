"""What the generations of one prompt show, from their distances to one another and to the training set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scanner.extract.cliques import Clique, find_clique
from scanner.extract.match import Matches
from scanner.extract.templates import Template

Verdict = Literal["none", "suspected", "template", "retrieved", "extracted"]
FOUND: tuple[Verdict, ...] = ("template", "retrieved", "extracted")
"""Verdicts that say what came out; with one of them no more generations are needed."""
PLAIN_CLIQUE = 10
"""A clique that Carlini et al. 2023 (section 4.2) call memorized without looking at the training set: with one as large nothing
more is learnt by going on, whatever it shows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What evidence must stay below.

    Attributes:
        max_edge: tiled l2 up to which two generations are close.
        max_l2: l2 up to which a generation is a training image: 0.15 (Carlini et al. 2023, section 4.2).
        strict_l2: the stricter tier: 0.113, from Webster 2023's 2,500 squared errors over 256 x 256 x 3.
        max_ratio: adaptive ratio, from this run's controls.
    """

    max_edge: float
    max_l2: float
    strict_l2: float
    max_ratio: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Judgement:
    """What n generations show.

    Attributes:
        needed: clique that a verdict needs.
        num_matching: generations within ``max_l2`` and ``max_ratio`` of one picture, the one that most are near to.
        best: position of the generation that ``matches`` is quoted of: the clique's medoid.
        template: where the verdict is template.
    """

    verdict: Verdict
    clique: Clique
    needed: int
    num_matching: int
    best: int
    matches: Matches
    is_own: bool | None
    template: Template | None

    @property
    def repetitions(self) -> int:
        """Generations that repeat something: for the rule that stops."""
        clique = len(self.clique) if len(self.clique) > 1 else 0
        return max(clique, self.num_matching, self.template.num_matching if self.template else 0)

    @property
    def is_settled(self) -> bool:
        """Whether more generations would tell nothing more."""
        return self.verdict in FOUND or len(self.clique) >= max(PLAIN_CLIQUE, self.needed)

    def tier(self, limits: Limits) -> Literal["strict", "standard"] | None:
        """Of the distance of the best generation."""
        distance = float(self.matches.distance[self.best])
        return "strict" if distance <= limits.strict_l2 else "standard" if distance <= limits.max_l2 else None


def judge(
    between: NDArray[np.float32],
    matches: Matches,
    own: NDArray[np.int64],
    *,
    needed: int,
    limits: Limits,
    template: Template | None = None,
) -> Judgement:
    """Judges n generations.

    ``extracted`` and ``retrieved`` need a clique of ``needed``, whose medoid is within ``max_l2`` of a training image, and within
    ``max_ratio``: l2 alone is small between flat images, and the ratio alone says nothing of how near.

    Args:
        between: float32 (n, n) tiled l2 of all generations.
        own: positions of the pictures that the caption stands beside.
        template: what ``templates.find_template`` found in them.
    """
    clique = find_clique(between, limits.max_edge)
    near = (matches.picture >= 0) & (matches.distance <= limits.max_l2) & (matches.ratio <= limits.max_ratio)
    counts = np.unique(matches.picture[near], return_counts=True)[1]
    num_matching = int(counts.max(initial=0))
    best = clique.medoid
    has_clique = len(clique) >= needed
    is_own = bool(np.isin(matches.picture[best], own)) if matches.picture[best] >= 0 else None
    verdict: Verdict = "none"
    if has_clique and near[best]:
        verdict = "extracted" if is_own else "retrieved"
    elif template is not None and template.num_matching >= needed:
        verdict = "template"
    elif has_clique or num_matching > 1:
        verdict = "suspected"
    return Judgement(
        verdict=verdict, clique=clique, needed=needed, num_matching=num_matching, best=best, matches=matches, is_own=is_own,
        template=template,
    )  # fmt: skip
