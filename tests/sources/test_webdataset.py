import io
import json
import pickle
import tarfile

import pytest
from sources.making import image, put, read_broken, tar_bytes

from scanner.core.errors import SourceError
from scanner.sources.base import ImageRef
from scanner.sources.webdataset import WebdatasetSource


def read(source):
    return [sample for shard in source.shards() for sample in source.samples(shard)]


def sample_members(i, caption=None, record=None):
    members = [(f"{i:03d}.jpg", image(i))]
    if caption is not None:
        members.append((f"{i:03d}.txt", caption))
    if record is not None:
        members.append((f"{i:03d}.json", json.dumps(record).encode()))
    return members


def one_tar(root, members, name="set.tar", **options):
    return put(f"{root}/{name}", tar_bytes(members, **options))


def test_fields_of_a_sample(root):
    record = {"caption": "from json", "url": "http://a.b/c.jpg", "sha256": "ab" * 32, "width": 10, "height": 0, "alt": "other"}
    url = one_tar(root, sample_members(1, b"from txt\n", record) + sample_members(2, None, record) + sample_members(3))
    source = WebdatasetSource(url)
    first, second, third = read(source)
    assert (first.key, first.data, first.caption) == ("001", image(1), "from txt")
    assert (first.url, first.sha256, first.width, first.height) == ("http://a.b/c.jpg", bytes.fromhex("ab" * 32), 10, None)
    assert second.caption == "from json"
    assert third.caption is None
    assert source.describe() == "1 shard, 3 images, 1 without caption"
    assert [s.caption for s in read(WebdatasetSource(url, caption_column="alt"))] == ["other", "other", None]


def test_url_forms_find_the_same_shards(root):
    for i in range(3):
        one_tar(root, sample_members(i), name=f"part/{i:05d}.tar")
    put(f"{root}/README.md", b"no tar")
    forms = [f"{root}/part", f"{root}/part/*.tar", f"{root}/part/{{00000..00002}}.tar", f"{root}/part/0000{{0,1,2}}.tar"]
    listed = [WebdatasetSource(form).shards() for form in forms]
    assert [shard.url for shard in listed[0]] == ["00000.tar", "00001.tar", "00002.tar"]
    assert all(shards == listed[0] for shards in listed)
    assert [shard.url for shard in WebdatasetSource(root).shards()] == ["part/00000.tar", "part/00001.tar", "part/00002.tar"]
    (single,) = WebdatasetSource(f"{root}/part/00001.tar").shards()
    assert single == listed[0][1]
    assert single.etag
    assert single.size > 0


def test_missing_brace_names_are_an_error(root):
    one_tar(root, sample_members(0), name="00000.tar")
    with pytest.raises(SourceError, match=r"1 of the 2 files that the braces name are absent.*00001.tar"):
        WebdatasetSource(f"{root}/{{00000..00001}}.tar").shards()


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz"])
def test_images_are_read_again(root, name):
    mode = "w" if name == "a.tar" else "w:gz"
    url = one_tar(root, [m for i in range(9) for m in sample_members(i, b"c")], name=name, mode=mode)
    source = pickle.loads(pickle.dumps(WebdatasetSource(url)))
    (shard,) = source.shards()
    for row, sample in enumerate(source.samples(shard)):
        assert (sample.byte_offset is None) == (name != "a.tar")
        ref = ImageRef(shard_url=shard.url, row=row, key=sample.key, byte_offset=sample.byte_offset, num_bytes=sample.num_bytes)
        assert source.read(ref) == sample.data == image(row)
        assert source.read(ImageRef(shard_url=shard.url, row=row, key=sample.key)) == image(row)
    with pytest.raises(SourceError, match="not there"):
        source.read(ImageRef(shard_url=shard.url, row=99, key="x"))
    with pytest.raises(SourceError):
        source.read(ImageRef(shard_url="../secret.tar", row=0, key="x"))


def test_each_byte_is_read_once(tmp_path, monkeypatch):
    data = tar_bytes([m for i in range(50) for m in sample_members(i, b"c")])
    put(f"{tmp_path}/a.tar", data)
    sizes = []
    real = io.FileIO.read

    class Counting(io.FileIO):
        def read(self, size=-1):
            chunk = real(self, size)
            sizes.append(len(chunk))
            return chunk

    monkeypatch.setattr("scanner.sources.webdataset.io.FileIO", Counting)
    assert len(read(WebdatasetSource(f"{tmp_path}/a.tar"))) == 50
    assert sum(sizes) == len(data)


def test_a_sample_without_image_is_missing(root):
    url = one_tar(root, [("a.txt", b"alone"), ("a.json", b"{}"), *sample_members(1)])
    source = WebdatasetSource(url)
    alone, _ = read(source)
    assert (alone.status, alone.error_message, alone.caption) == ("missing", "no image among its members: txt, json", "alone")
    assert source.describe() == "1 shard, 1 image, 1 without caption, 1 missing"


def test_duplicate_keys_stay_rows(root):
    members = [("a.jpg", image(1)), ("a.jpg", image(2)), ("a.txt", b"second"), *sample_members(3), ("a.jpg", image(4))]
    source = WebdatasetSource(one_tar(root, members))
    samples = read(source)
    assert [(s.key, s.data, s.caption) for s in samples] == [
        ("a", image(1), None),
        ("a", image(2), "second"),
        ("003", image(3), None),
        ("a", image(4), None),
    ]
    assert source.counts.num_duplicate_keys == 2
    assert "2 duplicate keys" in source.describe()
    assert source.counts.notes == ["set.tar: 2 duplicate keys, the first 'a'"]


def test_names_are_only_text(root, tmp_path):
    names = ["../../evil.jpg", "/etc/evil.jpg", "a/b.c.jpg", "./x.jpg", "nodot", ".hidden.jpg", "UP.JPG", "b\udcff.jpg"]
    source = WebdatasetSource(one_tar(root, [(name, image(i)) for i, name in enumerate(names)], format=tarfile.GNU_FORMAT))
    assert [sample.key for sample in read(source)] == ["../../evil", "/etc/evil", "a/b", "./x", "UP", "b\ufffd"]
    assert not list(tmp_path.parent.glob("evil*"))


def test_what_is_no_file_is_unreadable(root):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, type_ in [("dir.jpg", tarfile.DIRTYPE), ("link.jpg", tarfile.SYMTYPE), ("hard.jpg", tarfile.LNKTYPE),
                            ("dev.jpg", tarfile.CHRTYPE), ("plain", tarfile.DIRTYPE)]:  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = type_, "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("link.txt")
        info.size = 7
        tar.addfile(info, io.BytesIO(b"caption"))
    samples = read(WebdatasetSource(put(f"{root}/a.tar", file.getvalue())))
    assert [(s.key, s.status, s.error_message) for s in samples] == [
        ("dir", "unreadable", "its image is a directory, not a file"),
        ("link", "unreadable", "its image is a symbolic link, not a file"),
        ("hard", "unreadable", "its image is a hard link, not a file"),
        ("dev", "unreadable", "its image is a device, not a file"),
        ("link", "missing", "no image among its members: txt"),
    ]


def test_large_members_are_passed_over(root):
    url = one_tar(root, [("a.jpg", b"x" * 3000), ("a.txt", b"big"), *sample_members(1)])
    big, small = read(WebdatasetSource(url, max_member_bytes=2999))
    assert (big.status, big.data, big.caption) == ("unreadable", None, "big")
    assert big.error_message == "its image of 3,000 bytes is over the limit of 2,999"
    assert small.data == image(1)


def test_several_images_of_one_sample(root):
    members = [("a.mask.png", b"mask"), ("a.jpg", b"photo"), ("a.seg.png", b"segments"), ("b.v2.jpg", b"only")]
    source = WebdatasetSource(one_tar(root, members))
    assert [(s.key, s.data) for s in read(source)] == [("a", b"photo"), ("b", b"only")]
    assert source.counts.notes == ["set.tar: 1 sample with several images: one of each is used"]


def test_captions_of_any_kind_are_text(root):
    captions = [b"nul\0in it", b"<b>html</b>", b"\xff\xfe bad", b"", b"\n"]
    url = one_tar(root, [m for i, caption in enumerate(captions) for m in sample_members(i, caption)])
    assert [s.caption for s in read(WebdatasetSource(url))] == ["nul\ufffdin it", "<b>html</b>", "\ufffd\ufffd bad", None, None]


def test_a_tar_cut_in_an_image(root):
    data = tar_bytes([(f"{i}.jpg", bytes([i]) * 1000) for i in range(4)])
    samples, message = read_broken(WebdatasetSource(put(f"{root}/a.tar", data[: 2 * 1536 + 512 + 400])))
    assert [s.status for s in samples] == ["ok", "ok", "unreadable"]
    assert (samples[2].key, samples[2].error_message) == ("2", "cut by the end of the shard")
    assert message == "a.tar is broken: it ends 600 bytes before the end of '2.jpg' at byte 3,984"


def test_a_tar_cut_in_a_caption_keeps_the_image(root):
    data = tar_bytes(sample_members(1, b"c" * 400))
    samples, _ = read_broken(WebdatasetSource(put(f"{root}/a.tar", data[: 512 + 512 + 512 + 100])))
    assert [(s.data, s.caption, s.status) for s in samples] == [(image(1), None, "ok")]


@pytest.mark.parametrize(
    ("data", "num_rows", "reason"),
    [
        (b"", 0, "the file is empty at byte 0"),
        (b"garbage " * 500, 0, "no header stands at byte 0"),
        (tar_bytes(sample_members(1))[:1024] + b"garbage " * 200, 1, "no tar header stands at byte 1,024"),
        (tar_bytes(sample_members(1))[:1024], 1, "without the end-of-archive marker at byte 1,024"),
    ],
)
def test_broken_tars_keep_what_was_readable(root, data, num_rows, reason):
    samples, message = read_broken(WebdatasetSource(put(f"{root}/a.tar", data)))
    assert len(samples) == num_rows
    assert reason in message


def test_a_gzipped_tar_cut_in_half(root):
    data = tar_bytes([m for i in range(400) for m in sample_members(i, str(i).encode())], mode="w:gz")
    samples, message = read_broken(WebdatasetSource(put(f"{root}/a.tar.gz", data[: len(data) // 2])))
    assert "gzip" in message
    found = [s.data for s in samples if s.status == "ok"]
    assert found == [image(i) for i in range(len(found))]
    assert len(samples) - len(found) in (0, 1)


def test_what_follows_the_end_marker_is_noted(root):
    data = tar_bytes(sample_members(1))
    source = WebdatasetSource(put(f"{root}/a.tar", data + data))
    assert len(read(source)) == 1
    assert "end-of-archive marker" in source.counts.notes[0]


def test_too_many_rows(root, monkeypatch):
    monkeypatch.setattr("scanner.sources.file_source.MAX_ROWS", 3)
    with pytest.raises(SourceError, match="more than 3 rows"):
        read(WebdatasetSource(one_tar(root, [m for i in range(4) for m in sample_members(i)])))


def test_nothing_there(root):
    put(f"{root}/set-a/a.txt", b"")
    with pytest.raises(SourceError, match=r"No tar is at"):
        WebdatasetSource(root).shards()
    with pytest.raises(SourceError) as error:
        WebdatasetSource(f"{root}/set_a").shards()
    assert "Did you mean 'set-a'?" in str(error.value)


def test_an_option_without_meaning_is_refused():
    with pytest.raises(SourceError, match="--image-column has no meaning"):
        WebdatasetSource("x", image_column="image")
