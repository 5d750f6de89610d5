"""Series never straddle the split; what joins a series is names and exact copies, never a model."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from scanner.core.errors import SourceError
from scanner.lab.drawings import flatten, read_images, read_index, split_of, squash

INDEX = """key\tsource_path\tcaption\tdebian_symlink_to\tblank_image
000\tcards/ace_one.png\tan "ace"\t\t0
001\tcards/ace_two.png\tan ace\t\t0
002\tcards/king-1.png\ta king\t\t0
003\tgames/king9.png\ta king\t\t0
004\tgames/king10.png\ta king\tcards/king-1.png\t0
005\tgames/pawn.png\ta pawn\t\t1
006\tother/pawn.png\ta pawn\t\t1
007\tother/rook.png\ta rook\t\t0
"""
EXACT = "group\tsize\tkeys\n0\t2\t000,007\n1\t2\t005,006\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "index.tsv").write_text(INDEX)
    (tmp_path / "exact_groups.tsv").write_text(EXACT)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for key in ("000", "002"):
            file = io.BytesIO()
            Image.new("RGB", (8, 6), (200, 10, int(key))).save(file, "PNG")
            for suffix, data in (("png", file.getvalue()), ("txt", b"caption")):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return tmp_path


def test_series_are_joined_by_name_by_link_and_by_exact_copies(folder):
    drawings = {d.key: d for d in read_index(folder)}
    series = {key: d.series for key, d in drawings.items()}
    assert series["000"] == series["001"] == series["007"], "first word of the name, then an exact copy"
    assert series["002"] == series["003"] == series["004"], "a link of another folder; its folder's series comes along"
    assert len({series["000"], series["002"], series["005"], series["006"]}) == 4, "blanks join nothing"
    assert drawings["007"].copy_of == "000"
    assert [d.key for d in drawings.values() if d.is_blank] == ["005", "006"]
    assert drawings["000"].caption == 'an "ace"'
    assert all(d.split == split_of(folder.name, d.series) for d in drawings.values())


def test_the_split_is_drawn_by_hash_in_the_stated_shares():
    splits = [split_of("set", str(i)) for i in range(6000)]
    shares = [splits.count(name) / len(splits) for name in ("train", "calibrate", "evaluate")]
    assert np.abs(np.array(shares) - [1 / 2, 1 / 6, 1 / 3]).max() < 0.02
    assert splits == [split_of("set", str(i)) for i in range(6000)]
    assert splits != [split_of("other", str(i)) for i in range(6000)]


def test_images_are_read_by_key_and_a_missing_one_is_an_error(folder):
    found = dict(read_images(folder, ["002", "000"]))
    assert found["000"].getpixel((0, 0)) == (200, 10, 0)
    assert squash(found["002"], 4).shape == (4, 4, 3)
    with pytest.raises(SourceError, match="1 drawings"):
        list(read_images(folder, ["000", "001"]))


def test_transparency_is_laid_on_white():
    clear = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    assert flatten(clear).getpixel((0, 0)) == (255, 255, 255)
    assert flatten(Image.new("L", (2, 2), 7)).getpixel((0, 0)) == (7, 7, 7)


@pytest.mark.parametrize("content", [None, "key\tcaption\n0\tx\n", "a\tb\n1\t2\n"])
def test_another_folder_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "index.tsv").write_text(content)
        (tmp_path / "exact_groups.tsv").write_text("group\tsize\tkeys\n")
    with pytest.raises(SourceError, match=r"index\.tsv"):
        read_index(tmp_path)
