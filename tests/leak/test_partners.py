from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from scanner.leak.partners import BestPartners, Members, Pairs, spread


def drawn(seed: int, *, left: int = 30, right: int = 25, share: float = 0.4) -> Pairs:
    rng = np.random.default_rng(seed)
    i, j = np.nonzero(rng.random((left, right)) < share)
    # Few values, so that many tie.
    return Pairs(left=i, right=j, similarity=(rng.integers(0, 6, len(i)) / 8).astype(np.float32))


def kept_by_hand(pairs: Pairs, most: int) -> set[tuple[int, int]]:
    rows = list(zip(pairs.left.tolist(), pairs.right.tolist(), pairs.similarity.tolist(), strict=True))
    kept = set()
    for end in (0, 1):
        by_end = defaultdict(list)
        for row in rows:
            by_end[row[end]].append(row)
        for own in by_end.values():
            kept |= {row[:2] for row in sorted(own, key=lambda row: (-row[2], row[1 - end]))[:most]}
    return kept


@pytest.mark.parametrize("most", [1, 3, 100])
@pytest.mark.parametrize("buffer_pairs", [5, 10_000])
def test_a_pair_stays_if_it_is_among_the_best_of_either_end(most, buffer_pairs):
    pairs = drawn(1)
    best = BestPartners(most, buffer_pairs=buffer_pairs)
    for start in range(0, len(pairs), 17):
        best.add(pairs.take(np.arange(start, min(start + 17, len(pairs)))))
    kept = best.finish()
    assert set(zip(kept.left.tolist(), kept.right.tolist(), strict=True)) == kept_by_hand(pairs, most)
    assert len(kept) == len(kept_by_hand(pairs, most))
    assert (np.diff(kept.similarity) <= 0).all()
    assert best.num_added == len(pairs)
    assert len(kept) <= most * (30 + 25)


def test_the_order_of_arrival_is_no_matter():
    pairs = drawn(2)
    found = []
    for seed in range(3):
        best = BestPartners(2, buffer_pairs=11)
        order = np.random.default_rng(seed).permutation(len(pairs))
        for start in range(0, len(pairs), 5):
            best.add(pairs.take(order[start : start + 5]))
        found.append(best.finish())
    for other in found[1:]:
        assert np.array_equal(other.left, found[0].left)
        assert np.array_equal(other.right, found[0].right)


def groups(seed: int, num: int, largest: int, first: int) -> Members:
    sizes = np.random.default_rng(seed).integers(1, largest + 1, num)
    return Members.of(np.repeat(np.arange(num), sizes), first + np.arange(sizes.sum()), num)


@pytest.mark.parametrize("most", [1, 4, 1000])
def test_members_of_paired_groups_each_keep_their_likest(most):
    pairs = drawn(3, left=8, right=7).best_first()
    left, right = groups(4, 8, 9, 0), groups(5, 7, 9, 1000)
    found = spread(pairs.left, pairs.right, left, right, most)
    rows = list(zip(found.left.tolist(), found.right.tolist(), strict=True))
    assert len(set(rows)) == len(rows), "each once"
    possible = set()
    partners: dict[int, list[int]] = defaultdict(list)
    for a, b in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True):
        ours, theirs = (m.members[m.starts[g] : m.starts[g + 1]].tolist() for m, g in ((left, a), (right, b)))
        possible |= {(x, y) for x in ours for y in theirs}
        for one, others in ((ours, theirs), (theirs, ours)):
            for member in one:
                partners[member] += others
    own = {(member, other) for member, others in partners.items() for other in others[:most]}
    assert set(rows) == {(x, y) for x, y in possible if (x, y) in own or (y, x) in own}
    assert found.num_possible == len(possible)
    assert (len(rows) == len(possible)) == (most == 1000)
    assert len(rows) <= most * (len(left.members) + len(right.members))


def test_a_hundred_thousand_copies_on_both_sides_are_no_square():
    number = 100_000
    left, right = (Members.of(np.zeros(number, np.int64), first + np.arange(number), 1) for first in (0, 10**6))
    zero = np.zeros(1, np.int64)
    found = spread(zero, zero, left, right, 4)
    assert found.num_possible == number**2
    assert len(found) == 2 * 4 * number - 16
    assert len(np.unique(found.left)) == len(np.unique(found.right)) == number, "every one is listed"


def test_one_group_beside_thousands_of_others_is_no_square_either():
    """The commonest placeholder has 20,000 copies here and 20,000 variants there."""
    number = 20_000
    left = Members.of(np.zeros(number, np.int64), np.arange(number), 1)
    right = Members.of(np.arange(number), 10**6 + np.arange(number), number)
    found = spread(np.zeros(number, np.int64), np.arange(number), left, right, 3)
    assert len(found) <= 3 * 2 * number
    assert len(np.unique(found.left)) == len(np.unique(found.right)) == number


def test_groups_taken_anew():
    members = groups(6, 5, 4, 10)
    some = members.take(np.array([3, 0]))
    assert [some.members[some.starts[i] : some.starts[i + 1]].tolist() for i in range(2)] == [
        members.members[members.starts[i] : members.starts[i + 1]].tolist() for i in (3, 0)
    ]
    assert Members.of(np.array([1, 1, 0]), np.array([7, 7, 2]), 3).sizes.tolist() == [1, 1, 0]


def test_nothing_makes_nothing():
    none = np.empty(0, np.int64)
    assert len(BestPartners(3).finish()) == 0
    empty = Members.of(none, none, 0)
    assert len(spread(none, none, empty, empty, 3)) == 0
