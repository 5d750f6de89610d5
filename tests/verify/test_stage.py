"""Verification of whole runs: small sets with known pictures, scanned by the pixels encoder, then looked at again."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from pictures import sample, write_tar
from PIL import Image

from scanner.core.config import RunConfig, override
from scanner.core.errors import StoreError
from scanner.core.progress import Progress
from scanner.core.schemas import TABLES
from scanner.core.store import Store
from scanner.lab.scenes import SCENES
from scanner.pipelines.scan import open_sources, scan
from scanner.verify import stage

QUIET = Progress(quiet=True)


def picture(seed: int, scene: str = "landscape", size: tuple[int, int] = (160, 120)) -> Image.Image:
    return SCENES[scene](np.random.default_rng([66, seed]), size).image


def encoded(image: Image.Image, quality: int = 95, format_: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **({"quality": quality} if format_ == "JPEG" else {}))
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Two pictures, each with copies, and a pixel-equal file in another format; one stranger."""
    base, other = picture(1), picture(2)
    files = {
        "a0": encoded(base, format_="PNG"), "a1": encoded(base, format_="BMP"), "a2": encoded(base, 60),
        "a3": encoded(base, format_="PNG"), "b0": encoded(other, format_="PNG"), "b1": encoded(other, 50),
        "c0": encoded(picture(3, "leaves")),
    }  # fmt: skip
    root = tmp_path / "set"
    root.mkdir()
    write_tar(root / "00000.tar", [m for key, data in files.items() for m in sample(key, data, f"caption {key}")])
    return root


def config(folder: Path, **changes: object) -> RunConfig:
    base = {
        "sources": [{"url": str(folder), "name": "set"}], "encoder.name": "pixels", "compute.workers": 1,
        "neighbors.threshold": 0.01,
    }  # fmt: skip
    return override(RunConfig(), {**base, **changes})


def tables(out: Path) -> tuple[dict[str, dict], dict[int, dict]]:
    """Rows of groups by key of the image, rows of group_evidence by group."""
    store = Store(str(out))
    keys = {row["image_id"]: row["key"] for row in store.read("images").to_pylist()}
    groups = {keys[row["image_id"]]: row for row in store.read("groups").to_pylist()}
    return groups, {row["group_id"]: row for row in store.read("group_evidence").to_pylist()}


def chain_all(store: Store) -> None:
    """Joins all images to one candidate group, as a chain of the search would."""
    rows = store.read("candidates")
    images = store.read("images").sort_by("image_id")
    ids = images["image_id"].to_pylist()
    digests = images["sha256"].to_pylist()
    content = {
        "image_id": ids, "group_id": [ids[0]] * len(ids), "is_representative": [i == 0 for i in range(len(ids))],
        "similarity_to_representative": np.linspace(1, 0.5, len(ids)).astype(np.float32),
        "is_exact": [digest == digests[0] for digest in digests],
    }  # fmt: skip
    import pyarrow as pa

    store.write_table("candidates", pa.table(content, schema=rows.schema), fingerprint="c" * 64, part_rows=100)


@pytest.fixture
def chained(folder, tmp_path):
    """A run whose candidates are one chain of everything, and what verify needs to run on it."""
    settings = config(folder)
    scan(Store(str(tmp_path / "run")), settings, QUIET)
    store = Store(str(tmp_path / "run"))
    chain_all(store)
    return store, settings, open_sources(settings)


def test_a_chain_is_split_into_its_pictures(chained, tmp_path):
    store, settings, sources = chained
    result = stage.run(store, settings, sources, QUIET)
    groups, evidence = tables(tmp_path / "run")
    assert {key: row["kind"] for key, row in groups.items()} == {
        "a0": "exact", "a1": "exact", "a2": "near", "a3": "exact", "b0": "exact", "b1": "near",
    }  # fmt: skip
    assert len({row["group_id"] for row in groups.values()}) == 2
    assert [key for key, row in groups.items() if row["is_representative"]] == ["a0", "b0"]
    assert groups["a1"]["confidence"] == 1
    assert 0.5 < groups["a2"]["confidence"] <= 1
    assert groups["a2"]["similarity_to_representative"] == pytest.approx(1 - 0.5 * 2 / 6, abs=1e-6), "as the search gave it"
    assert groups["b1"]["similarity_to_representative"] > 0.9, "computed anew for a new representative"
    first, second = evidence[groups["a0"]["group_id"]], evidence[groups["b0"]["group_id"]]
    assert (first["num_images"], first["num_files"], first["num_refuted"]) == (4, 3, 3)
    assert second["candidate_id"] == first["group_id"]
    assert (result.num_candidates, result.num_groups, result.num_grouped, result.num_refuted) == (7, 2, 6, 1)
    assert result.num_read == 6, "of equal files one is decoded"


def test_up_to_date_tables_are_kept_and_settings_recompute(chained):
    store, settings, sources = chained
    assert stage.run(store, settings, sources, QUIET).is_recomputed
    assert not stage.run(store, settings, sources, QUIET).is_recomputed
    strict = override(settings, {"verify.near_distance": 0.001})
    again = stage.run(store, strict, sources, QUIET)
    assert again.is_recomputed
    assert again.num_by_kind == {"exact": 3}, "only equal pixels are left"


def test_a_stopped_run_goes_on_after_its_last_whole_part(chained, monkeypatch):
    store, settings, sources = chained
    settings = override(settings, {"store.part_rows": 1})
    whole = stage.run(store, settings, sources, QUIET)
    commits = [store.path(table, "_table.json") for table in stage.OUTPUTS]
    before = [Path(path).read_bytes() for path in commits]
    for path in commits:
        Path(path).unlink()
    again = stage.run(store, settings, sources, QUIET)
    assert (again.num_read, again.num_grouped) == (0, whole.num_grouped)
    assert [Path(path).read_bytes() for path in commits] == before


def test_blocks_of_any_size_give_the_same_tables(chained, tmp_path):
    store, settings, sources = chained
    stage.run(store, settings, sources, QUIET)
    whole = [store.read(table).to_pylist() for table in stage.OUTPUTS]
    stage.run(store, override(settings, {"verify.block_images": 2}), sources, QUIET)
    assert [store.read(table).to_pylist() for table in stage.OUTPUTS] == whole


def test_what_cannot_be_read_again_is_unverified(chained, folder, tmp_path):
    store, settings, sources = chained
    read = type(sources["set"]).read

    class Failing:
        embedding_dim = None

        def read(self, ref):
            if ref.key == "a2":
                raise OSError("gone")
            data = read(sources["set"], ref)
            return data[: len(data) // 3] if ref.key == "b1" else encoded(picture(9)) if ref.key == "c0" else data

    result = stage.run(store, settings, {"set": Failing()}, QUIET)
    groups, evidence = tables(tmp_path / "run")
    assert result.num_failed == 3, "an error of the filesystem, a file cut short, another picture in its place"
    assert {key: row["kind"] for key, row in groups.items() if row["kind"] == "unverified"} == dict.fromkeys(
        ("a2", "b1", "c0"), "unverified"
    )
    assert groups["a2"]["confidence"] is None
    assert evidence[groups["a0"]["group_id"]]["num_unverified"] == 3


def test_without_its_representative_a_group_stays_as_it_was(chained, tmp_path):
    store, settings, _ = chained

    class Gone:
        embedding_dim = None

        def read(self, ref):
            raise OSError("gone")

    stage.run(store, settings, {"set": Gone()}, QUIET)
    groups, evidence = tables(tmp_path / "run")
    assert {row["kind"] for key, row in groups.items() if key not in ("a0", "a3")} == {"unverified"}
    assert (groups["a0"]["kind"], groups["a3"]["kind"]) == ("exact", "exact")
    assert len(evidence) == 1


def test_switched_off_the_candidates_are_the_groups(folder, tmp_path):
    summary = scan(Store(str(tmp_path / "off")), config(folder, **{"verify.enabled": False}), QUIET)
    store = Store(str(tmp_path / "off"))
    columns = ["image_id", "group_id", "is_representative", "similarity_to_representative"]
    assert store.read("groups", columns).to_pylist() == store.read("candidates", columns).sort_by("group_id").to_pylist()
    assert {row["kind"] for row in store.read("groups").to_pylist()} == {"exact", "unverified"}
    assert not summary.is_verified
    assert summary.stages["verify"]["num_read"] == 0


def test_a_template_family_stays_together_with_its_mask(tmp_path):
    root = tmp_path / "family"
    root.mkdir()
    base = picture(1, "leaves", (200, 200))
    members = []
    for i in range(5):
        member = base.copy()
        member.paste(picture(10 + i, "poster", (90, 90)), (20, 20))
        members.append(member)
    write_tar(root / "0.tar", [m for i, x in enumerate(members) for m in sample(f"m{i}", encoded(x), f"motif {i}")])
    settings = config(root)
    store = Store(str(tmp_path / "run"))
    scan(store, settings, QUIET)
    chain_all(store)
    stage.run(store, settings, open_sources(settings), QUIET)
    groups, evidence = tables(tmp_path / "run")
    (row,) = evidence.values()
    assert (row["class"], row["is_protected"], row["num_images"], row["num_semantic"]) == ("template", True, 5, 4)
    assert {r["kind"] for key, r in groups.items() if not r["is_representative"]} == {"semantic"}
    mask = np.unpackbits(np.frombuffer(row["varying_mask"], np.uint8)).reshape(16, 16).astype(bool)
    assert row["varying_share"] == pytest.approx(mask.mean())
    assert 0.15 <= mask.mean() <= 0.3, "90 x 90 of 200 x 200 varies"
    assert mask[2:9, 2:9].mean() > 0.8
    assert not mask[11:].any()


def test_no_candidates_no_groups(tmp_path):
    root = tmp_path / "one"
    root.mkdir()
    write_tar(root / "0.tar", sample("a", encoded(picture(1)), "c"))
    scan(Store(str(tmp_path / "run")), config(root), QUIET)
    assert tables(tmp_path / "run") == ({}, {})
    store = Store(str(tmp_path / "run"))
    shutil.rmtree(tmp_path / "run" / "candidates")
    with pytest.raises(StoreError, match="candidates"):
        stage.run(store, config(root), {}, QUIET)


def test_every_column_of_the_evidence_is_written(chained):
    store, settings, sources = chained
    stage.run(store, settings, sources, QUIET)
    assert store.read("group_evidence").column_names == TABLES["group_evidence"].column_names
