"""Part 2, must show 2: groups on a fresh planted set, by `small` at its shipped threshold, beside `pixels` and a MobileNet."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mobilenet import MobileNetEncoder

from scanner.lab.calibrate import calibrate, encode_all
from scanner.lab.planted import make_planted, open_planted, tar_images
from scanner.models.loading import SMALL

NUM_IMAGES, SEED = 20_000, 424_242
"""No training and no calibration ever saw this seed."""
CALIBRATION = {"num_images": 4_000, "seed": 7_001}
"""Of the peer, whose threshold follows the same rule from a set of its own."""
SURE, FAIR = ("exact", "reencode", "resize"), ("crop", "watermark", "border")


@pytest.fixture(scope="module")
def planted(scanner, tmp_path_factory):
    out = tmp_path_factory.mktemp("fresh")
    scanner("lab", "make", "--images", NUM_IMAGES, "--seed", SEED, "--out", out)
    manifest = json.loads((SMALL / "manifest.json").read_text())
    assert SEED not in (manifest["recipe"]["seed"], manifest["recipe"]["calibration_seed"])
    return open_planted(str(out))


def scores(scanner, planted, run, *options):
    """What `scanner lab score` says of a scan with these options; prints it."""
    scanner("scan", *options, "--out", run, "-q")
    folder = planted.truth_path
    print("\n" + scanner("lab", "score", run, "--truth", folder).out)
    return json.loads(scanner("lab", "score", run, "--truth", folder, "--format", "json").out)["groups"]


def line(name, groups):
    by_kind = groups["by_kind"]
    kinds = " ".join(f"{kind} {by_kind[kind]['recall']['value']:.3f}" for kind in (*SURE, "brightness", *FAIR, "mirror"))
    precision = f"{groups['pair_precision']['value']:.4f} (mean of groups {groups['macro_precision']['value']:.4f})"
    recall = f"{groups['pair_recall']['value']:.4f} (mean of pictures {groups['macro_recall']['value']:.4f})"
    return f"| {name} | precision {precision} | recall {recall} | {kinds} |"


def test_small_finds_copies_and_joins_no_strangers(planted, scanner, tmp_path):
    groups = scores(scanner, planted, tmp_path / "run", planted.source_url, "--encoder", "small")
    print(line("small", groups))
    by_kind = groups["by_kind"]
    for kind in SURE:
        assert by_kind[kind]["recall"]["value"] >= 0.98, kind
    for kind in FAIR:
        assert by_kind[kind]["recall"]["value"] >= 0.90, kind
    assert groups["pair_precision"]["value"] >= 0.98
    assert groups["macro_precision"]["value"] >= 0.98
    assert by_kind["mirror"]["recall"]["num_trials"] > 20, "mirrored copies are reported"


def test_pixels_on_the_same_set(planted, scanner, tmp_path):
    groups = scores(scanner, planted, tmp_path / "run", planted.source_url, "--encoder", "pixels")
    print(line("pixels", groups))
    assert groups["by_kind"]["exact"]["recall"]["value"] == 1


def test_a_mobilenet_on_the_same_set(planted, shared, scanner, tmp_path):
    encoder = MobileNetEncoder(shared / "data" / "mobilenet-v1-embedder")
    own = make_planted(str(tmp_path / "own"), workers=2, **CALIBRATION)
    threshold = calibrate(encoder, own, [], seed=CALIBRATION["seed"]).threshold
    truth = {row["key"]: row for row in planted.read_truth().select(["key", "kind", "caption"]).to_pylist()}
    whole = ((key, image) for key, image in tar_images(Path(planted.source_url)) if truth[key]["kind"] != "broken")
    vectors, keys = encode_all(encoder, whole)
    columns = {"key": keys.tolist(), "caption": [truth[key]["caption"] for key in keys.tolist()]}
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]).cast(pa.list_(pa.float32()))
    pq.write_table(pa.table({**columns, "embedding": lists}), tmp_path / "embeddings.parquet")
    options = ("--format", "embeddings-parquet", "--threshold", threshold)
    groups = scores(scanner, planted, tmp_path / "run", tmp_path / "embeddings.parquet", *options)
    print(line(f"mobilenet at {threshold:g}", groups))
    assert groups["by_kind"]["exact"]["recall"]["value"] >= 0.99
