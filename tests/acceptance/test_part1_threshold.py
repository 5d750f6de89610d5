"""Where the threshold of ``pixels`` in configs/encoders.yaml comes from: the figures of its reason, made again."""

from __future__ import annotations

import csv
from collections import Counter

from scanner.core.config import RunConfig, override, resolve
from scanner.core.store import Store
from scanner.lab.planted import make_planted
from scanner.lab.scoring import score_groups

MAX_SHARE = 1e-5


def test_it_is_the_lowest_thousandth_that_joins_few_unlike_drawings(shared, scanner, tmp_path):
    folder = shared / "data" / "noto-emoji-captioned"
    threshold = resolve(override(RunConfig(), {"encoder.name": "pixels"})).neighbors.cosine
    scanner("scan", folder, "--out", tmp_path / "run", "--encoder", "pixels", "--threshold", 0.99, "--pairs", "all", "-q")
    with (folder / "index.tsv").open() as file:
        family = {row["key"]: row["family"] for row in csv.DictReader(file, delimiter="\t")}
    store = Store(str(tmp_path / "run"))
    family_of = {row["image_id"]: family[row["key"]] for row in store.read("images", ["image_id", "key"]).to_pylist()}
    n, sizes = len(family_of), Counter(family_of.values())
    num_unlike = n * (n - 1) // 2 - sum(size * (size - 1) // 2 for size in sizes.values())
    unlike = [
        row["similarity"] for row in store.read("pairs").to_pylist() if family_of[row["left_id"]] != family_of[row["right_id"]]
    ]
    joined = {t: sum(similarity >= t for similarity in unlike) for t in (0.99, 0.991, 0.992, 0.993, 0.994)}
    print(f"\npairs of unlike drawings: {num_unlike:,}; joined at {joined}")
    assert joined[threshold] <= MAX_SHARE * num_unlike < joined[round(threshold - 0.001, 3)]


def test_it_finds_planted_copies_and_joins_no_two_pictures(scanner, tmp_path):
    planted = make_planted(str(tmp_path / "set"), num_images=4000, seed=77)
    scanner("scan", planted.source_url, "--out", tmp_path / "run", "--encoder", "pixels", "-q")
    store = Store(str(tmp_path / "run"))
    score = score_groups(store.read("images"), store.read("groups"), planted.read_truth())
    print("\n" + "\n".join(score.lines()))
    assert score.num_mixed_groups == 0
    for kind in ("exact", "resize", "brightness"):
        assert score.by_kind[kind].recall.value == 1
    assert score.by_kind["reencode"].recall.value >= 0.95
