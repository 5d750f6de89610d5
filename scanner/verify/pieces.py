"""A candidate group into the pieces that pixels uphold: members against a leader, the refuted among themselves, and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scanner.images.relation import NEAR, OTHER, TEMPLATE, Relations

Compare = Callable[[NDArray[np.int64], NDArray[np.int64]], Relations]
"""Relations of members (n,) to their leaders (n,), both as positions among the files."""


@dataclass(kw_only=True, slots=True, eq=False)
class Piece:
    """Files that are one picture, or one template, by the test against their leader.

    Attributes:
        group: number of the candidate group.
        leader: position of the file that stands for the piece.
        files: int64 (m,) positions, the leader first.
        relation: int8 (m,) to the leader.
        distance, whole_distance: float32 (m,), 0 for the leader.
        differs: bool (m, GRID, GRID).
        is_first: whether the leader is the candidates' representative.
        num_refuted: files of the group that were compared with this leader and are other pictures.
        is_unresolved: what the rounds did not come to: never compared among themselves.
    """

    group: int
    leader: int
    files: NDArray[np.int64]
    relation: NDArray[np.int8]
    distance: NDArray[np.float32]
    whole_distance: NDArray[np.float32]
    differs: NDArray[np.bool_]
    is_first: bool = False
    num_refuted: int = 0
    is_unresolved: bool = False


@dataclass(kw_only=True, slots=True)
class _Open:
    """A group whose files are not all in a piece yet; ``rest`` in the order in which they may lead."""

    group: int
    rest: NDArray[np.int64]
    pieces: list[Piece] = field(default_factory=list)


def split(
    groups: list[NDArray[np.int64]], weight: NDArray[np.int64], compare: Compare, *, max_rounds: int, min_template_weight: float
) -> list[list[Piece]]:
    """Pieces of each group.

    Greedy: the first file leads; those that pass the test against it are its piece; of the others the first leads, and so on.
    All groups go through a round together. A chain A ~ B ~ C falls into what B, and then A or C, is close to.

    Args:
        groups: positions of the files of each, in the order in which they may lead.
        weight: (files,) images that are this file.
        max_rounds: leaders of a group, at most; what is left then is one piece, ``is_unresolved``.
        min_template_weight: of the images of a piece, the share that must be other members of the template: of fewer, those are
            split off as other pictures.
    """
    state = [_Open(group=i, rest=files) for i, files in enumerate(groups)]
    for round_ in range(max_rounds):
        alive = [one for one in state if len(one.rest)]
        if not alive:
            break
        tested = [one for one in alive if len(one.rest) > 1]
        members = np.concatenate([one.rest[1:] for one in tested]) if tested else np.empty(0, np.int64)
        leaders = np.concatenate([np.repeat(one.rest[0], len(one.rest) - 1) for one in tested]) if tested else members
        found = compare(members, leaders) if len(members) else None
        start = 0
        for one in alive:
            stop = start + len(one.rest) - 1
            _close(one, found, slice(start, stop), weight, min_template_weight, is_first=round_ == 0)
            start = stop
    for one in state:
        if len(one.rest):
            one.pieces.append(_unresolved(one))
    return [one.pieces for one in state]


def _close(
    one: _Open, found: Relations | None, rows: slice, weight: NDArray[np.int64], min_template_weight: float, *, is_first: bool
) -> None:
    """Takes the leader's piece out of the rest."""
    leader, members = one.rest[:1], one.rest[1:]
    if found is None or not len(members):
        one.pieces.append(_alone(one.group, leader, is_first=is_first))
        one.rest = members
        return
    relation = found.relation[rows]
    is_template = relation == TEMPLATE
    in_template, in_piece = weight[members[is_template]].sum(), weight[members[relation != OTHER]].sum() + weight[leader].sum()
    if in_template < min_template_weight * in_piece:
        relation = np.where(is_template, OTHER, relation).astype(np.int8)
    stays = relation != OTHER
    piece = _alone(one.group, np.concatenate([leader, members[stays]]), is_first=is_first)
    piece.relation[1:] = relation[stays]
    piece.distance[1:] = found.distance[rows][stays]
    piece.whole_distance[1:] = found.whole_distance[rows][stays]
    piece.differs[1:] = found.differs[rows][stays]
    piece.num_refuted = int((~stays).sum())
    one.pieces.append(piece)
    one.rest = members[~stays]


def _alone(group: int, files: NDArray[np.int64], *, is_first: bool) -> Piece:
    """A piece whose files are all its leader, until told otherwise."""
    from scanner.images.align import GRID

    m = len(files)
    return Piece(
        group=group,
        leader=int(files[0]),
        files=files,
        relation=np.full(m, NEAR, np.int8),
        distance=np.zeros(m, np.float32),
        whole_distance=np.zeros(m, np.float32),
        differs=np.zeros((m, GRID, GRID), bool),
        is_first=is_first,
    )


def _unresolved(one: _Open) -> Piece:
    piece = _alone(one.group, one.rest, is_first=False)
    piece.is_unresolved = True
    one.rest = one.rest[:0]
    return piece
