"""The written set is what its truth says, in both layouts."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scanner.core.errors import ConfigError
from scanner.lab import planted as module
from scanner.lab.plan import COPY_KINDS, Plan
from scanner.lab.planted import make_planted, open_planted

N = 400


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return make_planted(str(tmp_path_factory.mktemp("planted")), num_images=N, seed=11, shard_rows=150)


@pytest.fixture(scope="module")
def truth(planted):
    return pq.read_table(planted.truth_path).to_pylist()


@pytest.fixture(scope="module")
def samples(planted):
    """Image and caption by key, as the tars hold them."""
    found = defaultdict(dict)
    for tar in sorted(Path(planted.source_url).iterdir()):
        with tarfile.open(tar) as archive:
            for member in archive:
                key, suffix = member.name.split(".")
                assert member.mtime == 0
                assert suffix not in found[key]
                found[key][suffix] = archive.extractfile(member).read()
    return found


def digest(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(Path(folder).rglob("*"))
        if p.is_file()
    }


def pixels(data, size=None):
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image if size is None else image.resize(size), float)


def test_rows_shards_and_keys(planted, truth, samples):
    assert planted.num_images == N == len(truth) == len(samples)
    assert sorted(p.name for p in Path(planted.source_url).iterdir()) == ["00000.tar", "00001.tar", "00002.tar"]
    assert [row["key"] for row in truth] == sorted(samples)
    assert len({(row["planted_id"], row["copy"]) for row in truth}) == N
    root = Path(planted.truth_path).parent
    names = ["held_out.parquet", "manifest.json", "shards", "truth.parquet"]
    assert sorted(p.name for p in root.iterdir()) == names, "nothing else stays behind"
    assert planted.num_copies == sum(row["kind"] in COPY_KINDS for row in truth)
    assert planted.copied_share <= 0.4


def test_copies_have_the_bytes_that_their_kind_promises(truth, samples):
    seen = Counter()
    for row in truth:
        image, source = samples[row["key"]]["jpg"], samples[row["source_image"]]["jpg"]
        seen[row["kind"]] += 1
        if row["kind"] == "mirror":
            size = Image.open(io.BytesIO(source)).size
            assert np.abs(pixels(image)[:, ::-1] - pixels(source)).mean() < 3
            assert size == Image.open(io.BytesIO(image)).size
        elif row["kind"] in COPY_KINDS and row["kind"] != "exact":
            assert image != source
            same_size = Image.open(io.BytesIO(image)).size == Image.open(io.BytesIO(source)).size
            assert same_size == (row["kind"] not in ("resize", "crop", "border"))
        elif row["kind"] != "placeholder" or row["copy"] % 2 == 0:
            assert image == source
    assert set(COPY_KINDS) | {"mirror", "template", "placeholder", "blank", "outlier", "broken", "unique"} == set(seen)


def test_captions_follow_the_regime_and_stand_in_the_truth(truth, samples):
    captions = defaultdict(list)
    for row in truth:
        assert samples[row["key"]]["txt"].decode() == row["caption"]
        assert json.loads(samples[row["key"]]["json"])["caption"] == row["caption"]
        if row["kind"] != "mirror":
            captions[row["planted_id"], row["regime"]].append(row["caption"])
    for (_, regime), texts in captions.items():
        assert len(set(texts)) == (len(texts) if regime == "varied" else 1), regime
    trap = Counter(texts[0] for (_, regime), texts in captions.items() if regime == "trap")
    assert min(trap.values()) >= 6, "different images share a caption"
    family = [row["caption"] for row in truth if row["kind"] == "template"]
    assert len(set(family)) == len(family) == Plan(num_images=N, seed=11).sections["template"]


def test_a_template_family_is_equal_outside_a_region_that_varies(truth, samples):
    families = defaultdict(list)
    for row in truth:
        if row["family"] is not None:
            families[row["family"]].append(pixels(samples[row["key"]]["jpg"]))
    assert len(families) >= 2
    for members in families.values():
        assert len({image.shape for image in members}) == 1
        spread = np.ptp(np.stack(members[:8]), axis=0).max(axis=2)
        varying = (spread > 60).mean()
        assert 0.12 < varying < 0.5, "at least 15 % of the area, a little of which happens to agree"
        assert (spread < 25).mean() > 0.5


def test_blanks_are_near_constant_and_the_broken_file_does_not_decode(truth, samples):
    spans = {"blank": [], "other": []}
    for row in truth:
        data = samples[row["key"]]["jpg"]
        if row["kind"] == "broken":
            with pytest.raises(OSError, match="truncated"):
                Image.open(io.BytesIO(data)).load()
            continue
        spans["blank" if row["kind"] == "blank" else "other"].append(np.ptp(pixels(data), axis=(0, 1)).max())
    assert len(spans["blank"]) >= 3
    assert max(spans["blank"]) <= 8 < min(spans["other"])
    assert sum(row["kind"] == "broken" for row in truth) == 1


def test_held_out_captions_stand_nowhere_and_half_share_words_with_a_repeated_picture(planted, truth):
    held_out = planted.read_held_out().to_pylist()
    assert len(held_out) >= 100
    assert not {row["prompt"] for row in held_out} & {row["caption"] for row in truth}
    subject = {row["planted_id"]: row["caption"] for row in truth if row["copy"] == 0 and row["regime"] == "same"}
    largest = max(row["k"] for row in truth if row["regime"] == "same")
    shared = [row for row in held_out if row["kind"] == "shares_words"]
    assert len(shared) == len(held_out) // 2
    checked = 0
    for row in shared:
        if caption := subject.get(row["planted_id"]):
            checked += 1
            assert row["prompt"].split()[:2] == caption.split()[:2]
    assert checked > 10
    assert {row["k"] for row in truth if row["planted_id"] in {r["planted_id"] for r in shared}} == {largest}


def test_the_same_seed_gives_the_same_bytes_whoever_draws_and_another_seed_others(planted, tmp_path):
    again = make_planted(str(tmp_path / "again"), num_images=N, seed=11, shard_rows=150, workers=2)
    assert digest(again.source_url) == digest(planted.source_url)
    assert again.read_truth() == planted.read_truth()
    assert Path(again.held_out_path).read_bytes() == Path(planted.held_out_path).read_bytes()
    one, other = Plan(num_images=N, seed=11), Plan(num_images=N, seed=12)
    assert list(one.rows(0, N)) != list(other.rows(0, N))


def test_a_folder_holds_the_same_images(planted, truth, samples, tmp_path):
    folder = make_planted(str(tmp_path / "f"), num_images=N, seed=11, shard_rows=150, as_="folder")
    rows = pq.read_table(folder.truth_path).to_pylist()
    for row, other in zip(rows, truth, strict=True):
        path = Path(folder.source_url) / row["key"]
        assert path.read_bytes() == samples[other["key"]]["jpg"]
        assert path.with_suffix(".txt").read_bytes() == samples[other["key"]]["txt"]
        assert (row["planted_id"], row["kind"]) == (other["planted_id"], other["kind"])


def test_a_finished_set_is_left_alone_and_another_is_not_overwritten(planted):
    before = {p: p.stat().st_mtime_ns for p in Path(planted.source_url).iterdir()}
    out = str(Path(planted.truth_path).parent)
    assert make_planted(out, num_images=N, seed=11, shard_rows=150) == planted == open_planted(out)
    assert {p: p.stat().st_mtime_ns for p in Path(planted.source_url).iterdir()} == before
    with pytest.raises(ConfigError, match="another set"):
        make_planted(out, num_images=N, seed=12, shard_rows=150)


def test_an_interrupted_set_goes_on_after_its_last_whole_shard(planted, tmp_path, monkeypatch):
    real = module.pictures.image_file
    calls = []

    def failing(row, seed):
        calls.append(row)
        if len(calls) == 200:
            raise KeyboardInterrupt
        return real(row, seed)

    monkeypatch.setattr(module.pictures, "image_file", failing)
    out = str(tmp_path / "set")
    with pytest.raises(KeyboardInterrupt):
        make_planted(out, num_images=N, seed=11, shard_rows=150)
    with pytest.raises(ConfigError, match="no planted set"):
        open_planted(out)
    calls[:] = [None] * 1000
    resumed = make_planted(out, num_images=N, seed=11, shard_rows=150)
    assert len(calls) - 1000 == N - 150, "the first shard was not drawn again"
    assert digest(resumed.source_url) == digest(planted.source_url)
    assert resumed.read_truth() == planted.read_truth()


@pytest.mark.parametrize(
    ("changes", "message"), [({"num_images": 50}, "too small"), ({"shard_rows": 0}, "holds nothing"), ({"seed": -1}, "negative")]
)
def test_impossible_sets_are_refused(changes, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        make_planted(str(tmp_path), **({"num_images": N, "seed": 0} | changes))
    assert not list(tmp_path.iterdir())
