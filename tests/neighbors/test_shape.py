from __future__ import annotations

import numpy as np

from scanner.neighbors.groups import make_groups
from scanner.neighbors.shape import diameters, is_chain
from scanner.search.forest import components


def on_circle(degrees):
    angle = np.deg2rad(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float16)


def groups_of(labels):
    return make_groups(np.array(labels), np.zeros(len(labels), int), np.zeros(len(labels), int))


def test_a_chain_is_as_long_as_its_ends_are_apart():
    x = on_circle([20, 0, 40, 60, 100, 101, 200])
    found = diameters(x, groups_of([0, 0, 0, 0, 4, 4, 6]))
    assert found.group.tolist() == [0, 4]
    assert list(zip(found.left.tolist(), found.right.tolist(), strict=True)) == [(1, 3), (4, 5)]
    np.testing.assert_allclose(found.similarity, np.cos(np.deg2rad([60, 1])), atol=1e-3)
    assert is_chain(found.similarity, np.cos(np.deg2rad(29))).tolist() == [True, False]
    assert is_chain(found.similarity, np.cos(np.deg2rad(31))).tolist() == [False, False]


def test_copies_are_two_members_and_no_groups_are_none():
    found = diameters(on_circle([10, 10, 10]), groups_of([0, 0, 0]))
    assert (found.left < found.right).all()
    assert found.similarity.tolist() == [1]
    assert len(diameters(on_circle([1, 2]), groups_of([0, 1])).group) == 0


def test_it_is_at_least_half_the_widest_angle():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((300, 6))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16)
    unit = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    cosine = np.clip(unit @ unit.T, -1, 1)
    labels = components(300, *np.nonzero(np.triu(cosine > 0.85, 1)))
    groups = groups_of(labels)
    found = diameters(x, groups)
    num_large = 0
    for k, group in enumerate(found.group):
        rows = groups.rows[groups.group == group]
        widest = np.arccos(cosine[np.ix_(rows, rows)].min())
        assert widest / 2 - 1e-3 <= np.arccos(found.similarity[k]) <= widest + 1e-3
        num_large += len(rows) > 4
    assert num_large > 2
