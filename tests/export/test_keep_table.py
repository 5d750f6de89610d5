"""Table keep: every removed row says because of whom, how similar, by which rule."""

from __future__ import annotations

import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from export.making import QUIET, Group, make_run
from pictures import draw, encoded, sample, write_tar

from scanner.core.config import override
from scanner.core.errors import ConfigError
from scanner.core.store import Store
from scanner.export import stage


def pictures(folder, shards: list[list[tuple[str, int, str | None]]]):
    """Tars of (key, side, caption): square pictures of that many pixels a side; side 0 is a broken file, -1 a caption alone."""
    folder.mkdir()
    for number, samples in enumerate(shards):
        members = []
        for key, side, caption in samples:
            if side < 0:
                members.append((f"{key}.txt", (caption or "").encode()))
                continue
            data = encoded(draw(zlib.crc32(key.encode()) % 1000, size=(max(side, 8), max(side, 8))))
            host = "a" if side % 2 else "b"
            members += sample(key, data if side else data[:40], caption, url=f"https://{host}.org/{key}")
        write_tar(folder / f"{number:05d}.tar", members)
    return str(folder)


@pytest.fixture
def made(tmp_path):
    """Two tars. Group a of four across both (a1 best), t a template, v a vector graphic, s with a semantic and an unverified
    member; l and broken are alone."""
    url = pictures(
        tmp_path / "set",
        [
            [("a0", 20, "short"), ("a1", 31, "a longer caption"), ("t0", 16, "t"), ("t1", 16, "t"), ("broken", 0, "x"),
             ("l", 9, None)],
            [("a2", 20, "short"), ("a3", 31, "a longer caption"), ("v0", 12, "v"), ("v1", 12, "v"), ("s0", 18, "s"),
             ("s1", 18, "s"), ("s2", 18, "s"), ("none", -1, "no image")],
        ],
    )  # fmt: skip
    groups = [
        Group(members=["a1", "a0", "a2", "a3"], kinds=["near", "near", "exact"]),
        Group(members=["t0", "t1"], class_="template"),
        Group(members=["v0", "v1"], class_="vector_graphic"),
        Group(members=["s0", "s1", "s2"], kinds=["semantic", "unverified"]),
    ]
    return make_run(tmp_path / "run", {"set": url}, groups)


def keep_of(made, tmp_path, name="out", **keep) -> dict[str, dict]:
    """Rows of table keep by key, ``because_of`` as a key too."""
    config = override(made.config, {f"keep.{key}": value for key, value in keep.items()})
    out = Store(str(tmp_path / name))
    stage.export(made.store, out, config, made.sources, QUIET, versions={})
    keys = {id_: key for key, id_ in made.ids.items() if "/" not in key}
    rows = {keys[row.pop("image_id")]: row for row in out.read("keep").to_pylist()}
    return {key: {**row, "because_of": keys.get(row["because_of"])} for key, row in rows.items()}


def removed(rows: dict[str, dict]) -> dict[str, tuple]:
    return {key: (row["rule"], row["because_of"]) for key, row in rows.items() if not row["is_kept"]}


def test_the_representative_stays_and_every_other_says_why(made, tmp_path):
    rows = keep_of(made, tmp_path)
    assert removed(rows) == {
        "a0": ("resolution", "a1"), "a2": ("resolution", "a1"), "a3": ("lowest_id", "a1"), "broken": ("unreadable", None),
        "none": ("missing", None),
    }  # fmt: skip
    assert rows["a1"] == {"is_kept": True, "sample_weight": 1.0, "rule": "lowest_id", "because_of": None, "similarity": None}
    assert rows["l"]["rule"] is None
    assert {key: rows[key]["rule"] for key in ("t0", "t1", "v0", "s0", "s1", "s2")} == {
        "t0": "protected template", "t1": "protected template", "v0": "protected vector_graphic", "s0": None,
        "s1": "kind semantic", "s2": "kind unverified",
    }  # fmt: skip
    groups = {row["image_id"]: row for row in made.store.read("groups").to_pylist()}
    for key in ("a0", "a2", "a3"):
        assert rows[key]["similarity"] == pytest.approx(groups[made.ids[key]]["similarity_to_representative"])
    assert all(row["sample_weight"] == (1.0 if row["is_kept"] else 0.0) for row in rows.values())
    assert len(rows) == 14


def test_classes_and_kinds_are_thinned_when_they_are_named(made, tmp_path):
    rows = keep_of(made, tmp_path, also=["template"], kinds=["exact", "near", "semantic"])
    assert set(removed(rows)) == {"a0", "a2", "a3", "broken", "none", "t1", "s1"}
    rows = keep_of(made, tmp_path, name="exact", kinds=["exact"])
    assert set(removed(rows)) == {"a3", "broken", "none"}
    assert rows["a0"]["rule"] == "kind near"


def test_rules_decide_in_order_and_similarities_to_others_are_computed(made, tmp_path):
    rows = keep_of(made, tmp_path, prefer=["host in b.org", "caption_length asc", "num_bytes"])
    sizes = {row["key"]: row["num_bytes"] for row in made.store.read("images").to_pylist()}
    best, other = sorted(("a0", "a2"), key=lambda key: -sizes[key])
    assert sizes[best] > sizes[other]
    assert removed(rows)["a1"] == removed(rows)["a3"] == ("host in b.org", best)
    assert removed(rows)[other] == ("num_bytes", best)
    vectors = {}
    for _, part in made.store.read_parts("embeddings"):
        vectors |= {
            id_: np.frombuffer(data, "<f2").astype(float)
            for id_, data in zip(part["image_id"].to_pylist(), part["embedding"].to_pylist(), strict=True)
        }
    for key in ("a1", other, "a3"):
        a, b = vectors[made.ids[key]], vectors[made.ids[best]]
        assert rows[key]["similarity"] == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=1e-6)
    assert rows[best]["rule"] == "num_bytes", "told from the best of those that went"


def test_several_of_a_group_may_stay(made, tmp_path):
    rows = keep_of(made, tmp_path, images_a_group=2)
    assert set(removed(rows)) == {"a0", "a2", "broken", "none"}
    assert removed(rows)["a0"] == ("resolution", "a1")
    assert (rows["a1"]["rule"], rows["a3"]["rule"]) == ("resolution", "resolution")
    rows = keep_of(made, tmp_path, name="four", images_a_group=4)
    assert set(removed(rows)) == {"broken", "none"}
    assert rows["a1"]["rule"] is None


def test_weights_remove_no_copy(made, tmp_path):
    rows = keep_of(made, tmp_path, weights=True, images_a_group=3)
    assert set(removed(rows)) == {"broken", "none"}
    assert [rows[key]["sample_weight"] for key in ("a0", "a1", "a2", "a3")] == [0.75] * 4
    assert rows["a0"]["rule"] == "weights"
    assert (rows["t0"]["sample_weight"], rows["l"]["sample_weight"], rows["broken"]["sample_weight"]) == (1.0, 1.0, 0.0)


def test_requirements_remove_for_itself_and_take_nobody_s_place(made, tmp_path):
    rows = keep_of(made, tmp_path, require=["width <= 30"])
    assert removed(rows) == {
        "a1": ("require width <= 30", None), "a3": ("require width <= 30", None), "a2": ("lowest_id", "a0"),
        "broken": ("unreadable", None), "none": ("missing", None),
    }  # fmt: skip
    rows = keep_of(made, tmp_path, name="unusable", unusable=True)
    assert set(removed(rows)) == {"a0", "a2", "a3", "none"}


def test_a_higher_threshold_cuts_groups_and_a_lower_one_is_refused(made, tmp_path):
    rows = keep_of(made, tmp_path, threshold=0.97)
    assert set(removed(rows)) == {"broken", "none"}, "all links are at .95"
    rows = keep_of(made, tmp_path, name="same", threshold=0.94)
    assert set(removed(rows)) == {"a0", "a2", "a3", "broken", "none"}
    with pytest.raises(ConfigError, match=r"scanned at 0\.9"):
        keep_of(made, tmp_path, name="low", threshold=0.5)


def test_a_user_s_table_is_joined_by_id_or_by_key(made, tmp_path):
    scores = {"a0": 1.0, "a1": 2.0, "a2": 9.0, "a3": None, "t0": 5.0}
    by_key, by_id = tmp_path / "by_key.parquet", tmp_path / "by_id"
    pq.write_table(pa.table({"key": list(scores), "aesthetic": list(scores.values())}), by_key)
    by_id.mkdir()
    for part, keys in enumerate((["a0", "a1"], ["a2", "a3", "t0"])):
        table = pa.table(
            {"image_id": [made.ids[k] for k in keys], "aesthetic": pa.array([scores[k] for k in keys], pa.float32())}
        )
        pq.write_table(table, by_id / f"{part}.parquet")
    for name, url in (("key", by_key), ("id", by_id)):
        rows = keep_of(made, tmp_path, name=name, join=[str(url)], prefer=["aesthetic"])
        assert removed(rows) == {
            "a0": ("aesthetic", "a2"), "a1": ("aesthetic", "a2"), "a3": ("aesthetic", "a2"), "broken": ("unreadable", None),
            "none": ("missing", None),
        }  # fmt: skip
    rows = keep_of(made, tmp_path, name="require", join=[str(by_key)], require=["aesthetic >= 2"])
    assert sorted(key for key, row in rows.items() if row["is_kept"]) == ["a1", "t0"]


@pytest.mark.parametrize(
    ("columns", "keep", "said"),
    [
        ({"key": ["a0", "a0"], "score": [1, 2]}, {}, "2 rows for 1 different"),
        ({"key": ["zz"], "score": [1]}, {}, "none of the 14 images"),
        ({"name": ["a0"], "score": [1]}, {}, "cannot be joined"),
        ({"key": ["a0"], "score": [1]}, {"prefer": ["scor"]}, "Did you mean 'score'"),
    ],
)
def test_what_is_wrong_with_a_joined_table_is_told(made, tmp_path, columns, keep, said):
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet")
    with pytest.raises(ConfigError, match=said):
        keep_of(made, tmp_path, join=[str(tmp_path / "scores.parquet")], **keep)


def test_columns_that_the_run_has_too_are_left_out_and_told(made, tmp_path):
    columns = {"key": ["a0", "a2"], "WIDTH": [1, 2], "dataset": [3, 4], "tag": pa.array(["x", "y"]).dictionary_encode()}
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet")
    config = override(made.config, {"keep.join": [str(tmp_path / "scores.parquet")], "keep.prefer": ["tag in y"]})
    found = stage.dry_run(made.store, config, QUIET)
    assert any("2 of 14 images have a row" in note for note in found.notes)
    assert any("WIDTH, dataset not taken" in note for note in found.notes)
    rows = keep_of(made, tmp_path, join=[str(tmp_path / "scores.parquet")], prefer=["tag in y"], require=["tag != x"])
    assert removed(rows)["a0"] == ("require tag != x", None)
    assert removed(rows)["a1"] == ("tag in y", "a2")


def test_the_dry_run_counts_what_the_export_removes(made, tmp_path):
    found = stage.dry_run(made.store, made.config, QUIET)
    assert found.num_images(is_kept=False) == 5
    gone = ("a0", "a2", "a3")
    images = {row["key"]: row for row in made.store.read("images").to_pylist()}
    assert [(one.threshold, one.num_removed, one.num_bytes) for one in found.savings] == [
        (0.9, 3, sum(images[key]["num_bytes"] for key in gone)), (0.97, 0, 0),
    ]  # fmt: skip
    assert found.unverified == ((0.8, 7),)
    said = "\n".join(found.lines())
    assert "at 0.9 (as scanned): 3 images" in said
    assert "Nothing was written." in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "set"]


def test_a_run_without_groups_keeps_all(tmp_path):
    url = pictures(tmp_path / "set", [[("a", 9, "x")], [("b", 9, "y")]])
    made = make_run(tmp_path / "run", {"set": url}, [])
    rows = keep_of(made, tmp_path)
    assert all(row == {"is_kept": True, "sample_weight": 1.0, "rule": None, "because_of": None, "similarity": None}
               for row in rows.values())  # fmt: skip
    assert stage.dry_run(made.store, made.config, QUIET).num_images(is_kept=False) == 0
