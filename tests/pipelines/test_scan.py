from __future__ import annotations

import shutil
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pictures import draw, encoded, sample, write_tar

from scanner.core.config import RunConfig, override
from scanner.core.errors import ConfigError, LockedError
from scanner.core.ids import row_of, shard_of
from scanner.core.lock import lock
from scanner.core.progress import Progress
from scanner.core.schemas import TABLES, arrow_schema
from scanner.core.store import Store
from scanner.core.vectors import to_matrix
from scanner.models.pixels import PixelsEncoder
from scanner.pipelines.scan import other_sets, scan

QUIET = Progress(quiet=True)


def config(source: Path | str, **changes: object) -> RunConfig:
    base = {
        "sources": [{"url": str(source), "name": "set"}], "encoder.name": "pixels", "encoder.batch_size": 4, "store.part_rows": 1,
        "compute.workers": 1,
    }  # fmt: skip
    return override(RunConfig(), {**base, **changes})


def run(source: Path | str, out: Path | str, **changes: object):
    return scan(Store(str(out)), config(source, **changes), QUIET)


def states(out: Path, *tables: str) -> dict[str, tuple[int, int]]:
    """Inode and modification time of every part."""
    found = {}
    for table in tables:
        for file in (out / table).glob("*.parquet"):
            info = file.stat()
            found[f"{table}/{file.name}"] = (info.st_ino, info.st_mtime_ns)
    return found


def tables_of(out: Path | str) -> dict[str, list]:
    store = Store(str(out))
    return {
        name: store.read(name).sort_by([(key, "ascending") for key in TABLES[name].key]).to_pylist()
        for name in TABLES
        if store.manifest(name)
    }


def test_images_become_ranked_captions(shards, tmp_path):
    summary = run(shards, tmp_path / "run")
    assert summary.statuses == {"ok": 21, "unreadable": 3}
    assert (summary.num_images, summary.num_embedded, summary.num_groups, summary.largest_group) == (24, 21, 2, 3)
    tables = tables_of(tmp_path / "run")
    groups = {}
    for row in tables["groups"]:
        groups.setdefault(row["group_id"], set()).add((shard_of(row["image_id"]), row_of(row["image_id"])))
    assert sorted(map(sorted, groups.values())) == [[(0, 0), (1, 0), (2, 0)], [(0, 1), (1, 1), (2, 1)]]
    kinds = {
        row["group_id"]: sorted(r["kind"] for r in tables["groups"] if r["group_id"] == row["group_id"])
        for row in tables["groups"]
    }
    assert kinds == {0: ["exact"] * 3, 1: ["exact", "near", "near"]}
    ranked = [row for row in tables["prompts"] if row["lane"] == "duplicate"]
    prompts = sorted(ranked, key=lambda row: row["risk_rank"])
    assert [(row["prompt"], row["num_caption_images"]) for row in prompts] == [("a picture 0", 3), ("a picture 1", 3)]
    assert {row["num_hosts"] for row in tables["group_risk"]} == {3}
    assert [row["num_neighbors"] for row in tables["neighbors"] if row_of(row["image_id"]) < 2] == [2] * 6
    assert (tmp_path / "run" / "report.html").exists()
    written = Store(str(tmp_path / "run")).read_run()
    assert written["config"]["neighbors"]["threshold"] == summary.threshold
    assert written["encoder"]["weights_digest"] == PixelsEncoder.weights_digest
    assert {"python", "torch", "trainscan"} <= set(written["versions"])


def test_every_image_is_decoded_once_and_every_byte_read_once(shards, tmp_path, monkeypatch):
    memory = fsspec.filesystem("memory")
    sizes = {}
    for tar in shards.iterdir():
        memory.pipe_file(f"/test-once/{tar.name}", tar.read_bytes())
        sizes[tar.name] = tar.stat().st_size
    num_read = dict.fromkeys(sizes, 0)
    original = MemoryFileSystem.cat_file

    def counting(self, path, start=None, end=None, **options):
        data = original(self, path, start=start, end=end, **options)
        if path.endswith(".tar"):
            num_read[path.rsplit("/", 1)[-1]] += len(data)
        return data

    monkeypatch.setattr(MemoryFileSystem, "cat_file", counting)
    try:
        no_pictures = {"report.num_groups": 0, "report.num_outliers": 0, "verify.enabled": False}
        summary = run("memory://test-once", tmp_path / "run", **no_pictures)
    finally:
        memory.rm("/test-once", recursive=True)
    assert summary.stages["embed"]["num_decoded"] == 24
    assert num_read == sizes


def test_a_rerun_recomputes_nothing_and_says_so(shards, tmp_path):
    out = tmp_path / "run"
    first = run(shards, out)
    before, tables = states(out, *TABLES), tables_of(out)
    second = run(shards, out)
    assert first.is_recomputed
    assert not second.is_recomputed
    assert "Nothing was recomputed: the run was up to date." in second.lines()
    assert states(out, *TABLES) == before
    assert tables_of(out) == tables


def test_an_appended_shard_leaves_old_parts_untouched(shards, tmp_path):
    out = tmp_path / "run"
    run(shards, out)
    before = states(out, "images", "embeddings")
    # Sorts before the others: ids still follow the order of first sight.
    write_tar(shards / "0.tar", sample("new", encoded(draw(0)), "a picture 0"))
    summary = run(shards, out)
    after = states(out, "images", "embeddings")
    assert before.items() <= after.items()
    assert len(after) == len(before) + 2
    assert summary.stages["embed"]["num_images_read"] == 1
    assert (summary.num_images, summary.largest_group) == (25, 4)


def test_a_scan_that_was_added_to_is_one_scan_of_all(shards, tmp_path):
    out, fresh = tmp_path / "run", tmp_path / "fresh"
    assert run(shards, out).stages["neighbors"]["searched"] == "all"
    write_tar(shards / "9.tar", [m for i in range(3) for m in sample(f"9{i}", encoded(draw(i)), f"a picture {i}")])
    neighbors, whole = (run(shards, place).stages["neighbors"] for place in (out, fresh))
    assert (neighbors["searched"], whole["searched"]) == ("incremental", "all")
    assert 0 < neighbors["num_compared"] < whole["num_compared"]
    # But for the audit, which tells of what one search compared.
    assert {**tables_of(out), "audit": None} == {**tables_of(fresh), "audit": None}
    repeated = run(shards, out)
    assert not repeated.is_recomputed
    assert repeated.stages["neighbors"]["searched"] == "incremental"


def test_a_further_source_leaves_the_parts_of_the_first_alone(shards, tmp_path):
    out, other = tmp_path / "run", tmp_path / "other"
    run(shards, out)
    before = states(out, "images", "embeddings")
    other.mkdir()
    write_tar(other / "0.tar", sample("new", encoded(draw(0)), "a picture 0"))
    both = [{"url": str(shards), "name": "set"}, {"url": str(other), "name": "other"}]
    summary = run(shards, out, sources=both)
    assert before.items() <= states(out, "images", "embeddings").items()
    assert (summary.stages["embed"]["num_images_read"], summary.largest_group) == (1, 4)


def test_a_changed_shard_is_read_again_and_the_others_are_copied(shards, tmp_path):
    out, fresh = tmp_path / "run", tmp_path / "fresh"
    run(shards, out, **{"store.part_rows": 100})
    write_tar(shards / "00001.tar", sample("only", encoded(draw(0)), "a picture 0"))
    summary = run(shards, out, **{"store.part_rows": 100})
    assert summary.stages["embed"]["num_images_read"] == 1
    assert [row["status"] for row in tables_of(out)["shards"]] == ["current", "superseded", "current", "current"]
    run(shards, fresh, **{"store.part_rows": 100})

    def content(place: Path) -> set:
        return {(r["key"], r["sha256"], r["status"], r["caption"]) for r in tables_of(place)["images"]}

    assert content(out) == content(fresh)
    assert summary.num_groups == 2


def test_a_scan_killed_between_its_two_files_makes_only_the_missing_one(shards, tmp_path):
    out = tmp_path / "run"
    run(shards, out)
    tables, before = tables_of(out), states(out, "images", "embeddings")
    lost = sorted((out / "images").glob("*.parquet"))[1]
    lost.unlink()
    (out / "images" / "_table.json").unlink()
    summary = run(shards, out)
    after = states(out, "images", "embeddings")
    assert summary.stages["embed"]["num_parts_made"] == 1
    assert {name for name in before if after[name] != before[name]} == {f"images/{lost.name}"}
    assert tables_of(out) == tables


def test_other_settings_recompute_what_depends_on_them(shards, tmp_path):
    out = tmp_path / "run"
    run(shards, out)
    before = states(out, "images", "embeddings")
    summary = run(shards, out, **{"neighbors.threshold": 0.999})
    assert states(out, "images", "embeddings") == before
    assert not summary.stages["embed"]["is_recomputed"]
    assert summary.stages["neighbors"]["is_recomputed"]
    assert summary.largest_group == 3
    summary = run(shards, out, **{"neighbors.threshold": 0.999, "risk.prior.k50": 7})
    assert not summary.stages["neighbors"]["is_recomputed"]
    assert summary.stages["risk"]["is_recomputed"]
    # Another encoder setting leaves images alone and makes embeddings anew.
    run(shards, out, **{"encoder.batch_size": 3})
    after = states(out, "images", "embeddings")
    assert before.items() <= after.items()
    assert len(after) == len(before) + 3


def test_a_broken_shard_keeps_what_was_readable(shards, tmp_path):
    whole = (shards / "00001.tar").read_bytes()
    (shards / "00001.tar").write_bytes(whole[: len(whole) // 2])
    summary = run(shards, tmp_path / "run")
    row = tables_of(tmp_path / "run")["shards"][1]
    assert (summary.num_broken_shards, row["status"]) == (1, "broken")
    assert row["error_message"]
    assert 0 < row["num_rows"] < 8
    assert not run(shards, tmp_path / "run").is_recomputed


def test_switching_the_collapse_off_finds_the_same_groups(shards, tmp_path):
    run(shards, tmp_path / "a")
    run(shards, tmp_path / "b", **{"neighbors.collapse_sha256": False})
    assert tables_of(tmp_path / "a")["groups"] == tables_of(tmp_path / "b")["groups"]
    assert tables_of(tmp_path / "a")["thresholds"] == tables_of(tmp_path / "b")["thresholds"]


def test_a_false_digest_of_the_source_does_not_join_images(tmp_path):
    """img2dataset's sha256 is a claim: equal digests of pictures that differ are refuted by their embeddings."""
    folder = tmp_path / "claims"
    folder.mkdir()
    lie = "ab" * 32
    write_tar(folder / "00000.tar", [m for i in range(3) for m in sample(f"{i}", encoded(draw(i)), "c", sha256=lie)])
    summary = run(folder, tmp_path / "run", sources=[{"url": str(folder), "name": "set", "format": "img2dataset"}])
    assert summary.num_groups == 0


def test_all_pairs_are_those_of_brute_force(shards, tmp_path):
    out = tmp_path / "run"
    run(shards, out, **{"neighbors.pairs": "all", "neighbors.threshold": 0.5})
    store, tables = Store(str(out)), tables_of(out)
    embeddings = store.read("embeddings").sort_by("image_id")
    x = to_matrix(embeddings["embedding"]).astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    ids = embeddings["image_id"].to_pylist()
    i, j = np.nonzero(np.triu(x @ x.T >= 0.5, k=1))
    assert {(row["left_id"], row["right_id"]) for row in tables["pairs"]} == {(ids[a], ids[b]) for a, b in zip(i, j, strict=True)}
    assert sum(row["is_spanning"] for row in tables["pairs"]) == sum(1 for _ in tables["candidates"]) - len(
        {r["group_id"] for r in tables["candidates"]}
    )
    assert store.manifest("pairs").metadata["is_truncated"] is False
    few = run(
        shards,
        tmp_path / "few",
        **{"verify.enabled": False, "neighbors.pairs": "all", "neighbors.threshold": 0.5, "neighbors.max_pairs": 2},
    )
    assert few.num_groups == len({row["group_id"] for row in tables["candidates"]})
    assert Store(str(tmp_path / "few")).manifest("pairs").metadata["is_truncated"] is True


def test_a_run_in_an_object_store_is_the_same_run(shards, tmp_path):
    memory = fsspec.filesystem("memory")
    try:
        run(shards, tmp_path / "run")
        run(shards, "memory://test-scan/run")
        assert tables_of("memory://test-scan/run") == tables_of(tmp_path / "run")
        assert not run(shards, "memory://test-scan/run").is_recomputed
    finally:
        memory.rm("/test-scan", recursive=True)


def test_ready_embeddings_start_at_the_search(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 16)).astype(np.float32)
    x[7] = x[3] + 0.01
    x[9] = 0
    rows = {"embedding": list(x), "caption": [f"caption {i}" for i in range(50)], "key": [str(i) for i in range(50)]}
    rows["caption"][7] = rows["caption"][3]
    folder = tmp_path / "emb"
    folder.mkdir()
    pq.write_table(pa.table(rows), folder / "0.parquet")
    summary = run(folder, tmp_path / "run", **{"encoder.name": "open_clip:ViT-B-32/laion2b_s34b_b79k"})
    assert (summary.encoder, summary.num_embedded, summary.num_groups) == ("ready", 49, 1)
    assert summary.statuses == {"ok": 49, "unreadable": 1}
    assert [c["caption"] for c in summary.top_captions] == ["caption 3"]


def test_an_empty_result_is_a_result(tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    write_tar(folder / "0.tar", sample("a", b"no image", "c"))
    summary = run(folder, tmp_path / "run")
    assert (summary.num_images, summary.num_embedded, summary.num_groups) == (1, 0, 0)


def test_a_second_scan_of_the_same_run_is_refused(shards, tmp_path):
    store = Store(str(tmp_path / "run"))
    with lock(store), pytest.raises(LockedError):
        run(shards, tmp_path / "run")


def test_images_and_embeddings_do_not_mix(shards, tmp_path):
    folder = tmp_path / "emb"
    folder.mkdir()
    pq.write_table(pa.table({"embedding": [[1.0, 0.0]]}), folder / "0.parquet")
    sources = [{"url": str(shards), "name": "a"}, {"url": str(folder), "name": "b"}]
    with pytest.raises(ConfigError, match="not both"):
        run(shards, tmp_path / "run", sources=sources)


def test_a_source_that_goes_leaves_a_run_that_still_answers(shards, tmp_path):
    run(shards, tmp_path / "run")
    shutil.rmtree(shards)
    assert len(tables_of(tmp_path / "run")["images"]) == 24


def test_sets_that_the_run_was_compared_with_are_opened_as_far_as_they_are_at_hand(shards, tmp_path):
    run(shards, tmp_path / "run", **{"verify.enabled": False})
    run(shards, tmp_path / "other", **{"verify.enabled": False})
    store = Store(str(tmp_path / "run"))
    assert other_sets(store, QUIET) == {}
    row = {
        "role": "eval",
        "num_left": 1,
        "num_right": 1,
        "num_right_unusable": 0,
        "threshold": 0.9,
        "max_hash_distance": None,
        "at": "",
    }
    rows = [
        {**row, "other": "here", "form": "run", "url": str(tmp_path / "other")},
        {**row, "other": "away", "form": "run", "url": str(tmp_path / "nowhere")},
        {**row, "other": "list", "form": "hashes", "url": str(tmp_path / "other")},
    ]
    table = pa.Table.from_pylist(rows, schema=arrow_schema("comparisons"))
    store.write_table("comparisons", table, fingerprint="a" * 64, part_rows=10)
    others = other_sets(store, QUIET)
    assert set(others) == {"here"}
    assert list(others["here"].sources) == ["set"]
    assert others["here"].store.manifest("images") is not None
    shutil.rmtree(shards)
    assert other_sets(store, QUIET)["here"].sources == {}
