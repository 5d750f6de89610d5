import contextlib
import io
import random
import tarfile

import pytest
from sources.making import tar_bytes

from scanner.sources.tar_stream import TarBreak, TarStream


def read_all(data, members=None):
    """Members that are whole, also put into ``members`` up to a break."""
    stream = TarStream(io.BytesIO(data))
    members = [] if members is None else members
    while (member := stream.next_member()) is not None:
        body = stream.data(member)
        if len(body) == member.size:
            members.append((member.name, body, member.problem))
    return members


def standard(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(m.name, tar.extractfile(m).read() if m.isreg() else b"", None) for m in tar]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_agrees_with_tarfile(format):
    rng = random.Random(3)
    members = [(f"dir/{i:04d}.jpg", rng.randbytes(rng.choice([0, 1, 511, 512, 513, 3000, 1_100_000]))) for i in range(20)]
    if format != tarfile.USTAR_FORMAT:
        members += [("long/" * 60 + "ä.jpg", b"x"), ("naïve.jpg", b"y")]
    else:
        members += [("d" * 90 + "/" + "n" * 90 + ".jpg", b"z")]
    data = tar_bytes(members, format=format)
    assert read_all(data) == standard(data) == [(name, body, None) for name, body in members]


def test_offsets_point_at_the_data():
    data = tar_bytes([("a.jpg", b"first"), ("b.jpg", b"second")])
    stream = TarStream(io.BytesIO(data))
    found = []
    while (member := stream.next_member()) is not None:  # nothing taken: skipped
        found.append(data[member.offset : member.offset + member.size])
    assert found == [b"first", b"second"]


def test_base_256_sizes_and_signed_checksums_are_read():
    header = bytearray(tar_bytes([("\xe9.jpg".encode("latin-1").decode("latin-1"), b"abc")], format=tarfile.GNU_FORMAT))
    header[124:136] = b"\x80" + (3).to_bytes(11, "big")
    header[148:156] = b" " * 8
    signed = sum(b - 256 if b > 127 else b for b in header[:512])
    for checksum in (sum(header[:512]), signed):
        header[148:156] = b"%06o\0 " % checksum
        assert read_all(bytes(header))[0][1] == b"abc"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty at byte 0"),
        (b"hello" * 300, "it is no tar: no header stands at byte 0"),
        (b"short", "it ends inside a header at byte 0"),
    ],
)
def test_no_tar_at_all(data, reason):
    with pytest.raises(TarBreak, match=reason):
        read_all(data)


def test_any_cut_is_found_and_no_member_is_invented():
    data = tar_bytes([(f"{i}.jpg", bytes([i]) * 700) for i in range(3)])
    whole = read_all(data)
    for cut in range(0, 3 * 1536 + 1, 97):
        complete = []
        with pytest.raises(TarBreak):
            read_all(data[:cut], complete)
        assert complete == whole[: len(complete)]
        assert len(complete) >= cut // 1536


def test_claimed_sizes_reserve_no_memory():
    header = bytearray(tar_bytes([("a.jpg", b"abc")])[:1024])
    header[124:136] = b"77777777777\0"  # 8 GiB
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    with pytest.raises(TarBreak, match="bytes before the end of a member"):
        read_all(bytes(header))


def test_endless_names_are_refused():
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 3 * 2**20
    data = header.tobuf(tarfile.GNU_FORMAT) + b"n" * header.size + tar_bytes([("a.jpg", b"abc")])
    with pytest.raises(TarBreak, match="an extended header of 3,145,728 bytes"):
        read_all(data)


@pytest.mark.parametrize("record", [b"99 path=x\n", b"9 nothing\n", b"-1 path=x\n", b"junk"])
def test_broken_pax_records(record):
    header = tarfile.TarInfo("pax")
    header.type = tarfile.XHDTYPE
    header.size = len(record)
    data = header.tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0") + tar_bytes([("a.jpg", b"abc")])
    with pytest.raises(TarBreak, match="extended header"):
        read_all(data)


def test_random_damage_never_raises_anything_else():
    rng = random.Random(11)
    data = tar_bytes([(f"{i}.jpg", b"x" * 300) for i in range(4)], format=tarfile.PAX_FORMAT)
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 6)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        with contextlib.suppress(TarBreak):
            read_all(bytes(damaged))
