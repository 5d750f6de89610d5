"""The written set is what its truth says, in both layouts."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scanner.core.errors import ConfigError
from scanner.lab.planted import COPY_COUNTS, COPY_KINDS, make_planted, plan

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


def test_rows_shards_and_keys(planted, truth, samples):
    assert planted.num_images == N == len(truth) == len(samples)
    assert sorted(p.name for p in Path(planted.source_url).iterdir()) == ["00000.tar", "00001.tar", "00002.tar"]
    assert [row["key"] for row in truth] == sorted(samples)
    assert not Path(planted.truth_path).is_relative_to(planted.source_url)
    assert planted.num_copies == sum(row["kind"] in COPY_KINDS for row in truth)
    assert planted.copied_share <= 0.4


def test_every_k_and_regime_is_planted(truth):
    groups = defaultdict(list)
    for row in truth:
        groups[row["planted_id"]].append(row)
    copied = [rows for rows in groups.values() if len(rows) > 1 and rows[0]["kind"] != "blank"]
    counts = Counter((len(rows), rows[0]["regime"]) for rows in copied)
    assert set(counts) == {(k, regime) for k in COPY_COUNTS for regime in ("same", "varied")}
    for rows in groups.values():
        assert {row["k"] for row in rows} == {len(rows)}
        if rows[0]["kind"] != "blank":
            assert len({row["source_image"] for row in rows}) == 1
    kinds = Counter(row["kind"] for row in truth if row["kind"] in COPY_KINDS and row["key"] != row["source_image"])
    assert set(kinds) == set(COPY_KINDS)
    assert max(kinds.values()) - min(kinds.values()) <= 1


def test_copies_have_the_bytes_that_their_kind_promises(truth, samples):
    for row in truth:
        image, source = samples[row["key"]]["jpg"], samples[row["source_image"]]["jpg"]
        if row["kind"] in ("exact", "unique", "broken"):
            assert image == source
        elif row["kind"] in COPY_KINDS:
            assert image != source
            same_size = Image.open(io.BytesIO(image)).size == Image.open(io.BytesIO(source)).size
            assert same_size == (row["kind"] not in ("resize", "crop"))


def test_captions_follow_the_regime(truth, samples):
    captions = defaultdict(list)
    for row in truth:
        captions[row["planted_id"], row["regime"], row["kind"] == "blank"].append(samples[row["key"]]["txt"].decode())
    for (_, regime, is_blank), texts in captions.items():
        assert len(set(texts)) == (1 if regime in ("same", "single") else len(texts)), (regime, is_blank)
    trap = Counter(texts[0] for (_, regime, _), texts in captions.items() if regime == "trap")
    assert min(trap.values(), default=0) >= 6, "different images share a caption"


def test_blanks_are_near_constant_and_the_broken_file_does_not_decode(truth, samples):
    spans = {"blank": [], "other": []}
    for row in truth:
        data = samples[row["key"]]["jpg"]
        if row["kind"] == "broken":
            with pytest.raises(OSError, match="truncated"):
                Image.open(io.BytesIO(data)).load()
            continue
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        spans["blank" if row["kind"] == "blank" else "other"].append(np.ptp(pixels, axis=(0, 1)).max())
    assert len(spans["blank"]) >= 3
    assert max(spans["blank"]) <= 8 < min(spans["other"])
    assert sum(row["kind"] == "broken" for row in truth) == 1


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(planted, tmp_path):
    again = make_planted(str(tmp_path / "again"), num_images=N, seed=11, shard_rows=150)
    assert digest(again.source_url) == digest(planted.source_url)
    assert Path(again.truth_path).read_bytes() == Path(planted.truth_path).read_bytes()
    assert plan(N, seed=11, shard_rows=150, as_="webdataset") != plan(N, seed=12, shard_rows=150, as_="webdataset")


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
    assert make_planted(out, num_images=N, seed=11, shard_rows=150) == planted
    assert {p: p.stat().st_mtime_ns for p in Path(planted.source_url).iterdir()} == before
    with pytest.raises(ConfigError, match="another set"):
        make_planted(out, num_images=N, seed=12, shard_rows=150)


@pytest.mark.parametrize(
    ("changes", "message"), [({"num_images": 50}, "too small"), ({"shard_rows": 0}, "holds nothing"), ({"seed": -1}, "negative")]
)
def test_impossible_sets_are_refused(changes, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        make_planted(str(tmp_path), **({"num_images": N, "seed": 0} | changes))
    assert not list(tmp_path.iterdir())
