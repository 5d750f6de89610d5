"""Part 3, must show 5: between-set and incremental searches give the pairs of one scan of the union."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from search.oracle import join_pairs

from scanner.core.config import ComputeConfig, RunConfig, override, resolve
from scanner.core.schemas import TABLES
from scanner.core.store import Store
from scanner.lab.planted import open_planted
from scanner.lab.vectors import PlantedVectors
from scanner.neighbors.rows import find_copies, read_rows
from scanner.search.exact import exact_blocks, searched_threshold
from scanner.search.join import ThresholdJoin

NUM_IMAGES, SHARD_ROWS, SEED = 1_500, 250, 33_003
SEARCHED = ("links", "pairs", "candidates", "candidate_shape", "thresholds", "neighbors")
RANKED = ("group_risk", "group_captions", "prompts")


@pytest.mark.parametrize("background", ["isotropic", "clip"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_between_and_within_are_one_join_of_the_union(background, share):
    x = PlantedVectors(
        n=8_000, d=128, seed=5, background=background, grouped_share=0.5, largest=300, cosines=(0.9, 1.0), exact_share=0.3
    ).rows()
    threshold, cut = 0.95, int(share * len(x))
    old, new = x[:cut], x[cut:]
    assert len(set(map(bytes, old)) & set(map(bytes, new))) > 20, "exact copies lie across the sets"

    def pairs(blocks, a, b, shift_left=0, shift_right=0):
        found = [
            (left + shift_left, right + shift_right, similarity)
            for block in exact_blocks(blocks, a, b, threshold)
            for left, right, similarity in zip(block.left.tolist(), block.right.tolist(), block.similarity.tolist(), strict=True)
        ]
        assert len({pair[:2] for pair in found}) == len(found), "each pair comes once"
        return set(found)

    low = searched_threshold(threshold)
    between = pairs(ThresholdJoin(x=old, y=new, threshold=low).blocks(), old, new, 0, cut)
    of_old, of_new = pairs(join_pairs(old, low), old, old), pairs(join_pairs(new, low), new, new, cut, cut)
    union = pairs(join_pairs(x, low), x, x)
    print(f"\n{background}: {len(of_old):,} + {len(between):,} + {len(of_new):,} = {len(union):,} pairs")
    assert min(map(len, (between, of_old, of_new))) > 50
    assert len(between) + len(of_old) + len(of_new) == len(union)
    assert between | of_old | of_new == union


@pytest.fixture(scope="module")
def tars(scanner, tmp_path_factory):
    out = tmp_path_factory.mktemp("set")
    scanner("lab", "make", "--images", NUM_IMAGES, "--seed", SEED, "--shard-rows", SHARD_ROWS, "--out", out)
    found = sorted(Path(open_planted(str(out)).source_url).glob("*.tar"))
    assert len(found) == NUM_IMAGES // SHARD_ROWS
    return found


@pytest.mark.parametrize(
    ("encoder", "options"), [("small", ()), ("small", ("--linkage", "leader")), ("pixels", ("--pairs", "all"))]
)
def test_a_set_scanned_in_two_steps_is_one_scan(encoder, options, tars, scanner, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    # A part is a tar and its batches are its own, so that both ways encode the same batches.
    command = ("scan", place, "--encoder", encoder, "--part-rows", SHARD_ROWS, "-q", *options)

    for tar in tars[: len(tars) // 2]:
        shutil.copy2(tar, place)
    scanner(*command, "--out", tmp_path / "steps")
    steps = Store(str(tmp_path / "steps"))
    num_old = steps.read("embeddings", ["image_id"]).num_rows
    first = steps.manifest("links").metadata
    assert first["searched"] == "all"

    for tar in tars[len(tars) // 2 :]:
        shutil.copy2(tar, place)
    scanner(*command, "--out", tmp_path / "steps")
    scanner(*command, "--out", tmp_path / "whole")
    whole = Store(str(tmp_path / "whole"))
    for table in (*SEARCHED, *RANKED, "images", "embeddings"):
        key = [(name, "ascending") for name in TABLES[table].key]
        ours, expected = (store.read(table).sort_by(key) for store in (steps, whole))
        assert ours.num_rows > 0, table
        for column in expected.column_names:
            assert ours[column].equals(expected[column]), f"{table}.{column}"

    n = whole.read("embeddings", ["image_id"]).num_rows
    num_new = n - num_old
    one, two = (store.manifest("links").metadata for store in (whole, steps))
    print(f"\n{num_old:,} + {num_new:,} images, pairs compared: {first['num_compared']:,}, then {two['num_compared']:,}; "
          f"at once {one['num_compared']:,}")  # fmt: skip
    assert (one["searched"], two["searched"]) == ("all", "incremental")
    assert 0 < two["num_compared"] <= num_new * num_old + num_new * (num_new - 1) // 2
    # Classes of copies are what is compared. Old ones meet no old one but those that gained a copy, whose copy meets them all.
    copies = find_copies(read_rows(whole, ComputeConfig()), resolve(override(RunConfig(), {"encoder.name": encoder})).neighbors)
    old, union = copies.classes(num_old), copies.classes()
    num_grown = int((union.counts[: len(old.first)] > old.counts).sum())
    assert num_grown > 5, "copies of old images are among the new ones"
    assert two["num_compared"] == one["num_compared"] - first["num_compared"] + num_grown * len(old.first)
