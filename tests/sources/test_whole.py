"""Whole samples: the rows that are asked for, with every file that the source holds of them."""

from __future__ import annotations

import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sources.making import image, put, tar_bytes

from scanner.core.errors import BrokenShardError, SourceError
from scanner.sources.base import Member
from scanner.sources.folder import FolderSource
from scanner.sources.img2dataset import Img2datasetSource
from scanner.sources.members import caption_member, chosen, image_suffix, record_member
from scanner.sources.parquet import ParquetSource
from scanner.sources.webdataset import WebdatasetSource


def whole(source, rows, shard=0):
    return list(source.whole(source.shards()[shard], iter(rows)))


def members_of(one) -> dict[str, bytes]:
    assert len({m.suffix for m in one.members}) == len(one.members)
    return {m.suffix: m.data for m in one.members}


def odd_members():
    """Samples 0 to 4; the second has an image beside its image, the fourth no image, the fifth the key of the first."""
    return [
        ("a.jpg", image(0)), ("a.txt", b"zero\n"), ("a.json", b'{"url": "u"}'), ("README", b"in no sample"),
        ("b.seg.PNG", b"mask"), ("b.jpg", image(1)), ("b.cls", b"5"), ("b.emb.npy", b"\x93NUMPY"),
        ("c.jpg", image(2)),
        ("d.txt", b"alone"),
        ("a.jpg", image(4)), ("a.jpg", image(5)),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["set.tar", "set.tgz"])
def test_members_of_tars_are_all_there_as_they_are_written(root, name):
    url = put(f"{root}/{name}", tar_bytes(odd_members(), mode="w" if name == "set.tar" else "w:gz"))
    source = WebdatasetSource(url)
    scanned = list(source.samples(source.shards()[0]))
    found = whole(source, range(6))
    assert [row for row, _ in found] == list(range(6))
    for (_, one), sample in zip(found, scanned, strict=True):
        assert (one.sample.key, one.sample.data, one.sample.caption, one.sample.status) == (
            sample.key, sample.data, sample.caption, sample.status
        )  # fmt: skip
    assert members_of(found[0][1]) == {"jpg": image(0), "txt": b"zero\n", "json": b'{"url": "u"}'}
    assert members_of(found[1][1]) == {"seg.PNG": b"mask", "jpg": image(1), "cls": b"5", "emb.npy": b"\x93NUMPY"}
    assert [m.suffix for m in found[1][1].members] == ["seg.PNG", "jpg", "cls", "emb.npy"]
    assert members_of(found[3][1]) == {"txt": b"alone"}
    assert members_of(found[5][1]) == {"jpg": image(5)}
    assert source.describe() == WebdatasetSource(url).describe() or source.counts.num_shards == 1


@pytest.mark.parametrize("rows", [[], [0], [4], [1, 2], [0, 3, 5], [5, 9], [7]])
def test_only_the_rows_asked_for_are_given(root, rows):
    source = WebdatasetSource(put(f"{root}/set.tar", tar_bytes(odd_members())))
    assert [row for row, _ in whole(source, rows)] == [row for row in rows if row < 6]


def test_members_that_are_no_files_or_too_large_are_named(tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for name, data in (("a.jpg", image(0)), ("a.bin", b"x" * 10_000)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            import io

            tar.addfile(info, io.BytesIO(data))
        for name in ("a.cls", "other.cls"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
    source = WebdatasetSource(str(tmp_path / "set.tar"), max_member_bytes=100)
    ((_, one),) = whole(source, [0])
    assert set(members_of(one)) == {"jpg", "bin"}
    assert one.left_out == ("a.cls (symbolic link)",)
    source = WebdatasetSource(str(tmp_path / "set.tar"), max_member_bytes=5)
    ((_, one),) = whole(source, [0])
    assert one.left_out[0].startswith("a.jpg (")
    assert one.sample.status == "unreadable"


def test_a_tar_that_ends_early_raises_after_what_it_has(root):
    data = tar_bytes([m for i in range(3) for m in [(f"{i}.jpg", image(i)), (f"{i}.txt", b"c")]])
    source = WebdatasetSource(put(f"{root}/set.tar", data[: 512 * 9 + 100]))
    samples = source.whole(source.shards()[0], iter([0, 1, 2, 3]))
    found = [next(samples) for _ in range(3)]
    assert members_of(found[0][1]) == {"jpg": image(0), "txt": b"c"}
    assert members_of(found[2][1]) == {"jpg": image(2)}, "what the scan saw of it too"
    with pytest.raises(BrokenShardError, match="before the end of a member"):
        next(samples)
    assert len(whole(source, [0])) == 1, "nothing behind the last row is read"


def test_undecodable_keys_keep_their_name(tmp_path):
    name = b"\xff\xfe.jpg".decode("utf-8", "surrogateescape")
    source = WebdatasetSource(put(f"{tmp_path}/set.tar", tar_bytes([(name, image(0))], format=tarfile.GNU_FORMAT)))
    ((_, one),) = whole(source, [0])
    assert one.name == "\udcff\udcfe"
    assert one.sample.key == "\ufffd\ufffd"


def test_a_folder_gives_images_captions_and_paths(tmp_path):
    for i, name in enumerate(["a.jpg", "b.png", "c.webp"]):
        put(f"{tmp_path}/set/{name}", image(i))
    put(f"{tmp_path}/set/b.txt", b"caption b\n")
    source = FolderSource(f"{tmp_path}/set")
    found = whole(source, [1, 2, 7])
    assert [row for row, _ in found] == [1, 2]
    assert members_of(found[0][1]) == {"png": image(1), "txt": b"caption b", "json": b'{"key": "b.png", "caption": "caption b"}'}
    assert members_of(found[1][1]) == {"webp": image(2), "json": b'{"key": "c.webp"}'}


def test_parquet_gives_all_other_columns(tmp_path):
    n = 150
    table = pa.table(
        {
            "uid": [f"{i:032x}" for i in range(n)], "jpg": [image(i) for i in range(n)], "text": [f"t{i}" for i in range(n)],
            "tags": [["a", str(i)] for i in range(n)], "digest": [bytes([i]) for i in range(n)],
            "boxes": [{"x": 1, "y": None}] * n,
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / "set.parquet", row_group_size=40)
    source = ParquetSource(str(tmp_path))
    found = whole(source, [0, 63, 64, 149])
    assert [row for row, _ in found] == [0, 63, 64, 149]
    for row, one in found:
        assert members_of(one)["jpg"] == image(row)
        assert json.loads(members_of(one)["json"]) == {
            "uid": f"{row:032x}", "text": f"t{row}", "tags": ["a", str(row)], "digest": f"{row:02x}",
            "boxes": {"x": 1, "y": None},
        }  # fmt: skip
        assert one.sample.key == f"{row:032x}"


def test_a_caption_that_only_img2dataset_s_list_has_becomes_a_member(tmp_path):
    folder = tmp_path / "set"
    put(f"{folder}/00000.tar", tar_bytes([("000.jpg", image(0)), ("001.jpg", image(1)), ("001.txt", b"own")]))
    put(f"{folder}/00000_stats.json", b"{}")
    rows = {"key": ["000", "001", "002"], "caption": ["listed", "listed too", "lost"], "status": ["success"] * 2 + ["failed"]}
    pq.write_table(pa.table(rows), folder / "00000.parquet")
    source = Img2datasetSource(str(folder))
    found = whole(source, [0, 1])
    assert members_of(found[0][1]) == {"jpg": image(0), "txt": b"listed"}
    assert members_of(found[1][1]) == {"jpg": image(1), "txt": b"own"}
    scanned = list(source.samples(source.shards()[0]))
    assert [one.sample.caption for _, one in found] == [sample.caption for sample in scanned[:2]]


def test_files_of_img2dataset_come_with_those_beside_them(tmp_path):
    folder = tmp_path / "set"
    for i in range(3):
        put(f"{folder}/00000/{i:03d}.jpg", image(i))
        put(f"{folder}/00000/{i:03d}.txt", f"c{i}".encode())
        put(f"{folder}/00000/{i:03d}.json", json.dumps({"caption": f"c{i}"}).encode())
    pq.write_table(pa.table({"key": ["000", "001", "002"], "caption": ["c0", "c1", "c2"]}), folder / "00000.parquet")
    source = Img2datasetSource(str(folder))
    found = whole(source, [0, 2])
    assert [row for row, _ in found] == [0, 2]
    assert members_of(found[1][1]) == {"jpg": image(2), "txt": b"c2", "json": b'{"caption": "c2"}'}


def test_embeddings_have_no_images(tmp_path):
    import numpy as np

    put(f"{tmp_path}/img_emb/img_emb_0.npy", b"")
    with (tmp_path / "img_emb" / "img_emb_0.npy").open("wb") as file:
        np.save(file, np.eye(4, dtype=np.float16))
    from scanner.sources.open import open_source

    source = open_source(str(tmp_path))
    with pytest.raises(SourceError, match="embeddings and no images"):
        whole(source, [0])


@pytest.mark.parametrize(
    ("name", "data", "suffix"),
    [
        ("a/b.JPEG", b"x", "jpeg"),
        ("7", b"\x89PNG\r\n\x1a\n", "png"),
        ("7", b"RIFF0000WEBPVP8 ", "webp"),
        ("7.0", b"GIF89a", "gif"),
        ("x.tar", b"nothing known", "jpg"),
    ],
)
def test_suffixes_of_images(name, data, suffix):
    assert image_suffix(name, data) == suffix


@pytest.mark.parametrize("caption", ["plain", "ends in a newline\n", "", " two\nlines ", "ümlaut"])
def test_captions_read_back(caption):
    from scanner.sources.fields import clean_text_file

    assert clean_text_file(caption_member(caption).data) == (caption or None)


def test_records_hold_what_json_can():
    import datetime

    member = record_member({"a": float("inf"), "b": datetime.date(2020, 1, 2), "c": [b"\x01", float("nan")], "d": "\ud800"})
    assert member.suffix == "json"
    assert json.loads(member.data) == {"a": None, "b": "2020-01-02", "c": ["01", None], "d": "?"}


def test_rows_are_drawn_one_ahead():
    drawn = []

    def rows():
        for row in (2, 3, 9):
            drawn.append(row)
            yield row

    found = chosen(((i, str(i)) for i in range(5)), rows())
    assert next(found) == (2, "2")
    assert drawn == [2]
    assert list(found) == [(3, "3")]
    assert isinstance(Member(suffix="x", data=b""), Member)
