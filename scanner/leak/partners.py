"""Pairs between two sets, bounded where a picture has thousands of copies on both sides.

All pairs of 10^5 copies here with 10^5 there would be 10^10 rows that say one thing. So of each image the likest of the other
set are kept, and a pair stays if it is among those of either end. Whoever has a pair keeps one; what is kept grows with the
images and not with their pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BUFFER_PAIRS = 4_000_000
"""Pairs collected before those that no end needs are dropped: 20 bytes each, and about five times that while it is done."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pairs:
    """Pairs between two sets, each once.

    Attributes:
        left, right: int64 (k,) of what is numbered in the one set and in the other.
        similarity: float32 (k,); higher is closer.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    similarity: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.left)

    def take(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> Pairs:
        """Some of them, in that order."""
        return Pairs(left=self.left[which], right=self.right[which], similarity=self.similarity[which])

    def best_first(self) -> Pairs:
        """By falling similarity, then by number."""
        return self.take(np.lexsort((self.right, self.left, -self.similarity)))

    @classmethod
    def joined(cls, pieces: Sequence[Pairs]) -> Pairs:
        none = np.empty(0, np.int64)
        return cls(
            left=np.concatenate([none, *(piece.left for piece in pieces)]),
            right=np.concatenate([none, *(piece.right for piece in pieces)]),
            similarity=np.concatenate([np.empty(0, np.float32), *(piece.similarity for piece in pieces)]),
        )


class BestPartners:
    """The pairs that are among the ``most`` best of either end, of all that are added. Equal ones go by their numbers, so what
    is kept depends neither on the order of arrival nor on the buffer.

    Attributes:
        num_added: pairs.
    """

    def __init__(self, most: int, *, buffer_pairs: int = BUFFER_PAIRS) -> None:
        self.num_added = 0
        self._most, self._buffer_pairs = most, buffer_pairs
        self._held: list[Pairs] = []
        self._num_held = 0
        self._room = buffer_pairs

    def add(self, pairs: Pairs) -> None:
        """Pairs that were not added before."""
        self.num_added += len(pairs)
        self._held.append(pairs)
        self._num_held += len(pairs)
        if self._num_held > self._room:
            self._prune()

    def finish(self) -> Pairs:
        """What is kept, best first."""
        self._prune()
        return self._held[0].best_first()

    def _prune(self) -> None:
        pairs = Pairs.joined(self._held)
        keeps = _rank(pairs.left, pairs.similarity, pairs.right) < self._most
        keeps |= _rank(pairs.right, pairs.similarity, pairs.left) < self._most
        self._held = [pairs.take(keeps)]
        self._num_held = len(self._held[0])
        # Pruned again once as much has come as was kept: else each block would be paid for with all that is held.
        self._room = max(self._buffer_pairs, 2 * self._num_held)


def _rank(end: NDArray[np.int64], similarity: NDArray[np.float32], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 (k,): the place of each pair among those of its ``end``, the likest first."""
    order = np.lexsort((other, -similarity, end))
    rank = np.empty(len(end), np.int64)
    rank[order] = _within(end[order])
    return rank


def _within(ordered: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 (k,): places from 0 on within each run of equal values."""
    places = np.arange(len(ordered))
    is_head = np.ones(len(ordered), bool)
    is_head[1:] = ordered[1:] != ordered[:-1]
    return places - np.maximum.accumulate(np.where(is_head, places, 0))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Members:
    """What each of g groups is made of: ``members[starts[i] : starts[i + 1]]``, ascending."""

    starts: NDArray[np.int64]
    members: NDArray[np.int64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        return np.diff(self.starts)

    @classmethod
    def of(cls, group: NDArray[np.int64], members: NDArray[np.int64], num_groups: int) -> Members:
        """From the group, of 0 … num_groups - 1, of each member; a member named twice in one group counts once."""
        order = np.lexsort((members, group))
        group, members = group[order], members[order]
        is_new = np.ones(len(group), bool)
        is_new[1:] = (group[1:] != group[:-1]) | (members[1:] != members[:-1])
        sizes = np.bincount(group[is_new], minlength=num_groups)
        return cls(starts=np.concatenate([[0], np.cumsum(sizes)]), members=members[is_new])

    def take(self, groups: NDArray[np.int64]) -> Members:
        """Some of the groups, numbered anew in that order."""
        sizes = self.sizes[groups]
        _, _, place = _grid(np.ones(len(groups), np.int64), sizes)
        cells = np.repeat(self.starts[groups], sizes) + place
        return Members(starts=np.concatenate([[0], np.cumsum(sizes)]), members=self.members[cells])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Spread:
    """Pairs of members of paired groups.

    Attributes:
        left, right: int64 (k,) members.
        pair: int64 (k,) position of the pair of groups that they come from.
        num_possible: pairs of members there are in all; more than k where some were left out.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    pair: NDArray[np.int64]
    num_possible: int

    def __len__(self) -> int:
        return len(self.left)


def spread(left_group: NDArray[np.int64], right_group: NDArray[np.int64], left: Members, right: Members, most: int) -> Spread:
    """Members of paired groups (k,), best pair first, each with ``most`` of the other set at most of its own account.

    All members of a group are alike, so they share their partners: the first ``most`` members of the groups that theirs is
    paired with, in order. A pair of members comes if it is of the account of either. Thus there are at most ``most`` times as
    many as there are members.
    """
    a, b = left.sizes[left_group], right.sizes[right_group]
    of_left = _quota(left_group, b, most)
    of_right = _quota(right_group, a, most)
    pair, i, j = _grid(a, of_left)
    # What is not in the account of the left ones: rights beyond their quota, with the lefts of the rights' own account.
    more, k, m = _grid(of_right, b - of_left)
    pairs = np.concatenate([pair, more])
    rows, columns = np.concatenate([i, k]), np.concatenate([j, m + of_left[more]])
    return Spread(
        left=left.members[left.starts[left_group[pairs]] + rows],
        right=right.members[right.starts[right_group[pairs]] + columns],
        pair=pairs,
        num_possible=sum((a.astype(object) * b).tolist()),
    )


def _quota(group: NDArray[np.int64], sizes: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """int64 (k,): how many members of each partner a group takes, if it takes ``most`` in the order of its pairs."""
    order = np.argsort(group, kind="stable")
    ordered = sizes[order]
    before = np.cumsum(ordered) - ordered
    is_head = _within(group[order]) == 0
    start = np.maximum.accumulate(np.where(is_head, before, 0))
    quota = np.empty(len(group), np.int64)
    quota[order] = np.clip(most - (before - start), 0, ordered)
    return quota


def _grid(
    heights: NDArray[np.int64], widths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of each of k grids every cell: number of the grid, row, column."""
    cells = heights * widths
    grid = np.repeat(np.arange(len(cells)), cells)
    place = np.arange(len(grid)) - np.repeat(np.cumsum(cells) - cells, cells)
    row, column = np.divmod(place, np.maximum(widths[grid], 1))
    return grid, row, column
