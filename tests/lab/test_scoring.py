"""Group scores against worked-out numbers and a brute-force count over all pairs; the interval against published values."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest

from scanner.core.errors import ConfigError, StoreError
from scanner.lab.scoring import CAUSES, Mean, Share, score_groups

NAMES = ("planted_id", "key", "source_image", "kind", "k", "regime", "family")
TYPES = (pa.int64(), pa.string(), pa.string(), pa.string(), pa.int64(), pa.string(), pa.int64())
TRUTH = [
    (0, "a0", "a0", "exact", 4, "same", None), (0, "a1", "a0", "exact", 4, "same", None),
    (0, "a2", "a0", "crop", 4, "same", None), (0, "a3", "a0", "crop", 4, "same", None),
    (0, "am", "a0", "mirror", 4, "same", None),
    (1, "b0", "b0", "exact", 2, "varied", None), (1, "b1", "b0", "watermark", 2, "varied", None),
    (2, "s0", "s0", "template", 1, "template", 0), (3, "s1", "s1", "template", 1, "template", 0),
    (4, "s2", "s2", "template", 1, "template", 1),
    (5, "t0", "t0", "unique", 1, "trap", None), (6, "t1", "t1", "unique", 1, "trap", None),
    (7, "x", "x", "blank", 1, "single", None), (8, "y", "y", "blank", 1, "single", None),
    (9, "z", "z", "blank", 1, "single", None),
    (10, "p0", "p0", "placeholder", 2, "varied", None), (10, "p1", "p0", "placeholder", 2, "varied", None),
    (11, "q0", "q0", "placeholder", 1, "varied", None),
    (12, "u", "u", "unique", 1, "single", None), (13, "v", "v", "outlier", 1, "single", None),
    (14, "w", "w", "broken", 1, "single", None),
]  # fmt: skip
PERFECT = {10: ["a0", "a1", "a2", "a3"], 20: ["b0", "b1"]}


def truth_table(rows=TRUTH):
    columns = list(zip(*rows, strict=True))
    return pa.table({name: pa.array(column, type_) for name, column, type_ in zip(NAMES, columns, TYPES, strict=True)})


def images_of(keys):
    """Image ids run against the order of the keys."""
    return pa.table({"image_id": pa.array([1000 - i for i in range(len(keys))], pa.int64()), "key": list(keys)})


def groups_of(images, groups):
    id_of = dict(zip(images["key"].to_pylist(), images["image_id"].to_pylist(), strict=True))
    pairs = [(id_of[key], group) for group, keys in groups.items() for key in keys]
    columns = {"image_id": [image_id for image_id, _ in pairs], "group_id": [group for _, group in pairs]}
    return pa.table({name: pa.array(column, pa.int64()) for name, column in columns.items()})


def score_of(groups, rows=TRUTH):
    """Score of groups given as {group_id: keys}; the images stand in another order than the truth."""
    images = images_of(sorted((row[1] for row in rows), key=lambda key: key[::-1]))
    return score_groups(images, groups_of(images, groups), truth_table(rows))


def error_counts(score):
    return {cause: share.num_hits for cause, share in score.errors.items()}


def test_a_perfect_scan_scores_one():
    score = score_of(PERFECT | {30: ["x", "y", "z"], 40: ["p0", "p1"]})
    assert score.recall == Share(num_hits=7, num_trials=7), "6 pairs of a and 1 of b; the mirrored copy is in no pair"
    assert score.precision == Share(num_hits=7, num_trials=7), "pairs of blanks and of placeholders are in no count"
    assert score.f1 == score.macro_recall.value == score.macro_precision.value == 1
    assert (score.num_groups, score.num_mixed_groups) == (2, 0)
    assert score.by_kind["crop"].recall == Share(num_hits=2, num_trials=2)
    assert score.by_kind["exact"].recall == Share(num_hits=1, num_trials=1), "sources are no trials"
    assert math.isnan(score.by_kind["unique"].recall.value)
    assert score.by_kind["placeholder"].recall.num_trials == 0, "one placeholder is no copy of another"
    assert (score.num_images, score.num_unscanned) == (21, 0)


def test_means_count_pictures_and_groups_once_whatever_their_size():
    score = score_of({10: ["a0", "a1", "a2", "u"]})
    # a: 3 of 6 pairs found, b: 0 of 1. The one group joins 3 right and 3 wrong pairs.
    assert score.recall == Share(num_hits=3, num_trials=7)
    assert score.macro_recall.value == pytest.approx((3 / 6 + 0) / 2)
    assert score.macro_recall.interval == (0, pytest.approx(0.25 + 1.959964 * 0.25))
    assert score.precision == Share(num_hits=3, num_trials=6)
    score = score_of({10: ["a0", "a1", "a2", "u"], 20: ["b0", "b1"], 30: ["x", "y"]})
    assert score.macro_precision == Mean.of(np.array([0.5, 1.0])), "a group of blanks has no counted pair"
    assert score.macro_precision.value == 0.75
    assert score.precision == Share(num_hits=4, num_trials=7)


def test_recall_by_number_of_copies():
    score = score_of({10: ["a0", "a1"], 20: ["a2", "a3"], 30: ["b0", "b1"]})
    assert list(score.by_k) == [2, 4]
    assert score.by_k[4].recall == Share(num_hits=2, num_trials=6)
    assert score.by_k[2].recall == Share(num_hits=1, num_trials=1)
    assert score.by_k[4].macro_recall == Mean.of(np.array([2 / 6]))
    assert score.by_kind["crop"].recall.num_hits == 0, "together, but without their source"


def test_a_mirrored_copy_counts_only_for_its_kind():
    joined = score_of({10: ["a0", "a1", "a2", "a3", "am"]})
    apart = score_of({10: ["a0", "a1", "a2", "a3"]})
    assert joined.by_kind["mirror"].recall == Share(num_hits=1, num_trials=1)
    assert apart.by_kind["mirror"].recall == Share(num_hits=0, num_trials=1)
    assert (joined.recall, joined.precision) == (apart.recall, apart.precision)
    strange = score_of({10: ["am", "u"]})
    assert error_counts(strange)["other"] == 1, "with another picture it is as wrong as any"
    assert strange.by_kind["mirror"].num_wrong == strange.by_kind["unique"].num_wrong == 1


def test_wrong_pairs_are_told_apart_by_what_they_are():
    score = score_of({1: ["s0", "s1"], 2: ["t0", "t1"], 3: ["x", "y", "u"], 4: ["p0", "p1", "q0", "v"], 5: ["s2", "am", "w"]})
    assert error_counts(score) == {"template": 1, "shared_caption": 1, "blank_or_placeholder": 2 + 3, "other": 1}
    assert list(score.errors) == list(CAUSES)
    assert score.num_wrong == score.num_joined == 8
    assert score.num_mixed_groups == score.num_groups == 5
    assert error_counts(score_of({1: ["s0", "s2"], 2: ["t0", "u"], 3: ["x", "p0"]})) == {
        "template": 0, "shared_caption": 0, "blank_or_placeholder": 1, "other": 2,
    }  # fmt: skip


def test_a_broken_file_is_in_no_count():
    assert score_of({1: ["w", "a0", "a1"]}).precision == Share(num_hits=1, num_trials=1)


def test_nothing_found():
    score = score_of({})
    assert score.recall.value == score.macro_recall.value == 0
    assert math.isnan(score.precision.value)
    assert score.macro_precision.num_items == 0
    assert score.f1 == 0


def brute_force(groups, rows):
    """Every figure of a score, by looking at every pair."""
    group_of = {key: group for group, keys in groups.items() for key in keys}
    true, found = defaultdict(int), defaultdict(int)
    right, wrong, causes = defaultdict(int), defaultdict(int), dict.fromkeys(CAUSES, 0)
    wrong_of_kind, right_of_kind = (dict.fromkeys((row[3] for row in rows), 0) for _ in range(2))
    wrong_pairs, wrong_of_k = [], defaultdict(int)
    for p, q in combinations(rows, 2):
        kinds, is_same = {p[3], q[3]}, p[0] == q[0]
        if "broken" in kinds or kinds in ({"blank"}, {"placeholder"}) or (is_same and "mirror" in kinds):
            continue
        group = group_of.get(p[1])
        is_joined = group is not None and group == group_of.get(q[1])
        if is_same:
            true[p[0]] += 1
            found[p[0]] += is_joined
            right[group] += is_joined
            for kind in kinds:
                right_of_kind[kind] += is_joined
        elif is_joined:
            wrong[group] += 1
            for kind in kinds:
                wrong_of_kind[kind] += 1
            wrong_pairs.append((p, q))
            if p[6] is not None and p[6] == q[6]:
                causes["template"] += 1
            elif p[5] == q[5] == "trap":
                causes["shared_caption"] += 1
            elif kinds & {"blank", "placeholder"}:
                causes["blank_or_placeholder"] += 1
            else:
                causes["other"] += 1
    for p, q in wrong_pairs:
        for k in {row[4] for row in (p, q) if true[row[0]]}:
            wrong_of_k[k] += 1
    true = {picture: number for picture, number in true.items() if number}
    precision = [right[g] / (right[g] + wrong[g]) for g in groups if right[g] + wrong[g]]
    copies = defaultdict(lambda: [0, 0])
    for row in rows:
        if row[1] != row[2] and row[3] not in ("blank", "placeholder", "broken"):
            copies[row[3]][1] += 1
            copies[row[3]][0] += row[1] in group_of and group_of[row[1]] == group_of.get(row[2])
    k_of = {row[0]: row[4] for row in rows}
    by_k = {k: (sum(found[p] for p in true if k_of[p] == k), sum(true[p] for p in true if k_of[p] == k)) for k in k_of.values()}
    return {
        "pairs": (sum(true.values()), sum(right.values()) + sum(wrong.values()), sum(found.values())),
        "groups": (len(precision), sum(n > 0 for n in wrong.values())),
        "macro": (np.mean([found[p] / true[p] for p in true]), np.mean(precision)),
        "causes": causes,
        "wrong_of_kind": wrong_of_kind,
        "right_of_kind": right_of_kind,
        "wrong_of_k": {k: wrong_of_k[k] for k, v in by_k.items() if v[1]},
        "copies": dict(copies),
        "by_k": {k: v for k, v in by_k.items() if v[1]},
    }


def random_case(rng):
    """60 rows of all kinds; regimes and families are dealt regardless of kind, so that causes meet in one pair."""
    rows, sources = [], {}
    for i in range(60):
        picture = int(rng.integers(16))
        kinds = {0: ["blank"], 1: ["blank"], 2: ["placeholder"], 3: ["placeholder"], 4: ["broken"]}
        kind = rng.choice(kinds.get(picture, ["exact", "crop", "mirror"] if picture < 10 else ["exact"]))
        source = sources.setdefault(picture, f"k{i}") if picture not in (0, 1, 4) else f"k{i}"
        family = int(rng.integers(3)) if rng.random() < 0.3 else None
        rows.append((picture, f"k{i}", source, str(kind), picture % 5 + 1, str(rng.choice(["trap", "same"])), family))
    # Where a mirrored copy came first, the picture has a source that is a mirror: as allowed as any.
    groups = defaultdict(list)
    for row in rows:
        if rng.random() < 0.8:
            groups[int(rng.integers(8))].append(row[1])
    return dict(groups), [rows[i] for i in rng.permutation(60)]


@pytest.mark.parametrize("seed", range(30))
def test_counts_equal_those_over_all_pairs(seed):
    groups, rows = random_case(np.random.default_rng(seed))
    score, expected = score_of(groups, rows), brute_force(groups, rows)
    assert (score.num_pairs, score.num_joined, score.num_right) == expected["pairs"]
    assert (score.num_groups, score.num_mixed_groups) == expected["groups"]
    assert (score.macro_recall.value, score.macro_precision.value) == pytest.approx(expected["macro"])
    assert error_counts(score) == expected["causes"]
    assert sum(error_counts(score).values()) == score.num_wrong
    assert {kind: s.num_wrong for kind, s in score.by_kind.items()} == expected["wrong_of_kind"]
    assert {kind: s.precision.num_hits for kind, s in score.by_kind.items()} == expected["right_of_kind"]
    assert {k: s.precision.num_trials - s.precision.num_hits for k, s in score.by_k.items()} == expected["wrong_of_k"]
    assert {k: s.precision.num_hits for k, s in score.by_k.items()} == {k: hits for k, (hits, _) in expected["by_k"].items()}
    copies = {kind: [s.recall.num_hits, s.recall.num_trials] for kind, s in score.by_kind.items() if s.recall.num_trials}
    assert copies == expected["copies"]
    assert {k: (s.recall.num_hits, s.recall.num_trials) for k, s in score.by_k.items()} == expected["by_k"]


def test_two_hundred_thousand_rows_are_counted_without_listing_pairs():
    n, k = 200_000, 4
    picture = np.arange(n) // k
    key = pa.array([f"{i:07d}" for i in range(n)])
    truth = pa.table(
        {
            "planted_id": picture, "key": key, "source_image": key.take(pa.array(picture * k)), "kind": ["exact"] * n,
            "k": np.full(n, k), "regime": ["same"] * n, "family": pa.nulls(n, pa.int64()),
        }
    )  # fmt: skip
    # The first half in one group (5e9 pairs), of the rest every picture in its own.
    group = np.where(np.arange(n) < n // 2, 0, picture)
    images = pa.table({"image_id": np.arange(n), "key": key})
    score = score_groups(images, pa.table({"image_id": np.arange(n), "group_id": group}), truth)
    assert score.recall == Share(num_hits=6 * n // k, num_trials=6 * n // k)
    assert score.num_joined == (n // 2) * (n // 2 - 1) // 2 + 6 * (n // 2) // k
    assert (score.num_groups, score.num_mixed_groups) == (n // 2 // k + 1, 1)


def test_images_that_the_run_has_not_seen_count_as_missed():
    images = images_of(["a0", "a1", "b0"])
    score = score_groups(images, groups_of(images, {1: ["a0", "a1"]}), truth_table())
    assert score.num_unscanned == 18
    assert score.recall == Share(num_hits=1, num_trials=7)
    assert "18 of 21 images are not in the run" in score.lines()[0]


def test_a_truth_of_another_set_is_refused():
    none = groups_of(images_of([]), {})
    with pytest.raises(ConfigError, match=r"1 of 2 keys of the run are not in the truth.\n  Give the truth"):
        score_groups(images_of(["a0", "stranger"]), none, truth_table())
    with pytest.raises(ConfigError, match="more than once"):
        score_groups(images_of(["a0", "a0"]), none, truth_table())


def test_a_truth_with_the_same_keys_and_other_captions_is_refused():
    keys = ["a0", "a1", "a2", "b0"]
    none = groups_of(images_of([]), {})
    captions = [f"caption of {row[1]}" for row in TRUTH]
    truth = truth_table().append_column("caption", pa.array(captions))
    seen = ["caption of a0", "caption of a1", "cleaned", None]
    score_groups(images_of(keys).append_column("caption", pa.array(seen)), none, truth)
    seen = ["caption of a0", "another", "text", None]
    with pytest.raises(ConfigError, match="2 of 3 captions differ"):
        score_groups(images_of(keys).append_column("caption", pa.array(seen)), none, truth)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["family", "k"]), "no column k, family"),
        (lambda t: t.set_column(0, "planted_id", pa.array(["x"] * t.num_rows)), "another type"),
        (lambda t: t.set_column(3, "kind", pa.array([None] * t.num_rows, pa.string())), "rows without kind"),
        (lambda t: t.slice(1), "4 source images"),
        (lambda t: pa.concat_tables([t, t.slice(0, 1)]), "names a key twice"),
    ],
)
def test_a_damaged_truth_is_refused(change, message):
    images = images_of(["b0"])
    with pytest.raises(ConfigError, match=message):
        score_groups(images, groups_of(images, {}), change(truth_table()))


def test_groups_of_other_images_are_refused():
    with pytest.raises(StoreError, match="lacks"):
        score_groups(images_of(["a0"]), pa.table({"image_id": [5], "group_id": [5]}), truth_table())


@pytest.mark.parametrize(  # Newcombe 1998, Statistics in Medicine 17, table I, method 3
    ("hits", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(hits, trials, low, high):
    assert Share(num_hits=hits, num_trials=trials).interval == pytest.approx((low, high), abs=5e-5)


def test_the_interval_of_nothing_is_everything():
    assert Share(num_hits=0, num_trials=0).interval == (0, 1)
    assert str(Share(num_hits=9, num_trials=10)) == "9/10 = 0.900 [0.596, 0.982]"


def test_the_interval_of_a_mean_is_the_normal_one():
    mean = Mean.of(np.array([0.2, 0.4, 0.6, 0.8]))
    half = 1.959964 * math.sqrt(0.2 / 3) / 2  # the squares of the deviations sum to 0.2
    assert mean.interval == pytest.approx((0.5 - half, 0.5 + half))
    assert Mean.of(np.array([0.7])).interval == (0, 1), "one item has no spread"
    assert Mean.of(np.zeros(0)).interval == (0, 1)
    assert Mean.of(np.array([0.0, 1.0])).interval == (0, 1), "cut to what a share can be"


def test_the_text_names_every_kind_and_count_that_has_copies():
    text = "\n".join(score_of({10: ["a0", "a1", "a2", "a3", "s0", "s1"]}).lines())
    assert "crop copies with their source            2/2 = 1.000" in text
    assert "wrong pairs                              9; groups that mix pictures: 1" in text
    assert "  template                               1/15 = 0.067" in text
    assert "pairs of pictures that occur 4 times     6/6 = 1.000 [0.610, 1.000]; mean of 1 pictures 1.000 [0.000, 1.000]" in text
    assert "watermark" in text
    assert "unique" not in text
    assert "6/7" in text


def test_json_holds_no_nan():
    document = score_of({}).to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["pair_precision"]["value"] is None
    assert document["by_k"]["4"]["recall"]["num_trials"] == 6
    assert document["by_kind"]["crop"]["recall"]["num_trials"] == 2
