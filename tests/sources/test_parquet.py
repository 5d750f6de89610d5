import io
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sources.making import image, put, read_broken

from scanner.core.errors import BrokenShardError, SourceError
from scanner.sources.base import ImageRef
from scanner.sources.parquet import ParquetSource


def read(source):
    return [sample for shard in source.shards() for sample in source.samples(shard)]


def parquet_bytes(table, **options):
    file = io.BytesIO()
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), file, **options)
    return file.getvalue()


def test_plain_bytes_and_found_columns(root):
    table = {
        "uid": ["a", None, "c"],
        "jpg": pa.array([image(0), image(1), None], pa.binary()),
        "TEXT": ["one", "", "three"],
        "URL": ["http://x.y/1.jpg", None, None],
        "width": [3, 0, None],
        "sha256": ["00" * 32, "no", None],
    }
    put(f"{root}/p.parquet", parquet_bytes(table))
    source = ParquetSource(root)
    first, second, third = read(source)
    assert (first.key, first.data, first.caption, first.url) == ("a", image(0), "one", "http://x.y/1.jpg")
    assert (first.width, first.sha256) == (3, bytes(32))
    assert (second.key, second.caption, second.width, second.sha256) == ("1", None, None, None)
    assert (third.status, third.data, third.error_message) == ("missing", None, "no image in its row")
    assert source.describe() == "1 shard, 2 images, 1 without caption, 1 missing"


def test_struct_of_bytes_and_path(root):
    put(f"{root}/data/images/x.jpg", image(7))
    put(f"{root}/../outside.jpg" if "://" not in root else "memory://outside.jpg", b"secret")
    rows = [
        {"bytes": image(0), "path": "0.jpg"},
        {"bytes": None, "path": "images/x.jpg"},
        {"bytes": None, "path": "images/gone.jpg"},
        {"bytes": None, "path": "../../outside.jpg"},
        {"bytes": None, "path": "/etc/hostname"},
        {"bytes": None, "path": "http://a.b/c.jpg"},
        {"bytes": None, "path": "images"},
        {"bytes": None, "path": None},
        None,
    ]
    put(f"{root}/data/p.parquet", parquet_bytes({"image": rows, "prompt": [str(i) for i in range(9)]}))
    source = ParquetSource(root)
    samples = read(source)
    statuses = ["ok", "ok", "missing", "missing", "missing", "missing", "unreadable", "missing", "missing"]
    assert [s.status for s in samples] == statuses
    assert [s.data for s in samples[:2]] == [image(0), image(7)]
    assert [s.caption for s in samples] == [str(i) for i in range(9)]
    assert "only a path outside of the source: ../../outside.jpg" in samples[3].error_message
    assert source.read(ImageRef(shard_url="data/p.parquet", row=1, key="1")) == image(7)


def test_paths_through_links_stay_inside(tmp_path):
    put(f"{tmp_path}/secret/s.jpg", b"secret")
    put(f"{tmp_path}/set/p.parquet", parquet_bytes({"image": [{"bytes": None, "path": "link/s.jpg"}]}))
    (tmp_path / "set" / "link").symlink_to(tmp_path / "secret")
    (sample,) = read(ParquetSource(f"{tmp_path}/set"))
    assert (sample.status, sample.error_message) == ("unreadable", "link/s.jpg is a link to a file outside of the source")


def test_rows_are_read_again_across_row_groups(root):
    table = {"image": pa.array([image(i) for i in range(500)], pa.large_binary()), "caption": ["c"] * 500}
    put(f"{root}/p.parquet", parquet_bytes(table, row_group_size=70))
    source = pickle.loads(pickle.dumps(ParquetSource(f"{root}/p.parquet")))
    (shard,) = source.shards()
    assert [s.data for s in source.samples(shard)] == [image(i) for i in range(500)]
    for row in (0, 69, 70, 333, 499):
        assert source.read(ImageRef(shard_url=shard.url, row=row, key="")) == image(row)
    with pytest.raises(SourceError, match="no row 500"):
        source.read(ImageRef(shard_url=shard.url, row=500, key=""))


@pytest.mark.parametrize(
    "captions",
    [
        pa.array(["x", None]),
        pa.array(["x", None], pa.large_string()),
        pa.array(["x", None]).dictionary_encode(),
        pa.array([["x", "y"], []]),
        pa.array([b"x", None], pa.binary()),
    ],
)
def test_caption_types(root, captions):
    put(f"{root}/p.parquet", parquet_bytes(pa.table({"image": [{"bytes": b"1", "path": ""}] * 2, "caption": captions})))
    assert [s.caption for s in read(ParquetSource(root))] == ["x", None]


def test_captions_that_are_not_utf8(root):
    bad = pa.StringArray.from_buffers(1, pa.array([0, 3], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff\x00"))
    put(f"{root}/p.parquet", parquet_bytes(pa.table({"jpg": [b"1"], "text": bad})))
    assert [s.caption for s in read(ParquetSource(root))] == ["a\ufffd\ufffd"]


def test_named_columns(root):
    table = {"image": [b"a"], "photo": [b"b"], "caption": ["a"], "alt": ["b"], "n": [1]}
    put(f"{root}/p.parquet", parquet_bytes(table))
    (sample,) = read(ParquetSource(root, image_column="photo", caption_column="alt"))
    assert (sample.data, sample.caption) == (b"b", "b")
    with pytest.raises(SourceError, match=r"(?s)no column 'imgae'; it has 'image' \(binary\).*Did you mean 'image'"):
        ParquetSource(root, image_column="imgae").shards()
    with pytest.raises(SourceError, match="type int64, which holds no images"):
        ParquetSource(root, image_column="n").shards()


def test_broken_files_have_no_rows(root):
    whole = parquet_bytes({"image": [image(i) for i in range(50)], "caption": ["c"] * 50})
    put(f"{root}/a.parquet", whole)
    put(f"{root}/b.parquet", whole[: len(whole) // 2])
    put(f"{root}/c.parquet", b"")
    put(f"{root}/d.parquet", parquet_bytes({"other": [1]}))
    source = ParquetSource(root)
    good, *bad = source.shards()
    assert len(list(source.samples(good))) == 50
    for shard in bad:
        with pytest.raises(BrokenShardError, match=shard.url):
            list(source.samples(shard))


def test_only_broken_files(root):
    put(f"{root}/a.parquet", b"PAR1 nothing PAR1")
    with pytest.raises(SourceError, match=r"a.parquet is broken or no Parquet file"):
        ParquetSource(root).shards()


def test_damage_in_the_pages_keeps_the_rows_before(tmp_path):
    table = pa.table({"image": [bytes([i]) * 4000 for i in range(200)], "caption": [str(i) for i in range(200)]})
    data = bytearray(parquet_bytes(table, row_group_size=50, compression="zstd"))
    offset = pq.ParquetFile(io.BytesIO(bytes(data))).metadata.row_group(2).column(0).dictionary_page_offset
    data[offset : offset + 40] = b"\xee" * 40
    put(f"{tmp_path}/a.parquet", bytes(data))
    source = ParquetSource(str(tmp_path))
    samples, _ = read_broken(source)
    assert 50 <= len(samples) <= 100
    assert [s.data for s in samples] == [bytes([i]) * 4000 for i in range(len(samples))]


def test_hugging_face_output(tmp_path):
    import datasets

    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    rows = {"image": [{"bytes": image(i), "path": f"{i}.jpg"} for i in range(5)], "text": list("abcde")}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(f"{tmp_path}/train.parquet")
    samples = read(ParquetSource(str(tmp_path)))
    assert [(s.data, s.caption) for s in samples] == [(image(i), "abcde"[i]) for i in range(5)]
