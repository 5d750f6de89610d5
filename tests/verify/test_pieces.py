from __future__ import annotations

import numpy as np
import pytest

from scanner.images.align import GRID
from scanner.images.relation import NEAR, OTHER, TEMPLATE, Relations
from scanner.verify.pieces import split


def comparing(relation_of):
    """A compare that asks ``relation_of(member, leader)`` and counts what it was asked."""
    asked = []

    def compare(members, leaders):
        asked.extend(zip(members.tolist(), leaders.tolist(), strict=True))
        relation = np.array([relation_of(a, b) for a, b in asked[len(asked) - len(members) :]], np.int8)
        distance = np.where(relation == NEAR, 0.1, 0.9).astype(np.float32)
        return Relations(
            relation=relation, distance=distance, whole_distance=distance,
            differs=np.zeros((len(members), GRID, GRID), bool), is_mirrored=np.zeros(len(members), bool),
        )  # fmt: skip

    return compare, asked


def pieces(groups, relation_of, *, weight=None, max_rounds=64, min_template_weight=0.1):
    compare, asked = comparing(relation_of)
    files = [np.array(group) for group in groups]
    weight = np.ones(sum(map(len, files)), np.int64) if weight is None else np.array(weight)
    found = split(files, weight, compare, max_rounds=max_rounds, min_template_weight=min_template_weight)
    return found, asked


def test_a_chain_falls_into_its_true_pictures():
    picture = [0, 0, 1, 1, 1, 2, 0]
    found, asked = pieces([range(7)], lambda a, b: NEAR if picture[a] == picture[b] else OTHER)
    assert [sorted(piece.files.tolist()) for piece in found[0]] == [[0, 1, 6], [2, 3, 4], [5]]
    assert [piece.is_first for piece in found[0]] == [True, False, False]
    assert [piece.num_refuted for piece in found[0]] == [4, 1, 0]
    assert len(asked) == 6 + 3, "members against leaders, never all pairs"


def test_groups_go_through_together_and_keep_apart():
    found, asked = pieces([[0, 1, 2], [3], [4, 5]], lambda a, b: NEAR if (a, b) != (2, 0) else OTHER)
    assert [[piece.files.tolist() for piece in group] for group in found] == [[[0, 1], [2]], [[3]], [[4, 5]]]
    assert set(asked) == {(1, 0), (2, 0), (5, 4)}


def test_what_the_rounds_do_not_come_to_stays_together():
    found, _ = pieces([range(6)], lambda a, b: OTHER, max_rounds=2)
    assert [piece.files.tolist() for piece in found[0]] == [[0], [1], [2, 3, 4, 5]]
    assert [piece.is_unresolved for piece in found[0]] == [False, False, True]


@pytest.mark.parametrize(("copies", "expected"), [(4, [[0, 1, 2]]), (40, [[0, 1], [2]])])
def test_one_other_picture_among_many_copies_makes_no_template(copies, expected):
    """File 1 is a near copy that ``copies`` images hold; file 2 is in the leader's layout, once."""
    found, _ = pieces([range(3)], lambda a, b: TEMPLATE if a == 2 else NEAR, weight=[1, copies, 1])
    assert [piece.files.tolist() for piece in found[0]] == expected


def test_an_empty_group_has_no_pieces():
    found, asked = pieces([[], [0]], lambda a, b: NEAR)
    assert [len(group) for group in found] == [0, 1]
    assert asked == []
