"""Who of a group stays: pure functions on arrays, a row a copy that competes for the places of its group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NOBODY = -1
"""Of a position: no row. Of a rule: none."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Decisions:
    """For each of n rows what became of it.

    Attributes:
        is_kept: bool (n,).
        weight: float64 (n,), 0 where it goes.
        rule: int64 (n,), the column of the scores that told it from the row on the other side; how many columns there are where
            only the id did; ``NOBODY`` where there is no other side.
        winner: int64 (n,), position of the row that stays in its place; ``NOBODY`` where it stays itself.
        size: int64 (n,), rows of its group.
    """

    is_kept: NDArray[np.bool_]
    weight: NDArray[np.float64]
    rule: NDArray[np.int64]
    winner: NDArray[np.int64]
    size: NDArray[np.int64]


def decide(
    group: NDArray[np.int64],
    image_id: NDArray[np.int64],
    scores: NDArray[np.float64],
    *,
    images_a_group: int,
    has_weights: bool = False,
    is_first_silent: bool = False,
) -> Decisions:
    """The ``images_a_group`` best of each group stay; with weights all do, and share as much weight as those would have.

    Rows are in order of their scores, the first column deciding first, higher before lower, then the lowest id. A row that goes
    is told from the best of its group; one that stays, where others go, from the best of those.

    Args:
        group: int64 (n,), any labels in any order.
        image_id: int64 (n,), all different.
        scores: float64 (n, r).
        is_first_silent: the first column orders, and is told of only where none of the later ones agrees with it.
    """
    n, num_scores = scores.shape
    order = np.lexsort((image_id, *(-scores[:, i] for i in reversed(range(num_scores))), group))
    group, image_id, scores = group[order], image_id[order], scores[order]
    starts = np.flatnonzero(np.concatenate([np.ones(min(1, n), bool), group[1:] != group[:-1]]))
    sizes = np.diff(np.append(starts, n))
    best, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    position = np.arange(n)
    is_kept = np.ones(n, bool) if has_weights else position - best < images_a_group

    def told(better: NDArray[np.int64], worse: NDArray[np.int64]) -> NDArray[np.int64]:
        first = int(is_first_silent)
        differs = np.concatenate([scores[better, first:] != scores[worse, first:], np.ones((len(better), 1), bool)], axis=1)
        rule: NDArray[np.int64] = first + differs.argmax(axis=1)
        if is_first_silent:
            by_id = rule == num_scores
            column = np.minimum(rule, num_scores - 1)
            agrees = np.where(by_id, image_id[better] < image_id[worse], scores[better, column] > scores[worse, column])
            rule[~agrees] = 0
        return rule

    rule, winner = np.full(n, NOBODY), np.full(n, NOBODY)
    goes = np.flatnonzero(~is_kept)
    rule[goes], winner[goes] = told(best[goes], goes), order[best[goes]]
    wins = np.flatnonzero(is_kept & (size > images_a_group)) if not has_weights else goes[:0]
    rule[wins] = told(wins, best[wins] + images_a_group)
    weight = np.minimum(1.0, images_a_group / size) if has_weights else is_kept.astype(np.float64)

    back = np.empty(n, np.int64)
    back[order] = position
    return Decisions(is_kept=is_kept[back], weight=weight[back], rule=rule[back], winner=winner[back], size=size[back])
