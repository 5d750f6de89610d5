"""The largest set of generations that are all close to one another (Carlini et al. 2023, section 4.2).

Generations of one prompt that agree with one another, whatever the seed, are what a memorized image looks like from outside: no
training data is needed to see it. An edge joins two generations within a tiled l2; in a clique every two are joined.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_STEPS = 20_000
"""Branches of the search for a largest clique. Cliques of copies are found at once; only graphs that are dense and irregular,
which blurred generations make, need more, and then the largest set found so far counts: a lower bound."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Clique:
    """Generations that are mutually close.

    Attributes:
        members: int64 (m,) their positions, ascending; one alone where no two are close, none of none.
        medoid: position of the one with the smallest mean distance to the other members; of equals the first.
        diameter: largest distance within; NaN below two members.
        is_largest: no larger one exists, for certain.
    """

    members: NDArray[np.int64]
    medoid: int
    diameter: float
    is_largest: bool

    def __len__(self) -> int:
        return len(self.members)


def find_clique(distances: NDArray[np.float32], edge: float) -> Clique:
    """The largest clique of n > 0 generations; of equals the one with the smallest mean distance that the search meets.

    Args:
        distances: (n, n), symmetric, 0 on the diagonal.
        edge: distance up to which two are close.
    """
    n = len(distances)
    assert distances.shape == (n, n), distances.shape
    assert n > 0, "no generations"
    close = distances <= edge
    np.fill_diagonal(close, False)
    members, is_largest = _largest(close)
    if len(members) < 2:
        # No two are close: the one that is nearest to the others stands for all.
        medoid = int(distances.mean(axis=1).argmin())
        return Clique(members=np.array([medoid]), medoid=medoid, diameter=float("nan"), is_largest=is_largest)
    chosen = np.array(sorted(members))
    within = distances[np.ix_(chosen, chosen)]
    return Clique(
        members=chosen, medoid=int(chosen[within.mean(axis=1).argmin()]), diameter=float(within.max()), is_largest=is_largest
    )


def _largest(close: NDArray[np.bool_]) -> tuple[list[int], bool]:
    """Branch and bound with greedy colouring (Tomita and Seki 2003): a clique has at most one node of each colour."""
    n = len(close)
    # Nodes of high degree first: the greedy colouring then needs few colours, and the first dive finds large cliques.
    order = np.argsort(-close.sum(axis=1), kind="stable").tolist()
    ordered = close[np.ix_(order, order)]
    neighbours = [sum(1 << j for j in np.flatnonzero(row).tolist()) for row in ordered]
    best: list[int] = []
    steps = 0
    stack: list[tuple[list[int], int]] = [([], (1 << n) - 1)]
    while stack:
        if steps >= MAX_STEPS:
            return [order[i] for i in best], False
        steps += 1
        clique, candidates = stack.pop()
        if len(clique) > len(best):
            best = clique
        nodes, bounds = _colour(candidates, neighbours)
        branches = []
        for node, bound in zip(reversed(nodes), reversed(bounds), strict=True):
            if len(clique) + bound <= len(best):
                break
            branches.append(([*clique, node], candidates & neighbours[node]))
            candidates &= ~(1 << node)
        # The most promising branch is looked at first, so it is pushed last.
        stack.extend(reversed(branches))
    return [order[i] for i in best], True


def _colour(candidates: int, neighbours: list[int]) -> tuple[list[int], list[int]]:
    """Nodes in order of colour, with the number of colours up to each: a bound on any clique among them."""
    nodes: list[int] = []
    bounds: list[int] = []
    colour = 0
    while candidates:
        colour += 1
        free = candidates
        while free:
            node = (free & -free).bit_length() - 1
            nodes.append(node)
            bounds.append(colour)
            candidates &= ~(1 << node)
            free &= ~(1 << node) & ~neighbours[node]
    return nodes, bounds
