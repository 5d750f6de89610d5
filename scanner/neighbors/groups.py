"""From components to groups: who is in, who stands for it, how close the others are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Groups:
    """Rows that are in a group of two or more, ascending.

    Attributes:
        rows: int64 (m,), positions in the scanned set.
        group: int64 (m,), smallest position of the row's group.
        representative: int64 (m,), position of the group's representative.
    """

    rows: NDArray[np.int64]
    group: NDArray[np.int64]
    representative: NDArray[np.int64]


def make_groups(labels: NDArray[np.int64], resolution: NDArray[np.int64], caption_length: NDArray[np.int64]) -> Groups:
    """Groups of the components ``labels`` (n,), each row's smallest row.

    The representative is the row of most pixels, then of the longest caption, then the lowest.
    """
    sizes = np.bincount(labels, minlength=len(labels))
    rows = np.flatnonzero(sizes[labels] > 1)
    group = labels[rows]
    order = np.lexsort((rows, -caption_length[rows], -resolution[rows], group))
    head = np.concatenate([[True], group[order][1:] != group[order][:-1]]) if len(order) else np.empty(0, bool)
    best = np.full(len(labels), -1, dtype=np.int64)
    best[group[order][head]] = rows[order][head]
    return Groups(rows=rows, group=group, representative=best[group])
