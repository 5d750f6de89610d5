import json
import os
import pickle
from pathlib import Path

import pytest
from sources.making import image, put

from scanner.core.errors import SourceError
from scanner.sources.base import ImageRef
from scanner.sources.folder import FolderSource


def read(source):
    return [sample for shard in source.shards() for sample in source.samples(shard)]


def test_recursive_with_sidecars(root):
    for i, name in enumerate(["b.PNG", "a.jpg", "sub/deep/c.webp", ".hidden.jpg", ".cache/d.jpg", "notes.md", "e.tiff"]):
        put(f"{root}/{name}", image(i))
    put(f"{root}/a.txt", b"an a\n")
    put(f"{root}/sub/deep/c.txt", b"a\0c")
    source = FolderSource(root)
    assert [(s.key, s.data, s.caption) for s in read(source)] == [
        ("a.jpg", image(1), "an a"),
        ("b.PNG", image(0), None),
        ("e.tiff", image(6), None),
        ("sub/deep/c.webp", image(2), "a\ufffdc"),
    ]
    assert [shard.url for shard in source.shards()] == ["#a.jpg", "sub/deep/#c.webp"]
    assert [shard.num_rows_estimate for shard in source.shards()] == [3, 1]
    assert source.describe() == "2 shards, 4 images, 2 without caption"


def test_images_are_read_again_after_pickling(root):
    put(f"{root}/x/a[1].jpg", image(1))
    put(f"{root}/x/b*.jpg", image(2))
    source = FolderSource(root)
    (shard,) = source.shards()
    again = pickle.loads(pickle.dumps(source))
    assert [s.data for s in again.samples(shard)] == [image(1), image(2)]
    assert again.read(ImageRef(shard_url=shard.url, row=1, key="x/b*.jpg")) == image(2)
    with pytest.raises(SourceError, match="no longer"):
        again.read(ImageRef(shard_url=shard.url, row=0, key="../x.jpg"))


def metadata_file(kind, rows):
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if kind == "csv":
        columns = list(rows[0])
        quoted = [",".join('"' + str(row.get(column) or "").replace('"', '""') + '"' for column in columns) for row in rows]
        return "\n".join([",".join(columns), *quoted]).encode()
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_metadata_files(root, kind):
    rows = [
        {"file_name": "a.jpg", "text": 'one "quoted", two\nlines', "alt": "alt a"},
        {"file_name": "sub/b.jpg", "text": "", "alt": "alt b"},
        {"file_name": "sub/gone.jpg", "text": "gone", "alt": "alt gone"},
        {"file_name": "../../outside.jpg", "text": "out", "alt": ""},
        {"file_name": "a.jpg", "text": "again", "alt": ""},
    ]
    put(f"{root}/metadata.{kind}", metadata_file(kind, rows))
    put(f"{root}/a.jpg", image(1))
    put(f"{root}/sub/b.jpg", image(2))
    put(f"{root}/unlisted.jpg", image(3))
    source = FolderSource(root)
    found = {s.key: s for s in read(source)}
    assert {key: s.caption for key, s in found.items()} == {
        "a.jpg": 'one "quoted", two\nlines', "unlisted.jpg": None, "sub/b.jpg": None, "sub/gone.jpg": "gone"}  # fmt: skip
    gone = found["sub/gone.jpg"]
    assert (gone.status, gone.data, gone.error_message) == ("missing", None, "listed in the metadata file, but not there")
    assert source.counts.num_missing == 1
    assert len(source.counts.notes) == 2
    assert {s.caption for s in read(FolderSource(root, caption_column="alt"))} == {"alt a", "alt b", "alt gone", None}


def test_metadata_without_the_column(root):
    put(f"{root}/a.jpg", image(1))
    put(f"{root}/metadata.csv", b"filename,text\na.jpg,x\n")
    with pytest.raises(SourceError, match=r"no column 'file_name'; it has 'filename', 'text'"):
        FolderSource(root).shards()
    put(f"{root}/metadata.csv", b"file_name,caption\na.jpg,x\n")
    with pytest.raises(SourceError, match=r"(?s)no column 'captoin'.*Did you mean 'caption'"):
        FolderSource(root, caption_column="captoin").shards()


def test_sidecars_go_before_metadata_unless_a_column_is_named(root):
    put(f"{root}/a.jpg", image(1))
    put(f"{root}/a.txt", b"beside")
    put(f"{root}/metadata.jsonl", b'{"file_name": "a.jpg", "text": "listed"}\nnot json\n')
    source = FolderSource(root)
    assert [s.caption for s in read(source)] == ["beside"]
    assert source.counts.notes == ["metadata.jsonl: 1 lines are no JSON objects and are left out"]
    assert [s.caption for s in read(FolderSource(root, caption_column="text"))] == ["listed"]


def test_what_is_no_file_is_unreadable(tmp_path):
    root = tmp_path / "set"
    put(f"{root}/ok.jpg", image(1))
    put(f"{tmp_path}/secret.jpg", b"secret")
    put(f"{tmp_path}/elsewhere/s.jpg", b"secret")
    put(f"{tmp_path}/secret.txt", b"secret")
    (root / "dir.jpg").mkdir()
    (root / "inside.jpg").symlink_to("ok.jpg")
    (root / "outside.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "nothing.jpg").symlink_to("nowhere")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "ok.txt").symlink_to(tmp_path / "secret.txt")
    os.mkfifo(root / "pipe.jpg")
    source = FolderSource(str(root))
    found = {s.key: (s.status, s.data or s.error_message) for s in read(source)}
    assert found == {
        "dir.jpg": ("unreadable", "a directory, not a file"),
        "inside.jpg": ("ok", image(1)),
        "nothing.jpg": ("unreadable", "a link to nothing"),
        "ok.jpg": ("ok", image(1)),
        "outside.jpg": ("unreadable", "a link to a file outside of the source"),
        "pipe.jpg": ("unreadable", "a device, pipe or socket, not a file"),
    }
    assert source.counts.num_without_caption == 6
    assert "the linked folder linked is not followed" in source.counts.notes
    with pytest.raises(SourceError, match="outside of the source"):
        source.read(ImageRef(shard_url=source.shards()[0].url, row=4, key="outside.jpg"))


def test_undecodable_names(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.jpg")
    with open(path, "wb") as file:  # noqa: PTH123 (a name in bytes)
        file.write(image(1))
    source = FolderSource(str(tmp_path))
    (shard,) = source.shards()
    (sample,) = source.samples(shard)
    assert (shard.url, sample.key, sample.data) == ("#caf\ufffd.jpg", "caf\ufffd.jpg", image(1))
    assert source.read(ImageRef(shard_url=shard.url, row=0, key=sample.key)) == image(1)


def test_a_file_that_goes_while_reading(tmp_path):
    put(f"{tmp_path}/a.jpg", image(1))
    put(f"{tmp_path}/b.jpg", image(2))
    source = FolderSource(str(tmp_path))
    shards = source.shards()
    Path(f"{tmp_path}/a.jpg").unlink()
    assert [s.status for s in source.samples(shards[0])] == ["missing", "ok"]


def test_a_new_file_changes_only_its_run(tmp_path, monkeypatch):
    monkeypatch.setattr("scanner.sources.folder._CUT_EVERY", 8)
    monkeypatch.setattr("scanner.sources.folder._MAX_RUN", 32)
    for i in range(300):
        put(f"{tmp_path}/{i:04d}.jpg", image(i))
        put(f"{tmp_path}/{i:04d}.txt", str(i).encode())
    before = FolderSource(str(tmp_path)).shards()
    assert 15 < len(before) < 80
    assert sum(shard.num_rows_estimate for shard in before) == 300
    assert before == FolderSource(str(tmp_path)).shards()
    put(f"{tmp_path}/0150-new.jpg", image(1000))
    after = FolderSource(str(tmp_path)).shards()
    assert len(set(before) - set(after)) == 1
    assert len(set(after) - set(before)) in (1, 2)
    put(f"{tmp_path}/0010.txt", b"another caption")
    assert len(set(after) - set(FolderSource(str(tmp_path)).shards())) == 1


def test_an_empty_folder(root):
    put(f"{root}/readme.md", b"")
    with pytest.raises(SourceError, match="No image is in"):
        FolderSource(root).shards()
