"""Leader linkage: a component that hangs together by a chain falls into groups around images that are kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scanner.neighbors.groups import make_groups
from scanner.search.exact import cosines, row_similarities

BLOCK_ROWS = 1024
"""Rows that look for a leader together."""
BLOCK_LEADERS = 4096
"""Leaders they are compared with at once: 32 MiB of cosines, in float64."""


def leader_labels(
    x: NDArray[np.float16],
    labels: NDArray[np.int64],
    resolution: NDArray[np.int64],
    caption_length: NDArray[np.int64],
    threshold: float,
) -> NDArray[np.int64]:
    """Components split by greedy leaders: for each row the smallest row of its group, int64 (n,).

    Within a component rows come in the order in which :func:`make_groups` prefers them: most pixels, longest caption, lowest
    row. A row joins the first leader whose cosine is at least ``threshold``, else it becomes one (the leader algorithm, Hartigan
    1975, chapter 3). So every member is within the threshold of its representative. Memory is that of one block of products,
    whatever the component; time grows with its members times its leaders.

    Args:
        x: (n, d) float16, unit length but for rounding.
        labels: int64 (n,), the component of each row: its smallest row.
        resolution, caption_length: int64 (n,), what quality is judged by.
        threshold: cosine.
    """
    cut = np.float32(threshold)
    components = make_groups(labels, resolution, caption_length)
    leader = np.arange(len(labels))
    leader[components.rows] = components.representative
    # Most components lie within the threshold of their first leader, and are done at once.
    far = row_similarities(x, components.rows, components.representative) < cut
    far &= components.rows != components.representative
    rows = components.rows[np.isin(components.group, components.group[far])]
    order = rows[np.lexsort((rows, -caption_length[rows], -resolution[rows], labels[rows]))]
    starts = np.flatnonzero(np.concatenate([np.ones(min(1, len(order)), bool), labels[order][1:] != labels[order][:-1]]))
    for members in np.split(order, starts[1:]) if len(order) else []:
        leader[members] = members[_first_leaders(x, members, cut)]
    smallest = np.full(len(labels), len(labels))
    np.minimum.at(smallest, leader, np.arange(len(labels)))
    return smallest[leader]


def _first_leaders(x: NDArray[np.float16], members: NDArray[np.int64], cut: np.float32) -> NDArray[np.int64]:
    """For each of ``members`` (m,), best first, the place among them of its leader."""
    own = np.full(len(members), -1, dtype=np.int64)
    leaders = np.empty(0, dtype=np.int64)
    for start in range(0, len(members), BLOCK_ROWS):
        places = np.arange(start, min(start + BLOCK_ROWS, len(members)))
        for first in range(0, len(leaders), BLOCK_LEADERS):
            some = leaders[first : first + BLOCK_LEADERS]
            near = _cosines(x, members[places], members[some]) >= cut
            has_leader = near.any(axis=1)
            own[places[has_leader]] = some[near[has_leader].argmax(axis=1)]
            places = places[~has_leader]
        near = _cosines(x, members[places], members[places]) >= cut
        is_free = np.ones(len(places), bool)
        added = []
        for k in range(len(places)):
            if is_free[k]:
                joins = near[k] & is_free
                joins[k] = True
                own[places[joins]] = places[k]
                is_free &= ~joins
                added.append(places[k])
        leaders = np.concatenate([leaders, np.array(added, dtype=np.int64)])
    return own


def _cosines(x: NDArray[np.float16], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
    """The cosines of ``rows`` with ``columns``, exact as in ``exact``: what table groups says is what was compared."""
    p, q = x[rows].astype(np.float64), x[columns].astype(np.float64)
    return cosines(p @ q.T, (p * p).sum(axis=1)[:, None] * (q * q).sum(axis=1)[None, :])
