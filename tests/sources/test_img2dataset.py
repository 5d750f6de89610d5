import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sources.making import image, put, read_broken, tar_bytes

from scanner.core.errors import SourceError
from scanner.sources.base import ImageRef
from scanner.sources.img2dataset import Img2datasetSource
from scanner.sources.open import detect_format

DIGEST = "cd" * 32


def rows_of_a_shard(n=6, failed=(2, 4)):
    """As img2dataset lists them: in the order in which downloads ended, failures among them."""
    rows = [
        {
            "url": f"http://h.i/{i}.jpg",
            "caption": f"caption {i}",
            "key": f"00000{i:04d}",
            "status": "failed_to_download" if i in failed else "success",
            "error_message": "HTTP Error 404: Not Found" if i in failed else None,
            "width": None if i in failed else 256,
            "height": None if i in failed else 200,
            "sha256": None if i in failed else DIGEST,
        }
        for i in range(n)
    ]
    return rows[::-1]


def parquet_bytes(rows):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def succeeded(rows):
    return [row for row in rows if row["status"] == "success"]


def write(root, layout, *, with_sidecar=True, cut=None):
    rows = rows_of_a_shard()
    if layout == "parquet":
        for row in rows:
            row["jpg"] = image(int(row["key"])) if row["status"] == "success" else None
    if with_sidecar or layout == "parquet":
        put(f"{root}/00000.parquet", parquet_bytes(rows))
    put(f"{root}/00000_stats.json", b"{}")
    put(f"{root}/_tmp/0.feather", b"")
    put(f"{root}/_tmp/00001.parquet", b"")
    if layout == "webdataset":
        members = []
        for row in succeeded(rows):
            members += [(f"{row['key']}.jpg", image(int(row["key"]))), (f"{row['key']}.txt", row["caption"].encode()),
                        (f"{row['key']}.json", json.dumps(row).encode())]  # fmt: skip
        put(f"{root}/00000.tar", tar_bytes(members)[:cut])
    if layout == "files":
        for row in succeeded(rows):
            put(f"{root}/00000/{row['key']}.jpg", image(int(row["key"])))
            put(f"{root}/00000/{row['key']}.txt", row["caption"].encode())
            put(f"{root}/00000/{row['key']}.json", json.dumps(row).encode())


ORDER = {
    "webdataset": [5, 3, 1, 0, 2, 4],  # the tar's order, then failures by key
    "parquet": [5, 4, 3, 2, 1, 0],  # the file's order
    "files": [0, 1, 3, 5, 2, 4],  # by key, then failures by key
}


@pytest.mark.parametrize("layout", list(ORDER))
def test_layouts(root, layout):
    write(root, layout)
    assert detect_format(root) == "img2dataset"
    source = Img2datasetSource(root)
    (shard,) = source.shards()
    assert shard.url == {"webdataset": "00000.tar", "parquet": "00000.parquet", "files": "00000"}[layout]
    samples = list(source.samples(shard))
    assert [int(s.key) for s in samples] == ORDER[layout]
    for row, sample in enumerate(samples):
        number = int(sample.key)
        assert (sample.url, sample.caption) == (f"http://h.i/{number}.jpg", f"caption {number}")
        if number in (2, 4):
            assert (sample.status, sample.data, sample.sha256) == ("missing", None, None)
            assert sample.error_message == "failed_to_download: HTTP Error 404: Not Found"
        else:
            assert (sample.status, sample.data, sample.error_message) == ("ok", image(number), None)
            assert (sample.sha256, sample.width, sample.height) == (bytes.fromhex(DIGEST), 256, 200)
            again = ImageRef(shard_url=shard.url, row=row, key=sample.key)
            assert source.read(again) == image(number)
    assert source.describe() == "1 shard, 4 images, 2 missing"
    assert source.counts.notes == []


@pytest.mark.parametrize("layout", ["webdataset", "files"])
def test_without_the_sidecar_the_files_beside_tell(root, layout):
    write(root, layout, with_sidecar=False)
    if layout == "files":
        put(f"{root}/00000.parquet", b"damaged")
    source = Img2datasetSource(root)
    if layout == "files":
        samples, message = read_broken(source)
        assert "00000.parquet" in message
    else:
        samples = list(source.samples(source.shards()[0]))
    assert sorted(s.caption for s in samples) == ["caption 0", "caption 1", "caption 3", "caption 5"]
    assert all(s.sha256 and s.url for s in samples)


def test_a_cut_tar_keeps_the_listed_rows(root):
    write(root, "webdataset", cut=512 + 512 + 512)
    source = Img2datasetSource(root)
    samples, message = read_broken(source)
    assert "00000.tar is broken" in message
    assert [int(s.key) for s in samples] == [5, 0, 1, 2, 3, 4]
    assert [s.status for s in samples] == ["ok"] + ["missing"] * 5
    assert samples[1].error_message == "listed as downloaded, but not in 00000.tar"


def test_unfinished_shards_are_noted(root):
    write(root, "webdataset")
    put(f"{root}/00001.tar", tar_bytes([("000010000.jpg", image(1))]))
    source = Img2datasetSource(root)
    assert [shard.url for shard in source.shards()] == ["00000.tar", "00001.tar"]
    assert source.counts.notes == ["00001: no 00001_stats.json, so img2dataset did not finish this shard"]


def test_a_change_of_the_sidecar_changes_the_shard(tmp_path):
    write(str(tmp_path), "webdataset")
    (before,) = Img2datasetSource(str(tmp_path)).shards()
    put(f"{tmp_path}/00000.parquet", parquet_bytes(rows_of_a_shard(failed=(1, 2))))
    (after,) = Img2datasetSource(str(tmp_path)).shards()
    assert before.url == after.url
    assert before.etag != after.etag


def test_other_captions_by_name(root):
    write(root, "webdataset")
    rows = [row | {"alt": f"alt {row['key'][-1]}"} for row in rows_of_a_shard()]
    put(f"{root}/00000.parquet", parquet_bytes(rows))
    source = Img2datasetSource(root, caption_column="alt")
    assert {s.caption for s in source.samples(source.shards()[0])} == {f"alt {i}" for i in range(6)}


def test_nothing_there(root):
    put(f"{root}/a.jpg", b"")
    with pytest.raises(SourceError, match="No output of img2dataset"):
        Img2datasetSource(root).shards()
