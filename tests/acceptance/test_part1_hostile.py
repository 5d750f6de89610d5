"""Part 1, must show 4: hostile inputs. Exit code 0, one row each, right status, nothing written outside the run."""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from scanner.core.store import Store


def picture(seed: int, size=(64, 48), mode="RGB") -> Image.Image:
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return image.convert(mode)


def encoded(image: Image.Image, format_="JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def png_bomb(width: int, height: int) -> bytes:
    """A valid PNG of constant colour: kilobytes on disk, width * height pixels in memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    deflate = zlib.compressobj(9)
    row = b"\0" + bytes(width // 8 + 1)
    body = b"".join(deflate.compress(row) for _ in range(height)) + deflate.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "A" * 50_000_000, zip=True)
    return encoded(picture(20), "PNG", pnginfo=info)


def sixteen_bit() -> bytes:
    return encoded(Image.fromarray(np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)), "PNG")


def animation() -> bytes:
    buffer = io.BytesIO()
    picture(30).save(buffer, "GIF", save_all=True, append_images=[picture(31), picture(32)])
    return buffer.getvalue()


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(picture(33, (80, 40)), exif=exif)


GOOD = encoded(picture(1))
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>\x00 NUL and \u202e bidi"

# name: (file name, bytes, caption bytes or None, status, what the message says, expected width x height)
CASES = {
    "truncated jpeg": ("a01.jpg", GOOD[: len(GOOD) // 2], b"x", "unreadable", "", None),
    "zero bytes": ("a02.jpg", b"", b"x", "unreadable", "", None),
    "png bomb, 2.5 gigapixels": ("a03.png", png_bomb(50_000, 50_000), b"x", "too_large", "pixels", (50_000, 50_000)),
    "text named jpg": ("a04.jpg", b"I am no image at all\n" * 20, b"x", "unreadable", "", None),
    "CMYK jpeg": ("a05.jpg", encoded(picture(5, mode="CMYK")), b"x", "ok", "", (64, 48)),
    "16-bit png": ("a06.png", sixteen_bit(), b"x", "ok", "", (64, 48)),
    "animated gif": ("a07.gif", animation(), b"x", "ok", "", (64, 48)),
    "1 x 1": ("a08.png", encoded(Image.new("RGB", (1, 1)), "PNG"), b"x", "too_small", "1", (1, 1)),
    "html file named png": ("a09.png", b"<html><body>404</body></html>", b"x", "unreadable", "", None),
    "NUL and HTML in the caption": ("a10.jpg", encoded(picture(10)), SCRIPT.encode(), "ok", "", (64, 48)),
    "invalid UTF-8 in the caption": ("a11.jpg", encoded(picture(11)), b"caf\xe9 \xff\xfe", "ok", "", (64, 48)),
    "no caption": ("a12.jpg", encoded(picture(12)), None, "ok", "", (64, 48)),
    "empty caption": ("a13.jpg", encoded(picture(13)), b"", "ok", "", (64, 48)),
    "palette with transparency": ("a14.png", encoded(picture(14).quantize(8), "PNG", transparency=0), b"x", "ok", "", (64, 48)),
    "compressed text of 50 MB in a png": ("a15.png", text_bomb(), b"x", "unreadable", "", None),
    "EXIF rotation, left alone": ("a16.jpg", rotated(), b"x", "ok", "", (80, 40)),
    "JPEG with garbage behind it": ("a17.jpg", GOOD + os.urandom(1) * 5000, b"x", "ok", "", (64, 48)),
    "JPEG header, then noise": ("a18.jpg", GOOD[:200] + bytes(range(256)) * 8, b"x", "unreadable", "", None),
    "caption of 60,000 characters": ("a19.jpg", encoded(picture(19)), b"long " * 12_000, "ok", "", (64, 48)),
    "webp": ("a20.webp", encoded(picture(21), "WEBP"), b"x", "ok", "", (64, 48)),
    "grey and alpha": ("a21.png", encoded(picture(22, mode="LA"), "PNG"), b"x", "ok", "", (64, 48)),
    "20,000 x 2": ("a22.png", encoded(Image.new("RGB", (20_000, 2)), "PNG"), b"x", "too_small", "", (20_000, 2)),
}  # fmt: skip


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def rows_of(run: Path) -> list[dict]:
    return Store(str(run)).read("images").to_pylist()


def check(row: dict, name: str) -> None:
    _, data, caption, status, said, size = CASES[name]
    assert row["status"] == status, (name, row["status"], row["error_message"])
    if row["status"] != "ok":
        assert row["error_message"], name
        assert said in row["error_message"], (name, row["error_message"])
    if size:
        assert (row["width"], row["height"]) == size, name
    assert row["num_bytes"] == len(data), name
    if caption:
        assert row["caption"], name
        assert "\x00" not in row["caption"], name
    else:
        assert row["caption"] is None, name


@pytest.fixture(scope="module")
def members() -> list[tuple[str, bytes]]:
    found = []
    for file, data, caption, *_ in CASES.values():
        found.append((file, data))
        if caption is not None:
            found.append((file.split(".")[0] + ".txt", caption))
    return found


def test_a_folder_of_hostile_files(scanner, members, tmp_path):
    place = tmp_path / "place"
    folder = place / "set"
    folder.mkdir(parents=True)
    for name, data in members:
        (folder / name).write_bytes(data)
    (folder / "directory.jpg").mkdir()
    (place / "outside.jpg").write_bytes(GOOD)
    (folder / "link.jpg").symlink_to(place / "outside.jpg")
    before = tree(place)
    answer = scanner("scan", folder, "--out", tmp_path / "run", "--encoder", "pixels")
    assert tree(place) == before, "the scan wrote outside its run"
    rows = {row["key"]: row for row in rows_of(tmp_path / "run")}
    assert len(rows) == len(CASES) + 2
    for name, (file, *_) in CASES.items():
        check(rows[file], name)
        print(f"{name:<36} {rows[file]['status']:<11} {rows[file]['error_message'] or ''}")
    assert rows["directory.jpg"]["status"] == rows["link.jpg"]["status"] == "unreadable"
    print("directory.jpg:", rows["directory.jpg"]["error_message"], "| link.jpg:", rows["link.jpg"]["error_message"])
    assert f"{len(rows):,} images" in answer.out
    report = (tmp_path / "run" / "report.html").read_text()
    assert "<script>alert(1)" not in report
    assert "onerror=alert(2)>" not in report


def test_tars_with_hostile_members(scanner, members, tmp_path):
    place = tmp_path / "place"
    folder = place / "set"
    folder.mkdir(parents=True)
    with tarfile.open(folder / "a.tar", "w") as tar:
        for name, data in [*members, ("../../x.jpg", encoded(picture(50))), ("/etc/y.jpg", encoded(picture(51)))]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, kind in (("dir.jpg", tarfile.DIRTYPE), ("sym.jpg", tarfile.SYMTYPE), ("fifo.jpg", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd" if kind == tarfile.SYMTYPE else ""
            tar.addfile(info)
        for seed in (60, 61):  # one key twice, apart
            for name in ("twice.jpg", f"between{seed}.txt"):
                data = encoded(picture(seed)) if name.endswith("jpg") else b"only text"
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        data = json.dumps({"caption": SCRIPT, "url": "javascript:alert(1)", "width": "NaN"}).encode() + b"\xff"
        for name, content in (("badjson.jpg", encoded(picture(70))), ("badjson.json", data)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    whole = (folder / "a.tar").read_bytes()
    (folder / "b.tar").write_bytes(whole[: len(whole) // 2])
    (folder / "c.tar").write_bytes(b"")
    (folder / "d.tar").write_bytes(os.urandom(5000))
    before = tree(place)
    answer = scanner("scan", folder, "--out", tmp_path / "run", "--encoder", "pixels")
    assert tree(place) == before, "the scan wrote outside its run"
    assert not Path("/etc/y.jpg").exists()
    rows = [row for row in rows_of(tmp_path / "run") if row["image_id"] >> 24 == 0]
    by_key: dict[str, list[dict]] = {}
    for row in rows:
        by_key.setdefault(row["key"].rsplit("/", 1)[-1], []).append(row)
    for name, (file, *_) in CASES.items():
        (row,) = by_key[file.split(".")[0]]
        check(row, name)
    assert [by_key[key][0]["status"] for key in ("x", "y", "dir", "sym", "fifo")] == ["ok", "ok", *["unreadable"] * 3]
    assert [row["status"] for row in by_key["twice"]] == ["ok", "ok"]
    assert by_key["between60"][0]["status"] == "missing"
    assert by_key["badjson"][0]["status"] == "ok"
    assert len(rows) == len(CASES) + 5 + 2 + 2 + 1
    shards = {row["url"]: row for row in Store(str(tmp_path / "run")).read("shards").to_pylist()}
    assert [shards[f"{name}.tar"]["status"] for name in "abcd"] == ["current", "broken", "broken", "broken"]
    assert all(shards[f"{name}.tar"]["error_message"] for name in "bcd")
    assert 0 < shards["b.tar"]["num_rows"] < len(rows)
    for name in "bcd":
        print(f"{name}.tar: {shards[f'{name}.tar']['error_message']} ({shards[f'{name}.tar']['num_rows']} rows kept)")
    assert "3 broken" in answer.out


def test_a_decoder_that_takes_too_much_memory_is_a_row(tmp_path):
    """Under the pixel limit, above the memory limit: the worker is stopped and the other images of its chunk are not lost."""
    from scanner.core.config import RunConfig, override
    from scanner.core.progress import Progress
    from scanner.pipelines.scan import scan

    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "bomb.png").write_bytes(png_bomb(30_000, 30_000))
    for seed in range(10):
        (folder / f"{seed}.jpg").write_bytes(encoded(picture(seed)))
    changes = {
        "sources": [{"url": str(folder)}], "encoder.name": "pixels", "images.max_pixels": 10**9, "images.memory_mb": 256,
    }  # fmt: skip
    scan(Store(str(tmp_path / "run")), override(RunConfig(), changes), Progress(quiet=True))
    rows = {row["key"]: row for row in rows_of(tmp_path / "run")}
    assert rows.pop("bomb.png")["status"] == "too_large"
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert len(rows) == 10
