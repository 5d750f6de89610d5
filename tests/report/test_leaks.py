"""What other sets have in common with the run: counts a set, and image beside image where both can be read."""

from __future__ import annotations

import hashlib
import io

import pytest
from PIL import Image
from report_runs import HOSTILE, build, page_of, picture, seen, write

from scanner.core.store import Store
from scanner.report.leaks import OtherSet, read_leaks
from scanner.sources.folder import FolderSource

THERE = {"t0.png": (picture(1), "the same boat, elsewhere"), 't<1>"&.png': (picture(5), HOSTILE)}


@pytest.fixture(scope="module")
def leaking(tmp_path_factory):
    """(run, other sets): one image of the test set is equal to a0, one alike; a line of a list is near b1; ``clean`` has none."""
    tmp_path = tmp_path_factory.mktemp("leaking")
    store, config, sources = build(tmp_path)
    with_run = {"role": "eval", "form": "run", "num_left": 7, "num_right_unusable": 0, "threshold": 0.9, "at": ""}
    with_list = {**with_run, "role": "takedown", "form": "hashes", "threshold": None, "max_hash_distance": 10}
    write(store, "comparisons", [
        {**with_run, "other": "test<set>", "url": "other", "num_right": 40},
        {**with_list, "other": "gone", "url": "list.txt", "num_right": 3},
        {**with_run, "other": "clean", "url": "clean", "num_right": 9},
    ])  # fmt: skip
    pair = {"left_dataset": "set", "right_dataset": "test<set>", "role": "eval"}
    listed = {**pair, "right_dataset": "gone", "role": "takedown"}
    write(store, "leaks", [
        {**pair, "left_id": 1, "right_id": 0, "right_key": "t0.png", "similarity": 1.0, "kind": "exact"},
        {**pair, "left_id": 3, "right_id": 1, "right_key": 't<1>"&.png', "similarity": 0.91254, "kind": "near"},
        {**listed, "left_id": 4, "right_id": 2, "right_key": "00ffee<b>", "hash_distance": 3, "kind": "unverified"},
    ])  # fmt: skip
    return (store, config, sources), {"test<set>": other_run(tmp_path / "other")}


def other_run(folder) -> OtherSet:
    (folder / "set").mkdir(parents=True)
    for name, (data, _) in THERE.items():
        (folder / "set" / name).write_bytes(data)
    source = FolderSource(str(folder / "set"))
    shard = source.shards()[0]
    rows = {sample.key: row for row, sample in enumerate(source.samples(shard))}
    store = Store(str(folder / "run"))
    write(store, "shards", [
        {"shard_id": 0, "dataset": "d", "url": shard.url, "size": shard.size, "part": 0, "num_rows": 2, "status": "current"}
    ])  # fmt: skip
    write(store, "images", [
        {"image_id": list(THERE).index(name), "dataset": "d", "key": name, "caption": caption, "width": 64, "height": 48,
         "sha256": hashlib.sha256(data).digest(), "phash": seen(data), "status": "ok"}
        for name, (data, caption) in THERE.items()
    ])  # fmt: skip
    assert set(rows) == set(THERE)
    return OtherSet(store=store, sources={"d": source})


def leaks_of(page) -> str:
    html = page.html
    return html[html.index('id="leaks"') : html.index('id="groups"')]


def test_a_run_that_was_compared_with_nothing_has_no_section(finished):
    assert read_leaks(finished[0]) is None
    page = page_of(finished)
    assert 'id="leaks"' not in page.html
    assert "The set was compared with no other." in page.text


def test_images_lie_side_by_side_where_both_sets_can_be_read(leaking):
    run, others = leaking
    page = page_of(run, others=others)
    assert leaks_of(page).count("<img") == 2 * 2 + 1, "two pairs, and the image here of what is known by its hash alone"
    assert "the same boat, elsewhere" in page.text
    assert "known by its hash alone" in page.text
    assert "00ffee<b>" in page.text
    assert "similarity 0.9125" in page.text
    assert "hashes 3 bits apart" in page.text
    assert "None of its 9 images is here." in page.text


def test_a_set_that_is_not_at_hand_is_named_by_its_keys(leaking):
    run, _ = leaking
    page = page_of(run)
    assert leaks_of(page).count("<img") == 3
    assert page.text.count("no preview: the other set is not at hand") == 2
    assert 't<1>"&.png' in page.text
    assert "the same boat, elsewhere" not in page.text


def test_an_other_run_without_its_tables_costs_no_report(leaking, tmp_path):
    run, _ = leaking
    page = page_of(run, others={"test<set>": OtherSet(store=Store(str(tmp_path)), sources={})})
    assert page.text.count("the other set is not at hand") == 2


def test_other_images_that_changed_since_their_scan_are_not_shown(leaking):
    run, others = leaking
    changed = OtherSet(store=others["test<set>"].store, sources={"d": _Changed()})
    page = page_of(run, others={"test<set>": changed})
    assert page.text.count("the source has changed since the scan") == 2


class _Changed:
    """A source in which every image is another one now."""

    format = "folder"
    embedding_dim = None

    def read(self, ref) -> bytes:
        file = io.BytesIO()
        Image.effect_mandelbrot((64, 48), (-2, -1, 1, 1), 40).save(file, "PNG")
        return file.getvalue()


def test_counts_of_every_set(leaking):
    (store, *_), _ = leaking
    found = read_leaks(store)
    assert found is not None
    assert [(row.other, row.num_right_found, row.num_exact, row.num_near, row.num_unverified) for row in found.sets] == [
        ("test<set>", 2, 1, 1, 0), ("gone", 1, 0, 0, 1), ("clean", 0, 0, 0, 0),
    ]  # fmt: skip
    assert found.image_ids == [4, 1, 3]


def test_the_overview_names_each_set_that_leaks(leaking):
    run, _ = leaking
    text = page_of(run).text
    assert "2 of 40 test images of test<set> are in this set (5.0%)." in text
    assert "1 of 3 images to be taken down of gone is in this set (33.3%)." in text
    assert "Nothing of 1 other set was found here." in text


def test_redacted_pairs_keep_kind_and_similarity_alone(leaking):
    run, _ = leaking
    page = page_of(run, is_redacted=True)
    part = leaks_of(page)
    assert part.count("no preview: <bdi>redacted</bdi>") == 2 * 2 + 1
    assert "similarity 0.9125" in part
    assert "<img" not in part
    assert not any(word in part for word in ("t0.png", "a0.png", "elsewhere", "00ffee"))
