"""Exports of small sets: what is written, what is refused, and what a second call does."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from export.making import QUIET, Group, make_run, picture, run_export
from pictures import sample, write_tar

from scanner.core.config import override
from scanner.core.errors import ConfigError, SourceError, StoreError
from scanner.core.store import Store
from scanner.export.deliveries import Deliveries
from scanner.pipelines.export import export, preview
from scanner.sources.open import open_source


@pytest.fixture
def made(tmp_path):
    """Two sets of tars whose keys collide, with members beside image, caption and record."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    members = sample("000", picture(0), "=zero\nlines", url="https://a.org/0", uid="0" * 31 + "1")
    members += [("000.cls", b"7"), ("000.Seg.PNG", b"mask")]
    members += sample("001", picture(1), "one", uid="f" * 32) + sample("002", picture(2), uid="0" * 15 + "1" + "0" * 16)
    write_tar(one / "00000.tar", members)
    write_tar(
        one / "00001.tar", sample("000", picture(3), "three", "jpg", uid="a" * 32) + sample("../up/003", picture(4), "four")
    )
    write_tar(
        two / "00000.tar", sample("000", picture(5), "five") + sample("001", picture(6), "six") + sample("k__9", picture(7))
    )
    sources = {"one": str(one), "two": str(two)}
    groups = [Group(members=["one/00000.tar/000", "one/00000.tar/001"])]
    return make_run(tmp_path / "run", sources, groups)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".lock"}


def samples_of(folder: Path) -> list[tuple[str, dict[str, bytes]]]:
    """Key and members of every sample of the tars, as webdataset groups them."""
    import webdataset

    urls = [str(path) for path in sorted(folder.glob("*.tar"))]
    read = webdataset.WebDataset(urls, shardshuffle=False)
    return [(one["__key__"], {k: v for k, v in one.items() if not k.startswith("__")}) for one in read]


def test_tars_hold_every_member_under_keys_that_never_meet(made, tmp_path):
    run_export(made, tmp_path / "out", "tars", export__shard_samples=3)
    ids = made.ids
    found = samples_of(tmp_path / "out" / "tars")
    second, third = ids["one/00001.tar/000"], ids["two/00000.tar/000"]
    assert [key for key, _ in found] == [
        "000",
        "002",
        f"000__{second}",
        "_/up/003",
        f"000__{third}",
        "001",
        f"k__9__{ids['k__9']}",
    ]
    assert found[0][1] == {
        "png": picture(0), "txt": b"=zero\nlines", "cls": b"7", "seg.png": b"mask",
        "json": json.dumps({"url": "https://a.org/0", "uid": "0" * 31 + "1"}).encode(),
    }  # fmt: skip
    with tarfile.open(tmp_path / "out" / "tars" / "00000.tar") as tar:
        assert tar.getnames()[:5] == ["000.png", "000.txt", "000.json", "000.cls", "000.Seg.PNG"]
    assert [len(samples_of_one) for samples_of_one in _per_tar(tmp_path / "out" / "tars")] == [3, 2, 2]
    mapping = pq.read_table(tmp_path / "out" / "samples.parquet").to_pylist()
    assert [(row["key"], row["source_key"]) for row in mapping if row["key"] != row["source_key"]] == [
        (f"000__{second}", "000"), ("_/up/003", "../up/003"), (f"000__{third}", "000"), (f"k__9__{ids['k__9']}", "k__9"),
    ]  # fmt: skip


def _per_tar(folder: Path) -> list[list[str]]:
    out = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            out.append(sorted({name.split(".")[0] for name in tar.getnames()}))
    return out


def test_lists_say_because_of_whom(made, tmp_path):
    run_export(made, tmp_path / "out", "ids")
    removed = pq.read_table(tmp_path / "out" / "ids" / "removed.parquet").to_pylist()
    assert [(r["key"], r["rule"], r["because_of_key"], r["because_of_shard"]) for r in removed] == [
        ("001", "resolution", "000", "00000.tar")
    ] or [(r["key"], r["because_of_key"]) for r in removed] == [("001", "000")]
    assert removed[0]["similarity"] == pytest.approx(0.95, abs=1e-3)
    with (tmp_path / "out" / "ids" / "kept.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["key"] for row in rows] == ["000", "002", "000", "../up/003", "000", "001", "k__9"]
    with_sql = Store.open(str(tmp_path / "out"))
    assert with_sql.read("keep").num_rows == 8


def test_the_manifest_is_of_every_file(made, tmp_path):
    result = run_export(made, tmp_path / "out", "ids", "tars", "hf")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())["files"]
    files = files_of(tmp_path / "out")
    for entry in manifest:
        assert hashlib.sha256(files[entry["path"]]).hexdigest() == entry["sha256"]
        assert len(files[entry["path"]]) == entry["num_bytes"]
    assert {entry["path"] for entry in manifest} == {
        "ids/kept.csv", "ids/kept.parquet", "ids/removed.csv", "ids/removed.parquet", "samples.parquet", "tars/00000.tar",
        "hf/train-00000-of-00001.parquet",
    }  # fmt: skip
    assert [line.split("  ")[1] for line in files["SHA256SUMS"].decode().splitlines()] == sorted(e["path"] for e in manifest)
    assert "sha256sum -c" in "\n".join(result.lines())
    described = yaml.safe_load(files["export.yaml"])
    assert described["rules"] == ["representative", "resolution", "caption_length"]
    assert described["formats"] == ["ids", "hf", "tars"]
    assert described["run"]["url"] == made.store.url


def test_hugging_face_reads_the_parquet(made, tmp_path):
    import datasets

    run_export(made, tmp_path / "out", "hf", export__shard_samples=4, keep__weights=True)
    paths = sorted(str(path) for path in (tmp_path / "out" / "hf").iterdir())
    assert [Path(path).name for path in paths] == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    found = datasets.load_dataset("parquet", data_files=paths, split="train", cache_dir=str(tmp_path / "cache"))
    assert found.num_rows == 8
    assert isinstance(found.features["image"], datasets.Image)
    assert found[0]["image"].size == (16, 16)
    assert found[0]["caption"] == "=zero\nlines"
    assert found["sample_weight"][:3] == [0.5, 0.5, 1.0]
    raw = pq.read_table(paths[0]).to_pylist()
    assert [row["image"]["bytes"] for row in raw] == [picture(0), picture(1), picture(2), picture(3)]
    assert raw[0]["image"]["path"] == "000.png"
    assert json.loads(raw[0]["json"])["uid"] == "0" * 31 + "1"
    rescanned = open_source(str(tmp_path / "out" / "hf"))
    assert [s.caption for shard in rescanned.shards() for s in rescanned.samples(shard)][:2] == ["=zero\nlines", "one"]


def test_a_set_without_uids_is_told(made, tmp_path):
    with pytest.raises(ConfigError, match="32 hexadecimal digits"):
        run_export(made, tmp_path / "out", "datacomp")


def test_curator_gets_ids_and_is_refused_those_that_mean_two_images(made, tmp_path):
    with pytest.raises(ConfigError, match="'001'"):
        run_export(made, tmp_path / "keys", "curator")
    with pytest.raises(ConfigError, match="'00000_000001'"):
        run_export(made, tmp_path / "rows", "curator", export__curator_id="shard_row")


def test_a_second_call_writes_nothing_and_further_forms_join(made, tmp_path):
    run_export(made, tmp_path / "out", "tars", export__shard_samples=3)
    before = {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*.tar")}
    files = files_of(tmp_path / "out")
    run_export(made, tmp_path / "out", "tars", export__shard_samples=3)
    assert files_of(tmp_path / "out") == files
    assert {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*.tar")} == before
    run_export(made, tmp_path / "out", "ids", export__shard_samples=3)
    assert set(files) < set(files_of(tmp_path / "out"))
    assert yaml.safe_load((tmp_path / "out" / "export.yaml").read_text())["formats"] == ["ids", "tars"]


def test_what_is_missing_is_made_again_the_same(made, tmp_path):
    run_export(made, tmp_path / "out", "ids", "tars", "hf", "curator", export__shard_samples=3, keep__images_a_group=2)
    files = files_of(tmp_path / "out")
    (tmp_path / "out" / "tars" / "00001.tar").unlink()
    (tmp_path / "out" / "done" / "hf-train-00000-of-00003.parquet.json").unlink()
    (tmp_path / "out" / "tars" / "00002.tar").write_bytes(b"cut")
    (tmp_path / "out" / "tars" / ".tmp-00003.tar-1").write_bytes(b"half")
    for path in (tmp_path / "out" / "keep").iterdir():
        path.unlink()
    run_export(made, tmp_path / "out", "ids", "tars", "hf", "curator", export__shard_samples=3, keep__images_a_group=2)
    assert files_of(tmp_path / "out") == files


def test_what_cannot_be_told_apart_is_refused(made, tmp_path):
    run_export(made, tmp_path / "out", "ids")
    for changes in ({"keep__images_a_group": 2}, {"export__shard_samples": 7}, {"keep__prefer": ["num_bytes"]}):
        with pytest.raises(StoreError, match="another policy"):
            run_export(made, tmp_path / "out", "ids", **changes)
    for place, said in (
        (Path(made.store.url), "is a run"),
        (Path(made.config.sources[0].url) / "clean", "inside the source"),
    ):
        with pytest.raises(StoreError, match=said):
            run_export(made, place)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    with pytest.raises(StoreError, match=r"not empty.*thesis\.tex"):
        run_export(made, tmp_path / "full")
    assert list((tmp_path / "full").iterdir()) == [tmp_path / "full" / "thesis.tex"]


def replace_bytes(path: Path, old: bytes, new: bytes) -> None:
    """Changes a file and nothing that a listing tells of it."""
    status = path.stat()
    data = path.read_bytes()
    assert data.count(old) >= 1
    assert len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda tar: tar.rename(tar.with_name("00001.tar")), "1 shard of the source changed"),
        (lambda tar: os.utime(tar, (1, 1)), "1 shard of the source changed"),
        (lambda tar: tar.write_bytes(tar.read_bytes() + bytes(512)), "1 shard of the source changed"),
        (lambda tar: replace_bytes(tar, picture(5), bytes(len(picture(5)))), "'000' of two/00000.tar is not what the scan saw"),
        (lambda tar: replace_bytes(tar, b"five", b"FIVE"), "'000' of two/00000.tar is not what the scan saw"),
        (lambda tar: replace_bytes(tar, b"001.png", b"009.png"), "00000.tar is broken"),
    ],
    ids=["renamed", "touched", "longer", "other image", "other caption", "other name, wrong checksum"],
)
@pytest.mark.parametrize("form", ["tars", "hf"])
def test_a_source_that_changed_is_refused(made, tmp_path, damage, said, form):
    damage(Path(made.config.sources[1].url) / "00000.tar")
    with pytest.raises(SourceError, match=said) as caught:
        run_export(made, tmp_path / "out", form)
    assert "scan" in caught.value.next_step
    assert not list((tmp_path / "out").rglob("*.tar"))
    run_export(made, tmp_path / "ids", "ids")


def test_a_source_of_embeddings_gives_ids_alone(made, tmp_path):
    class Embeddings:
        format = "clip-retrieval"
        embedding_dim = 8

    from scanner.export import stage

    config = override(made.config, {"export.formats": ["tars"]})
    with pytest.raises(ConfigError, match="embeddings and no images"):
        stage.export(
            made.store,
            Store(str(tmp_path / "out")),
            config,
            lambda: {"one": Embeddings(), "two": Embeddings()},
            QUIET,
            versions={},
        )


def test_links_in_tars_are_left_behind_and_told(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    with tarfile.open(folder / "0.tar", "w") as tar:
        for name, data in sample("a", picture(1), "c"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("a.cls")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    made = make_run(tmp_path / "run", {"set": str(folder)}, [])
    result = run_export(made, tmp_path / "out", "tars")
    assert samples_of(tmp_path / "out" / "tars") == [("a", {"png": picture(1), "txt": b"c"})]
    assert any("1 files of samples were left behind" in line for line in result.lines())


def test_a_folder_leaves_as_tars(tmp_path):
    folder = tmp_path / "set"
    (folder / "x.y").mkdir(parents=True)
    names = ["a.jpg", "a.png", "b.c.png", "x.y/a.png", "B.PNG"]
    for i, name in enumerate(names):
        (folder / name).write_bytes(picture(i))
        (folder / name).with_suffix(".txt").write_text(f"caption {name}\n")
    made = make_run(tmp_path / "run", {"set": str(folder)}, [])
    result = run_export(made, tmp_path / "out", "tars")
    found = dict(samples_of(tmp_path / "out" / "tars"))
    by_name = {json.loads(members["json"])["key"]: (key, members) for key, members in found.items()}
    assert set(by_name) == set(names)
    for i, name in enumerate(names):
        assert by_name[name][1][name.rpartition(".")[2].lower()] == picture(i)
        assert by_name[name][1]["txt"].decode() == json.loads(by_name[name][1]["json"])["caption"]
    assert by_name["b.c.png"][0] == "b_c"
    assert by_name["x.y/a.png"][0] == "x.y/a"
    assert {by_name["a.jpg"][0], by_name["a.png"][0]} == {"a", f"a__{made.ids['a.png']}"}
    assert any("set is a folder" in line for line in result.lines())


def test_parquet_leaves_as_tars_with_its_other_columns(tmp_path):
    import pyarrow as pa

    folder = tmp_path / "set"
    folder.mkdir()
    rows = [
        {
            "image": {"bytes": picture(i), "path": f"p{i}.png"},
            "text": f"caption {i}",
            "license": "cc0",
            "score": float("nan") if i else 0.5,
        }
        for i in range(200)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "train.parquet", row_group_size=64)
    made = make_run(tmp_path / "run", {"set": str(folder)}, [Group(members=[str(i) for i in range(50, 190)])])
    run_export(made, tmp_path / "out", "tars")
    found = samples_of(tmp_path / "out" / "tars")
    kept = [i for i in range(200) if not 50 <= i < 190] + []
    assert len(found) == 61
    for key, members in found:
        i = int(key)
        assert i in kept or i in range(50, 190)
        assert members["png"] == picture(i)
        assert members["txt"].decode() == f"caption {i}"
        assert json.loads(members["json"]) == {"text": f"caption {i}", "license": "cc0", "score": None if i else 0.5}


def test_a_broken_shard_gives_what_the_scan_read_of_it(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    tar = write_tar(folder / "0.tar", [m for i in range(4) for m in sample(f"{i}", picture(i), "c")])
    data = tar.read_bytes()
    tar.write_bytes(data[: data.index(picture(3)) + 10])
    made = make_run(tmp_path / "run", {"set": str(folder)}, [Group(members=["0", "1"])])
    assert made.store.read("shards")["status"].to_pylist() == ["broken"]
    run_export(made, tmp_path / "out", "tars")
    assert [key for key, _ in samples_of(tmp_path / "out" / "tars")] == ["0", "2"]


def test_deliveries_do_not_trust_a_damaged_note(made, tmp_path):
    run_export(made, tmp_path / "out", "ids")
    note = tmp_path / "out" / "done" / "ids-kept.csv.json"
    note.write_text("{}")
    with pytest.raises(StoreError, match="damaged"):
        Deliveries(Store(str(tmp_path / "out"))).find("ids/kept.csv")


def test_an_export_goes_to_any_file_system(made, tmp_path):
    import fsspec

    run_export(made, tmp_path / "out", "ids", "tars", "hf", export__shard_samples=3)
    export(
        made.store, "memory://export-test/out",
        override(made.config, {"export.formats": ["ids", "tars", "hf"], "export.shard_samples": 3}), QUIET,
    )  # fmt: skip
    memory = fsspec.filesystem("memory")
    found = {name.removeprefix("/export-test/out/"): memory.cat_file(name) for name in memory.find("/export-test/out")}
    memory.rm("/export-test", recursive=True)
    assert {k: v for k, v in found.items() if k != ".lock"} == files_of(tmp_path / "out")


def test_a_preview_writes_nothing(made, tmp_path):
    before = files_of(tmp_path)
    assert preview(made.store, made.config, QUIET).num_images(is_kept=False) == 1
    assert files_of(tmp_path) == before
