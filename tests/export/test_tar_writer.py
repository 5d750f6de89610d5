from __future__ import annotations

import io
import tarfile

import pytest

from scanner.export.tar_writer import TarWriter
from scanner.sources.base import Member
from scanner.sources.tar_stream import TarStream

SAMPLES = {
    "000": (Member(suffix="jpg", data=b"image"), Member(suffix="txt", data=b"")),
    "a/long/" + "k" * 200: (Member(suffix="seg.PNG", data=b"x" * 512),),
    "\u00e4\udcff": (Member(suffix="json", data=b"y" * 1025),),
}


def written() -> bytes:
    file = io.BytesIO()
    tar = TarWriter(file)
    for key, members in SAMPLES.items():
        tar.add(key, members)
    tar.finish()
    return file.getvalue()


def test_tarfile_and_our_own_reader_give_back_what_was_written():
    data = written()
    expected = [(f"{key}.{m.suffix}", m.data) for key, members in SAMPLES.items() for m in members]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = [(member.name, tar.extractfile(member).read()) for member in tar]
        assert found == expected
        assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in tar} == {(0, 0, 0, "", 0o644)}
    stream = TarStream(io.BytesIO(data))
    mine = []
    while (member := stream.next_member()) is not None:
        mine.append((member.name, stream.data(member)))
    assert mine == expected
    assert stream.rest_is_zero()
    assert len(data) % tarfile.RECORDSIZE == 0


def test_the_same_samples_are_the_same_bytes():
    assert written() == written()


def test_an_empty_tar_is_a_tar():
    file = io.BytesIO()
    TarWriter(file).finish()
    with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as tar:
        assert tar.getmembers() == []


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513])
def test_members_are_padded_to_blocks(size):
    file = io.BytesIO()
    tar = TarWriter(file)
    tar.add("k", (Member(suffix="bin", data=b"z" * size), Member(suffix="txt", data=b"next")))
    tar.finish()
    with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as found:
        assert [m.size for m in found] == [size, 4]
