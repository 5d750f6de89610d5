"""How far apart two members of a group are: a chain joins images that are not alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.neighbors.groups import Groups
from scanner.search.exact import row_similarities


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Diameters:
    """A pair of members far apart, for each group, ascending by ``group``.

    Attributes:
        group: int64 (g,), smallest position of the group.
        left, right: int64 (g,), positions of the two members, left < right.
        similarity: float32 (g,), their cosine: no less than the smallest of any two members.
    """

    group: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    similarity: NDArray[np.float32]


def diameters(x: NDArray[np.float16], groups: Groups) -> Diameters:
    """Of each group a pair far apart, by a double sweep: from the representative to the farthest, from there to the farthest.

    O(members). Angles are a metric, so by the triangle inequality the angle found is at least half the largest between any two.
    """
    group, start, member_group = np.unique(groups.group, return_index=True, return_inverse=True)
    end, _ = _farthest(x, groups, groups.representative[start], member_group)
    other, similarity = _farthest(x, groups, end, member_group)
    return Diameters(group=group, left=np.minimum(end, other), right=np.maximum(end, other), similarity=similarity)


def is_chain(similarity: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """Whether two members are so far apart that no image at all is within the threshold of both.

    Two vectors within an angle a of a third are within 2 a of one another: their cosine is at least 2 t^2 - 1.
    """
    chain: NDArray[np.bool_] = similarity < np.float32(2 * threshold * threshold - 1)
    return chain


def _farthest(
    x: NDArray[np.float16], groups: Groups, source: NDArray[np.int64], member_group: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each group the member of least cosine to ``source`` (g,), the lowest of several, and that cosine; not itself."""
    sources = source[member_group]
    similarity = row_similarities(x, groups.rows, sources)
    similarity[groups.rows == sources] = np.inf
    order = np.lexsort((groups.rows, similarity, member_group))
    head = np.concatenate([np.ones(min(1, len(order)), bool), member_group[order][1:] != member_group[order][:-1]])
    return groups.rows[order][head], similarity[order][head]
