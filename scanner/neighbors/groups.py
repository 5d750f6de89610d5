"""From components to groups: who is in, who stands for it, how close the others are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK_VALUES = 1 << 22
"""Numbers of one side that are widened to float64 at once: 32 MiB."""


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


def row_similarities(x: NDArray[np.float16], left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float32]:
    """Cosine of rows ``left`` with rows ``right`` of ``x`` (n, d): float32, as long as they are, at most 1.

    Summed in float64, so that equal rows come out as 1 and not as 0.9999.
    """
    out = np.zeros(len(left), dtype=np.float32)
    step = max(1, BLOCK_VALUES // x.shape[1])
    for start in range(0, len(left), step):
        block = slice(start, start + step)
        a, b = x[left[block]].astype(np.float64), x[right[block]].astype(np.float64)
        lengths = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
        np.divide((a * b).sum(axis=1), lengths, out=out[block], where=lengths > 0, casting="same_kind")
    return np.minimum(out, np.float32(1.0))
