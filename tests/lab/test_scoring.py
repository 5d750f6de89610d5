"""Scores against a brute-force count over all pairs, and the Wilson interval against published values."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest

from scanner.lab.scoring import Share, score_groups

TRUTH = [  # planted_id, key, source_image, kind
    (0, "a0", "a0", "exact"), (0, "a1", "a0", "exact"), (0, "a2", "a0", "crop"), (0, "a3", "a0", "crop"),
    (1, "b0", "b0", "exact"), (1, "b1", "b0", "watermark"),
    (2, "x", "x", "blank"), (2, "y", "y", "blank"), (2, "z", "z", "blank"),
    (3, "u", "u", "unique"), (4, "v", "v", "unique"), (5, "w", "w", "broken"),
]  # fmt: skip


def truth_table(rows=TRUTH):
    columns = list(zip(*rows, strict=True))
    return pa.table(dict(zip(("planted_id", "key", "source_image", "kind"), map(list, columns), strict=True)))


def score_of(groups, rows=TRUTH):
    """Score of groups given as {group_id: keys}; image ids run against the order of the keys."""
    id_of = {row[1]: 1000 - i for i, row in enumerate(rows)}
    images = pa.table({"image_id": list(id_of.values()), "key": list(id_of)})
    pairs = [(id_of[key], group) for group, keys in groups.items() for key in keys]
    columns = {"image_id": [image_id for image_id, _ in pairs], "group_id": [group for _, group in pairs]}
    return score_groups(images, pa.table({name: pa.array(c, pa.int64()) for name, c in columns.items()}), truth_table(rows))


def brute_force(groups, rows):
    """Joined, true and right pairs, and by kind right and joined, by looking at every pair."""
    group_of = {key: group for group, keys in groups.items() for key in keys}
    joined = right = true = 0
    by_kind = {row[3]: [0, 0] for row in rows}
    for p, q in combinations(rows, 2):
        if p[3] == q[3] == "blank":
            continue
        is_true, is_joined = p[0] == q[0], p[1] in group_of and group_of[p[1]] == group_of.get(q[1])
        true, joined, right = true + is_true, joined + is_joined, right + (is_true and is_joined)
        for kind in {p[3], q[3]}:
            by_kind[kind][0] += is_true and is_joined
            by_kind[kind][1] += is_joined
    return true, joined, right, by_kind


def test_a_perfect_scan_scores_one():
    score = score_of({10: ["a0", "a1", "a2", "a3"], 20: ["b0", "b1"], 30: ["x", "y", "z"]})
    assert score.recall.value == score.precision.value == score.f1 == 1
    assert score.num_pairs == 7
    assert score.num_mixed_groups == 0
    assert score.by_kind["crop"].recall == Share(num_hits=2, num_trials=2)
    assert score.by_kind["exact"].recall == Share(num_hits=1, num_trials=1), "sources are no trials"
    assert math.isnan(score.by_kind["unique"].recall.value)


def test_a_lost_copy_and_a_joined_stranger_show_in_their_kinds():
    score = score_of({10: ["a0", "a1", "a2", "u"], 20: ["b0", "b1", "x", "y"]})
    assert score.by_kind["crop"].recall == Share(num_hits=1, num_trials=2)
    assert score.by_kind["unique"].precision == Share(num_hits=0, num_trials=3)
    assert score.by_kind["blank"].precision == Share(num_hits=0, num_trials=4), (
        "two blanks are no pair, a blank and a picture are"
    )
    assert score.num_mixed_groups == 2
    assert (score.num_pairs, score.num_joined, score.num_right) == (7, 6 + 5, 3 + 1)


def test_nothing_found():
    score = score_of({})
    assert score.recall.value == 0
    assert math.isnan(score.precision.value)
    assert score.f1 == 0


@pytest.mark.parametrize("seed", range(20))
def test_counts_equal_those_over_all_pairs(seed):
    rng = np.random.default_rng(seed)
    kinds = ["exact", "crop", "unique", "blank", "broken"]
    rows, sources = [], {}
    for i in range(60):
        picture = int(rng.integers(12))
        kind = "blank" if picture == 0 else kinds[rng.integers(3)]
        rows.append((picture, f"k{i}", sources.setdefault(picture, f"k{i}"), kind))
    groups = {}
    for row in rows:
        if rng.random() < 0.8:
            groups.setdefault(int(rng.integers(8)), []).append(row[1])
    score = score_of(groups, rows)
    true, joined, right, by_kind = brute_force(groups, rows)
    assert (score.num_pairs, score.num_joined, score.num_right) == (true, joined, right)
    assert {k: [s.precision.num_hits, s.precision.num_trials] for k, s in score.by_kind.items()} == by_kind


def test_another_sets_keys_and_double_keys_are_refused():
    no_groups = pa.table({"image_id": pa.array([], pa.int64()), "group_id": pa.array([], pa.int64())})
    with pytest.raises(ValueError, match="1 keys are not in the truth"):
        score_groups(pa.table({"image_id": [1, 2], "key": ["a0", "stranger"]}), no_groups, truth_table())
    with pytest.raises(ValueError, match="occurs twice"):
        score_groups(pa.table({"image_id": [1, 2], "key": ["a0", "a0"]}), no_groups, truth_table())


@pytest.mark.parametrize(  # Newcombe 1998, Statistics in Medicine 17, table I, method 3
    ("hits", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(hits, trials, low, high):
    assert Share(num_hits=hits, num_trials=trials).interval == pytest.approx((low, high), abs=5e-5)


def test_the_interval_of_nothing_is_everything():
    assert Share(num_hits=0, num_trials=0).interval == (0, 1)
    assert str(Share(num_hits=9, num_trials=10)) == "9/10 = 0.900 [0.596, 0.982]"


def test_the_text_names_every_kind_that_has_copies():
    text = "\n".join(score_of({10: ["a0", "a1", "a2", "a3"]}).lines())
    assert "crop copies with their source     2/2 = 1.000" in text
    assert "watermark" in text
    assert "unique" not in text
    assert "6/7" in text
