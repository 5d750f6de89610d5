"""Candidate groups to groups: files compared, pieces formed, kinds and confidence given, classes told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import VerifyConfig
from scanner.images.align import GRID
from scanner.images.cards import CardFacts, card_facts
from scanner.images.looks import Looks
from scanner.images.relation import NEAR, TEMPLATE, Limits, Relations, compare_files, confidence, pack_cells
from scanner.verify.classes import Captions, classify
from scanner.verify.members import CandidateGroup
from scanner.verify.pieces import Piece, split

VARYING_SHARE = 0.25
"""A cell varies in a template where so many of its other members differ from the representative there."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class JudgedGroup:
    """A group as tables ``groups`` and ``group_evidence`` tell it.

    Attributes:
        candidate: what it was split from.
        rows: int64 (m,) positions among the images of the candidate, ascending.
        leader: position of the representative among the images of the candidate.
        kind, confidence: (m,), confidence NaN where the kind is ``unverified``.
        keeps_leader: whether the representative is the candidate's, so that similarities to it are known.
        class_: of the group.
        varying: (GRID, GRID) what varies in a template, None where there is none.
        num_refuted: images of the candidate that were compared with the representative and are another picture.
        max_distance, max_phash_distance: of members of kind near; None without one.
        card: facts of the representative, None where it was not read.
    """

    candidate: CandidateGroup
    rows: NDArray[np.int64]
    leader: int
    kind: NDArray[np.str_]
    confidence: NDArray[np.float32]
    keeps_leader: bool
    is_truncated: bool
    class_: str
    varying: NDArray[np.bool_] | None
    num_refuted: int
    max_distance: float | None
    max_phash_distance: int | None
    card: CardFacts | None
    captions: Captions


def judge(groups: Sequence[CandidateGroup], looks: Looks | None, config: VerifyConfig) -> list[JudgedGroup]:
    """The groups that are left of each candidate group, in the order of the candidates.

    Args:
        looks: of the files of all the groups, one group after another; None where nothing is to be looked at, and every
            candidate group stays as it is.
    """
    if looks is None:
        return [_unlooked(group) for group in groups]
    starts = np.cumsum([0, *(len(group.files) for group in groups)])
    to_split: list[NDArray[np.int64]] = []
    for group, start in zip(groups, starts, strict=False):
        own = np.arange(start, start + len(group.files))
        # Without its representative a group has nothing to be compared with.
        to_split.append(own[looks.is_read[own]] if looks.is_read[start] else own[:0])
    is_blank = np.array([file.is_blank for group in groups for file in group.files], bool)
    aspect = np.array([file.aspect for group in groups for file in group.files], np.float64)
    limits = Limits.of(config)

    def compare(members: NDArray[np.int64], leaders: NDArray[np.int64]) -> Relations:
        return compare_files(looks.pixels, is_blank, aspect, members, leaders, limits)

    weight = np.concatenate([group.weight for group in groups]) if groups else np.empty(0, np.int64)
    pieces = split(to_split, weight, compare, max_rounds=config.max_rounds, min_template_weight=config.template_weight)
    judged: list[JudgedGroup] = []
    for group, start, found in zip(groups, starts.tolist(), pieces, strict=False):
        if not found:
            judged.append(_unlooked(group))
            continue
        for piece in found:
            one = _judged(group, start, piece, looks)
            if one is not None:
                judged.append(one)
    return judged


def _judged(group: CandidateGroup, start: int, piece: Piece, looks: Looks) -> JudgedGroup | None:
    """The piece as a group; None where it is one image."""
    n = len(group.files)
    kind_of, confidence_of = np.full(n, "", "<U10"), np.full(n, np.nan, np.float32)
    own, leader = piece.files - start, piece.leader - start
    if piece.is_unresolved:
        kind_of[own] = "unverified"
    else:
        is_template = piece.relation == TEMPLATE
        kind_of[own] = np.where(is_template, "semantic", "near")
        confidence_of[own] = np.where(is_template, 1 - confidence(piece.whole_distance), confidence(piece.distance))
        digest = looks.pixel_digest[piece.leader]
        same = own[[looks.pixel_digest[file] == digest for file in piece.files.tolist()]]
        kind_of[same], confidence_of[same] = "exact", 1.0
    if piece.is_first:
        unread = np.flatnonzero(~looks.is_read[start : start + n])
        kind_of[unread] = "unverified"
    kind_of[leader], confidence_of[leader] = "exact", 1.0
    kind = kind_of[group.file]
    rows = np.flatnonzero(kind != "")
    if len(rows) < 2:
        return None
    first = group.representative if piece.is_first else int(np.flatnonzero(group.file == leader)[0])
    if piece.is_unresolved:
        is_leaders = rows != first
        kind[rows[is_leaders & (group.file[rows] != leader)]] = "unverified"
    near = piece.files[(piece.relation == NEAR) & (piece.files != piece.leader)] if not piece.is_unresolved else piece.files[:0]
    near_distance = piece.distance[np.isin(piece.files, near)]
    card = card_facts(looks.pixels[piece.leader])
    captions = Captions.of([group.captions[i] for i in rows.tolist()])
    varying = _varying(piece)
    return JudgedGroup(
        candidate=group,
        rows=rows,
        leader=first,
        kind=kind[rows],
        confidence=confidence_of[group.file[rows]],
        keeps_leader=piece.is_first,
        is_truncated=piece.is_unresolved,
        class_=classify(
            blank_share=float(group.is_blank[rows].mean()), is_template=varying is not None, card=card, captions=captions
        ),
        varying=varying,
        num_refuted=int(len(group.image_id) - len(rows)) if piece.is_first else piece.num_refuted,
        max_distance=float(near_distance.max()) if len(near) else None,
        max_phash_distance=_max_phash_distance(group, leader, (near - start).tolist()),
        card=card,
        captions=captions,
    )


def _unlooked(group: CandidateGroup) -> JudgedGroup:
    """A candidate group as it is: members of the representative's file exact, the others unverified."""
    is_exact = group.file == 0
    return JudgedGroup(
        candidate=group,
        rows=np.arange(len(group.image_id)),
        leader=group.representative,
        kind=np.where(is_exact, "exact", "unverified"),
        confidence=np.full(len(group.image_id), np.nan, np.float32),
        keeps_leader=True,
        is_truncated=False,
        class_=classify(blank_share=float(group.is_blank.mean()), is_template=False, card=None, captions=Captions.of([])),
        varying=None,
        num_refuted=0,
        max_distance=None,
        max_phash_distance=None,
        card=None,
        captions=Captions.of(group.captions),
    )


def _varying(piece: Piece) -> NDArray[np.bool_] | None:
    """Cells in which the other members of a template differ from its leader; None where there are none."""
    others = piece.differs[piece.relation == TEMPLATE]
    if not len(others):
        return None
    varying: NDArray[np.bool_] = others.mean(axis=0) >= VARYING_SHARE
    return varying


def _max_phash_distance(group: CandidateGroup, leader: int, files: list[int]) -> int | None:
    own = group.files[leader].phash
    others = [other for file in files if (other := group.files[file].phash) is not None]
    return max(((own ^ other).bit_count() for other in others), default=None) if own is not None else None


def varying_mask(judged: JudgedGroup) -> tuple[float | None, bytes | None]:
    """Share and packed mask of what varies, for the table."""
    if judged.varying is None:
        return None, None
    return float(judged.varying.sum()) / GRID**2, pack_cells(judged.varying)
