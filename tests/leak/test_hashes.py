"""Comparisons with lists of hashes: pHash from the tables, PDQ from the images."""

from __future__ import annotations

import io

import numpy as np
import pytest
from leak.making import QUIET, picture_run
from PIL import Image

from scanner.core.config import override
from scanner.core.errors import StoreError
from scanner.core.store import Store
from scanner.images.decode import decode
from scanner.images.pdq import pdq
from scanner.lab.scenes import SCENES
from scanner.leak import hash_stage, hashes
from scanner.leak.hash_list import read_hash_list
from scanner.leak.records import Other, held
from scanner.pipelines.scan import open_sources


def picture(seed: int) -> Image.Image:
    return SCENES["landscape"](np.random.default_rng([88, seed]), (200, 150)).image


def encoded(image: Image.Image, format_: str = "PNG", **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


FILES = {
    **{f"p{i}": encoded(picture(i)) for i in range(6)}, "p0-again": encoded(picture(0)),
    "p0-jpeg": encoded(picture(0), "JPEG", quality=60), "blank": encoded(Image.new("RGB", (90, 90), "white")),
    "broken": encoded(picture(9))[:200],
}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    return picture_run(tmp_path / "here", FILES)


def pdq_hex(data: bytes) -> str:
    return pdq(decode(data, max_pixels=10**8, min_side=8)).hash.hex()


def compare(store, config, path, *, name="list", sources=None):
    listed = read_hash_list(str(path), min_quality=config.leak.min_pdq_quality)
    other = Other(name=name, role="takedown", url=str(path))
    return hash_stage.run(store, config, open_sources(config) if sources is None else sources, other, listed, QUIET)


def leaks(store) -> dict[tuple[str, int], dict]:
    keys = {row["image_id"]: row["key"] for row in store.read("images", ["image_id", "key"]).to_pylist()}
    return {(keys[row["left_id"]], row["right_id"]): row for row in store.read("leaks").to_pylist()}


def phash_hex(store: Store) -> dict[str, str]:
    return {row["key"]: f"{row['phash'] or 0:016x}" for row in store.read("images", ["key", "phash"]).to_pylist()}


def test_a_list_of_phash(run, tmp_path):
    store, config = run
    ours = phash_hex(store)
    path = tmp_path / "list.txt"
    path.write_text("\n".join(["# list", ours["p0"], "bad", ours["p3"].upper(), ours["blank"], ours["p0"]]))
    result = compare(store, config, path, sources={})
    found = leaks(store)
    assert {pair: row["hash_distance"] for pair, row in found.items() if pair[0] in ("p0", "p0-again", "p3")} == {
        ("p0", 2): 0, ("p0", 6): 0, ("p0-again", 2): 0, ("p0-again", 6): 0, ("p3", 4): 0,
    }  # fmt: skip
    assert ("p0-jpeg", 2) in found
    assert not any(key == "blank" for key, _ in found), "blanks have one hash, whatever they were"
    row = found["p3", 4]
    assert (row["kind"], row["right_key"], row["similarity"], row["confidence"], row["role"]) == (
        "unverified", ours["p3"].upper(), None, None, "takedown",
    )  # fmt: skip
    (comparison,) = store.read("comparisons").to_pylist()
    assert (comparison["form"], comparison["num_left"], comparison["num_right"], comparison["num_right_unusable"]) == (
        "hashes", 8, 4, 1,
    )  # fmt: skip
    assert (comparison["threshold"], comparison["max_hash_distance"]) == (None, 8)
    assert "unusable lines of the list: 3" in "\n".join(result.lines())
    assert not compare(store, config, path, sources={}).is_recomputed
    exact = compare(store, override(config, {"leak.max_phash_distance": 0}), path, sources={})
    assert exact.is_recomputed
    assert {row["hash_distance"] for row in leaks(store).values()} == {0}
    path.write_text(ours["p0"])
    assert compare(store, config, path, sources={}).is_recomputed, "the list changed"


def test_a_list_of_pdq_and_hashes_that_are_made_once(run, tmp_path, monkeypatch):
    store, config = run
    path = tmp_path / "list.csv"
    path.write_text(
        "\n".join(["hash,quality", f"{pdq_hex(FILES['p0'])},100", f"{pdq_hex(FILES['p4'])},20", pdq_hex(FILES["p5"])])
    )
    result = compare(store, config, path)
    found = leaks(store)
    assert {pair for pair in found if pair[1] == 2} == {("p0", 2), ("p0-again", 2), ("p0-jpeg", 2)}
    assert {pair for pair in found if pair[1] == 4} == {("p5", 4)}
    assert found["p0", 2]["hash_distance"] == 0
    assert 0 <= found["p0-jpeg", 2]["hash_distance"] <= 31
    assert result.num_right_unusable == 1, "of too low a quality"
    good = [pdq(decode(data, max_pixels=10**8, min_side=8)).quality >= 50 for key, data in FILES.items() if key != "broken"]
    assert result.num_left == sum(good) < 9, "the blank shows nothing"
    assert result.facts.num_left_unusable == 9 - sum(good)

    def never(*_: object) -> None:
        raise AssertionError("they lie in the run")

    monkeypatch.setattr(hashes.Hashes, "_make", never)
    assert compare(store, override(config, {"leak.max_pdq_distance": 10}), path, sources={}).is_recomputed


def test_pdq_needs_the_images_and_says_so(run, tmp_path):
    store, config = run
    path = tmp_path / "list.csv"
    path.write_text(pdq_hex(FILES["p0"]))
    with pytest.raises(StoreError, match="need the images") as error:
        compare(store, config, path, sources={})
    assert "pHash" in error.value.next_step
    assert held(store) == {}


def test_a_changed_source_is_not_taken_for_what_was_scanned(run, tmp_path):
    from pictures import sample, write_tar

    store, config = run
    other = {**FILES, "p5": encoded(picture(77))}
    source = tmp_path / "changed"
    source.mkdir()
    write_tar(source / "00000.tar", [m for key, data in other.items() for m in sample(key, data, key)])
    changed = override(config, {"sources": [{"url": str(source), "name": "set"}]})
    path = tmp_path / "list.csv"
    path.write_text("\n".join([pdq_hex(other["p5"]), pdq_hex(FILES["p0"])]))
    result = compare(store, config, path, sources=open_sources(changed))
    assert {key for key, _ in leaks(store)} == {"p0", "p0-again", "p0-jpeg"}
    assert result.facts.num_failed == 1
    assert any("has changed since the scan" in note for note in result.facts.notes)
    assert compare(store, config, path).is_recomputed, "what could not be read is tried again"


def test_thousands_of_one_hash_on_both_sides_make_no_square(run, tmp_path):
    store, config = run
    path = tmp_path / "list.txt"
    path.write_text("\n".join([phash_hex(store)["p0"]] * 3000))
    result = compare(store, override(config, {"leak.max_partners": 2, "leak.max_phash_distance": 0}), path, sources={})
    rows = store.read("leaks")
    assert result.facts.num_right_found == 3000, "every line is listed"
    assert rows.num_rows <= 2 * (3000 + 8)
    assert result.facts.is_truncated
