"""Decisions against a plain reading of the rule, group by group."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.export.decide import NOBODY, decide


def oracle(group, image_id, scores, keep, has_weights):
    """Kept, weight, rule and winner of each row, by sorting tuples."""
    r = len(scores[0]) if len(scores) else 0
    kept, weight, rule, winner = {}, {}, {}, {}

    def told(a, b):
        return next((i for i in range(r) if scores[a][i] != scores[b][i]), r)

    for label in set(group):
        rows = sorted((i for i in range(len(group)) if group[i] == label), key=lambda i: (*(-s for s in scores[i]), image_id[i]))
        for place, row in enumerate(rows):
            if has_weights:
                kept[row], weight[row], rule[row], winner[row] = True, min(1, keep / len(rows)), NOBODY, NOBODY
            elif place < keep:
                kept[row], weight[row], winner[row] = True, 1.0, NOBODY
                rule[row] = told(row, rows[keep]) if len(rows) > keep else NOBODY
            else:
                kept[row], weight[row], rule[row], winner[row] = False, 0.0, told(rows[0], row), rows[0]
    return kept, weight, rule, winner


@pytest.mark.parametrize("keep", [1, 2, 5])
@pytest.mark.parametrize("has_weights", [False, True])
@pytest.mark.parametrize("num_scores", [0, 1, 3])
def test_every_row_is_decided_as_by_hand(keep, has_weights, num_scores):
    rng = np.random.default_rng(keep + 10 * num_scores)
    n = 300
    group, image_id = rng.integers(0, 60, n), rng.permutation(n) + 1000
    scores = rng.integers(0, 3, (n, num_scores)).astype(float)
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    found = decide(group, image_id, scores, images_a_group=keep, has_weights=has_weights)
    kept, weight, rule, winner = oracle(group.tolist(), image_id.tolist(), scores.tolist(), keep, has_weights)
    for i in range(n):
        assert found.is_kept[i] == kept[i]
        assert found.weight[i] == pytest.approx(weight[i])
        assert (found.rule[i], found.winner[i]) == (rule[i], winner[i])
        assert found.size[i] == (group == group[i]).sum()


def test_no_rows():
    found = decide(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 2)), images_a_group=1)
    assert len(found.is_kept) == len(found.rule) == 0


def test_a_silent_first_score_decides_and_is_told_of_only_where_no_other_agrees():
    group, image_id = np.zeros(4, np.int64), np.array([7, 8, 9, 3])
    # The first column puts row 0 first. Row 1 has less of the second, row 2 equal scores and a higher id, row 3 more of it.
    scores = np.array([[1, 5.0], [0, 4], [0, 5], [0, 6]])
    found = decide(group, image_id, scores, images_a_group=1, is_first_silent=True)
    assert found.is_kept.tolist() == [True, False, False, False]
    assert found.rule[1:].tolist() == [1, 2, 0]
    assert set(found.winner[1:].tolist()) == {0}
