"""Whole comparisons of small scanned runs: kinds, several sets side by side, resume, and what becomes of stale ones."""

from __future__ import annotations

import hashlib
import io
import shutil
from dataclasses import replace

import numpy as np
import pytest
from leak.making import QUIET, against, picture_run, vector_config, vector_run
from pictures import sample, write_tar
from PIL import Image

from scanner.core.config import override
from scanner.core.errors import ConfigError
from scanner.core.store import Store
from scanner.core.urls import public
from scanner.lab.scenes import SCENES
from scanner.leak import records, stage, verdicts
from scanner.leak.journal import place_of
from scanner.leak.records import Other
from scanner.leak.stage import OtherRun
from scanner.pipelines.scan import open_sources, scan


def picture(seed: int, scene: str = "landscape", size: tuple[int, int] = (160, 120)) -> Image.Image:
    return SCENES[scene](np.random.default_rng([77, seed]), size).image


def encoded(image: Image.Image, format_: str = "PNG", **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def on_template(motif: int) -> Image.Image:
    """One ground, and a third of it that differs."""
    ground = np.asarray(picture(50, "leaves")).copy()
    ground[20:90, 30:110] = np.asarray(picture(60 + motif, "poster", (80, 70)))
    return Image.fromarray(ground)


FILES_HERE = {
    "a0": encoded(picture(1)), "a1": encoded(picture(1)), "b": encoded(picture(2)), "c": encoded(picture(3, "leaves")),
    "t": encoded(on_template(0)), "x": encoded(picture(9, "poster")),
}  # fmt: skip
FILES_THERE = {
    "same-bytes": FILES_HERE["a0"], "same-pixels": encoded(picture(2), "BMP"),
    "altered": encoded(picture(3, "leaves"), "JPEG", quality=50), "template": encoded(on_template(1)),
    "lone": encoded(picture(30, "landscape")), "broken": encoded(picture(31))[:300],
}  # fmt: skip


@pytest.fixture(scope="session")
def scanned(tmp_path_factory):
    """Two runs that nobody compared yet."""
    folder = tmp_path_factory.mktemp("leak")
    return folder, picture_run(folder / "here", FILES_HERE)[1], picture_run(folder / "there", FILES_THERE)[1]


@pytest.fixture
def runs(scanned, tmp_path):
    """A copy of each, to be written."""
    folder, here, there = scanned
    for name in ("here", "there"):
        shutil.copytree(folder / name / "run", tmp_path / name)
    return Store(str(tmp_path / "here")), here, against(Store(str(tmp_path / "there")), there)


def compare(store, config, other):
    return stage.run(store, config, open_sources(config), other, QUIET)


def leaks(store, other="other") -> dict[tuple[str, str], dict]:
    keys = {row["image_id"]: row["key"] for row in store.read("images", ["image_id", "key"]).to_pylist()}
    rows = [row for row in store.read("leaks").to_pylist() if row["right_dataset"] == other]
    return {(keys[row["left_id"]], row["right_key"]): row for row in rows}


def comparisons(store) -> dict[str, dict]:
    return {row["other"]: row for row in store.read("comparisons").to_pylist()}


def test_each_pair_has_the_kind_of_what_was_done(runs):
    store, config, other = runs
    result = compare(store, config, other)
    found = leaks(store)
    assert {pair: row["kind"] for pair, row in found.items()} == {
        ("a0", "same-bytes"): "exact", ("a1", "same-bytes"): "exact", ("b", "same-pixels"): "exact", ("c", "altered"): "near",
        ("t", "template"): "semantic",
    }  # fmt: skip
    assert {row["kind"]: row["confidence"] for row in found.values() if row["kind"] != "near"} == {
        "exact": None,
        "semantic": None,
    }
    assert 0.5 < found["c", "altered"]["confidence"] <= 1
    assert found["a0", "same-bytes"]["similarity"] == pytest.approx(1, abs=1e-3)
    for row in found.values():
        assert (row["left_dataset"], row["role"], row["hash_distance"]) == ("set", "eval", None)
    row = comparisons(store)["other"]
    assert (row["role"], row["form"], row["num_left"], row["num_right"], row["num_right_unusable"]) == ("eval", "run", 6, 5, 1)
    assert row["threshold"] == pytest.approx(0.3)
    assert row["max_hash_distance"] is None
    assert {kind: (n.num_pairs, n.num_left, n.num_right) for kind, n in result.facts.by_kind.items()} == {
        "exact": (3, 3, 2), "near": (1, 1, 1), "semantic": (1, 1, 1),
    }  # fmt: skip
    assert (result.facts.num_left_found, result.facts.num_right_found) == (5, 4)
    assert result.facts.num_refuted > 0, "the threshold is so low that the search joins strangers"
    assert not result.facts.is_truncated
    told = "\n".join(result.lines())
    assert "5 images there (1 more could not be used)" in told
    assert "are other pictures, by their pixels" in told


def test_the_threshold_is_the_lowest_of_the_run_unless_another_is_asked_for(runs):
    store, config, other = runs
    swept = override(config, {"neighbors.report_thresholds": [0.2, 0.5]})
    compare(store, swept, other)
    assert comparisons(store)["other"]["threshold"] == pytest.approx(0.2)
    blind = OtherRun(other=other.other, store=other.store, sources={})
    compare(store, swept, blind)
    assert comparisons(store)["other"]["threshold"] == pytest.approx(0.3), "nothing has the last word"
    result = compare(store, override(swept, {"leak.threshold": 0.9999}), other)
    assert comparisons(store)["other"]["threshold"] == pytest.approx(0.9999)
    assert set(result.facts.by_kind) == {"exact"}


def test_what_is_known_is_not_computed_again_until_something_changes(runs):
    store, config, other = runs
    assert compare(store, config, other).is_recomputed
    again = compare(store, config, other)
    assert not again.is_recomputed
    assert again.facts == compare(store, config, other).facts
    assert compare(store, override(config, {"verify.near_distance": 0.001}), other).is_recomputed
    assert {row["kind"] for row in leaks(store).values()} == {"exact", "semantic"}
    assert store.manifest("leaks").num_rows == len(leaks(store)), "the rows before are gone"
    assert len(comparisons(store)) == 1


def test_several_sets_stand_side_by_side_and_each_is_replaced_alone(runs):
    store, config, other = runs
    compare(store, config, other)
    before = leaks(store)
    second = OtherRun(other=Other(name="second", role="takedown", url="x"), store=other.store, sources=other.sources)
    compare(store, config, second)
    assert leaks(store) == before
    assert set(comparisons(store)) == {"other", "second"}
    assert {row["role"] for row in leaks(store, "second").values()} == {"takedown"}
    compare(store, override(config, {"leak.threshold": 0.9999}), second)
    assert leaks(store) == before
    assert len(leaks(store, "second")) < len(before)
    records.forget(store, "other")
    assert set(comparisons(store)) == {"second"}
    assert leaks(store) == {}
    assert leaks(store, "second")
    with pytest.raises(ConfigError, match="was not compared") as error:
        records.forget(store, "secnd")
    assert "second" in error.value.next_step


def test_without_originals_pairs_of_different_files_stay_unverified(runs):
    store, config, other = runs
    blind = OtherRun(other=other.other, store=other.store, sources={})
    result = compare(store, config, blind)
    found = leaks(store)
    assert found["a0", "same-bytes"]["kind"] == "exact", "their digests agree"
    assert {row["kind"] for pair, row in found.items() if pair[1] != "same-bytes"} == {"unverified"}
    assert any("are not at hand" in note for note in result.facts.notes)
    assert compare(store, config, other).is_recomputed, "once they are at hand, they are looked at"
    off = compare(store, override(config, {"verify.enabled": False}), other)
    assert set(off.facts.by_kind) == {"exact", "unverified"}
    assert any("verify.enabled is off" in note for note in off.facts.notes)


def test_a_file_that_cannot_be_read_again_is_told_and_tried_again(runs, tmp_path):
    store, config, other = runs
    source = tmp_path / "gone"
    source.mkdir()
    files = {**FILES_THERE, "altered": encoded(picture(99, "poster"))}
    write_tar(source / "00000.tar", [m for key, data in files.items() for m in sample(key, data, f"caption {key}")])
    changed = override(config, {"sources": [{"url": str(source), "name": "set"}]})
    result = compare(store, config, OtherRun(other=other.other, store=other.store, sources=open_sources(changed)))
    assert leaks(store)["c", "altered"]["kind"] == "unverified"
    assert result.facts.num_failed >= 1
    assert any("could not be read again" in note for note in result.facts.notes)
    assert compare(store, config, other).is_recomputed
    assert leaks(store)["c", "altered"]["kind"] == "near"


def test_a_stopped_comparison_goes_on(runs, monkeypatch):
    """Two pairs a chunk, one a block: stopped at the fourth block, the first chunk is known."""
    store, config, other = runs
    config = override(config, {"verify.block_images": 2})
    monkeypatch.setattr(verdicts, "CHUNK_PAIRS", 2)
    look, calls = verdicts._look, []

    def counted(*arguments):
        calls.append(1)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return look(*arguments)

    monkeypatch.setattr(verdicts, "_look", counted)
    stop_at = 0
    compare(store, config, other)
    whole, num_blocks = leaks(store), len(calls)
    records.forget(store, "other")
    calls.clear()
    stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        compare(store, config, other)
    assert "other" not in comparisons(store), "nobody has looked yet"
    calls.clear()
    stop_at = 0
    compare(store, config, other)
    assert leaks(store) == whole
    assert len(calls) == num_blocks - 2
    assert not store.fs.exists(store.path(".leak", "journal", place_of("other"))), "it goes once the tables hold all"


def test_a_scan_of_another_state_of_the_set_forgets_what_was_compared(scanned, tmp_path):
    folder, here, there = scanned
    source = tmp_path / "source"
    shutil.copytree(folder / "here" / "source", source)
    config = override(here, {"sources": [{"url": str(source), "name": "set"}]})
    store = Store(str(tmp_path / "run"))
    scan(store, config, QUIET)
    other = against(Store(str(folder / "there" / "run")), there)
    compare(store, config, other)
    scan(store, config, QUIET)
    assert comparisons(store), "nothing changed"
    scan(store, override(config, {"risk.num_outlier": 3}), QUIET)
    assert comparisons(store), "nor did what was compared"
    write_tar(source / "00001.tar", sample("new", encoded(picture(70)), "new"))
    scan(store, config, QUIET)
    assert comparisons(store) == {}
    assert store.read("leaks").num_rows == 0
    assert compare(store, config, other).is_recomputed


def test_the_other_set_scanned_again_is_compared_again(runs):
    store, config, other = runs
    compare(store, config, other)
    (part,) = other.store.manifest("images").parts
    again = replace(part, fingerprint="f" * 64)
    shutil.copyfile(other.store.path("images", part.name), other.store.path("images", again.name))
    other.store.commit("images", [again])
    assert compare(store, config, other).is_recomputed


def test_thousands_of_copies_on_both_sides_make_no_square(tmp_path):
    """One placeholder 20,000 times here and 20,000 times there: 400 million pairs that say one thing."""
    number = 20_000
    rng = np.random.default_rng(0)
    x = rng.standard_normal((number + 5, 16)).astype(np.float16)
    x[:number] = x[0]
    digest = hashlib.sha256(b"placeholder").digest()
    shas = [digest] * number + [hashlib.sha256(bytes([i])).digest() for i in range(5)]
    here, there = vector_run(tmp_path / "a", [x], shas=[shas]), vector_run(tmp_path / "b", [x[:number]], shas=[shas[:number]])
    config = vector_config(leak__max_partners=4)
    other = OtherRun(other=Other(name="other", role="eval", url=""), store=there, sources={})
    result = stage.run(here, config, {}, other, QUIET)
    rows = here.read("leaks")
    assert result.facts.is_truncated
    assert here.manifest("leaks").metadata["is_truncated"]
    assert rows.num_rows <= 4 * 2 * number
    assert result.facts.num_left_found == result.facts.num_right_found == number, "every image is listed"
    assert len(set(zip(rows["left_id"].to_pylist(), rows["right_id"].to_pylist(), strict=True))) == rows.num_rows


def test_blanks_are_alike_and_their_rows_say_so(tmp_path):
    white = Image.new("RGB", (64, 64), "white")
    here, config = picture_run(tmp_path / "here", {"w": encoded(white), "p": encoded(picture(5))})
    there, other = picture_run(tmp_path / "there", {"v": encoded(white.resize((80, 80))), "q": encoded(picture(6))})
    compare(here, config, against(there, other))
    assert {pair: row["kind"] for pair, row in leaks(here).items()} == {("w", "v"): "near"}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://key:secret@bucket/a/list.csv?token=1#x", "s3://bucket/a/list.csv"), ("/home/a@b/list.csv", "/home/a@b/list.csv"),
        ("https://h.org/a?sig=abc", "https://h.org/a"), ("memory://x", "memory://x"),
    ],
)  # fmt: skip
def test_secrets_of_a_url_go_into_no_table(url, shown):
    assert public(url) == shown
