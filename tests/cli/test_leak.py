"""``scanner leak`` as a shell sees it."""

from __future__ import annotations

import json

import pytest
from pictures import draw, encoded, sample, write_tar
from PIL import Image

from scanner.cli import main as entry
from scanner.core.store import Store
from scanner.images.decode import decode
from scanner.images.pdq import pdq

SCAN = ("--encoder", "pixels", "--workers", 1, "-q")


@pytest.fixture
def call(monkeypatch, capsys):
    """``call(*arguments)``: exit code, output and errors."""

    def invoke(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["scanner", *map(str, arguments)])
        code = 0
        try:
            entry.main()
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return invoke


def source(folder, files):
    folder.mkdir()
    write_tar(folder / "00000.tar", [m for key, data in files.items() for m in sample(key, data, f"caption {key}")])
    return folder


def picture(seed, format_="PNG", **options):
    return encoded(draw(seed, size=(96, 80)), format_, **options)


@pytest.fixture
def sets(tmp_path, call):
    """A scanned training set of 12 pictures, and an evaluation set of which three are among them."""
    train = source(tmp_path / "train-set", {f"t{i}": picture(i) for i in range(12)})
    evaluation = source(
        tmp_path / "val-set", {"v0": picture(0), "v1": picture(1, "BMP"), "v2": picture(2, "JPEG", quality=80), "v3": picture(50)}
    )
    for folder, out in ((train, "train"), (evaluation, "val")):
        assert call("scan", folder, "--out", tmp_path / out, *SCAN)[0] == 0
    return tmp_path


def leaks(folder):
    return Store(str(folder / "train")).read("leaks").to_pylist()


def test_two_runs(sets, call):
    ids, sheet = sets / "ids.csv", sets / "sheet.png"
    code, said, _ = call("leak", sets / "train", sets / "val", "--ids", ids, "--sheet", sheet, "--workers", 1)
    assert code == 0, "leaks are no error"
    assert said.startswith("val-set (eval): 12 images here against 4 images there; cosine at least 0.95, search join")
    assert "exact               2 pairs          2 images here          2 images there" in said
    assert f"Written: {ids}" in said
    assert "leak/eval_images_leaked" in said
    assert sorted((row["left_id"], row["right_key"]) for row in leaks(sets)) == [(0, "v0"), (1, "v1"), (2, "v2")]
    assert ids.read_text().count("\n") == 4
    with Image.open(sheet) as image:
        assert image.width > 256
    code, said, _ = call("query", sets / "train", "leak/eval_images_leaked", "--format", "json")
    assert [row["right_key"] for row in json.loads(said)][:2] == ["v0", "v1"]
    code, said, _ = call("query", sets / "train", "leak/leaks_by_kind", "--format", "json")
    assert sum(row["num_right_found"] for row in json.loads(said)) == 3
    assert "known before" in call("leak", sets / "train", sets / "val")[1]
    page = (sets / "train" / "report.html").read_text()
    assert page.count('alt="Image there: ') == 3
    assert "the other set is not at hand" not in page, "the report shows their images too"


def test_a_folder_of_images_is_a_take_down_list(sets, call):
    wanted = sets / "to-be-removed"
    wanted.mkdir()
    (wanted / "a.jpg").write_bytes(picture(3, "JPEG", quality=90))
    (wanted / "b.png").write_bytes(picture(77))
    (wanted / "c.png").write_bytes(b"no image")
    code, said, _ = call("leak", sets / "train", "--images", wanted, "--workers", 1)
    assert code == 0
    assert said.startswith("to-be-removed (takedown): 12 images here against 2 images there (1 more could not be used)")
    assert "leak/takedown_matches" in said
    (row,) = leaks(sets)
    assert (row["left_id"], row["right_key"], row["role"], row["right_dataset"]) == (3, "a.jpg", "takedown", "to-be-removed")
    assert "known before" in call("leak", sets / "train", "--images", wanted)[1]
    (wanted / "d.png").write_bytes(picture(4))
    assert call("leak", sets / "train", "--images", wanted, "-q")[:2] == (0, "")
    assert {row["left_id"] for row in leaks(sets)} == {3, 4}
    other = sets / "elsewhere" / "to-be-removed"
    other.mkdir(parents=True)
    (other / "a.png").write_bytes(picture(5))
    code, _, error = call("leak", sets / "train", "--images", other)
    assert code == 2
    assert "--name" in error
    assert call("leak", sets / "train", "--images", other, "--name", "second", "-q")[0] == 0
    assert {(row["left_id"], row["right_dataset"]) for row in leaks(sets)} == {
        (3, "to-be-removed"), (4, "to-be-removed"), (5, "second"),
    }  # fmt: skip
    assert list((sets / "train" / ".leak" / "sets").iterdir())
    for name in ("second", "to-be-removed"):
        assert "removed from the tables" in call("leak", sets / "train", "--forget", name)[1]
    assert leaks(sets) == []
    assert not list((sets / "train" / ".leak" / "sets").iterdir())


def test_lists_of_hashes(sets, call):
    store = Store(str(sets / "train"))
    phash = {row["image_id"]: row["phash"] for row in store.read("images", ["image_id", "phash"]).to_pylist()}
    (sets / "known.txt").write_text(f"{phash[6]:016x}\nnot \x1b[31m a hash\n")
    code, said, error = call("leak", sets / "train", "--hashes", sets / "known.txt")
    assert code == 0
    assert "known.txt: 1 lines cannot be used" in error
    assert "line 2: " in error
    assert "\x1b" not in error + said
    assert "known (takedown): 12 images here against 1 hashes there (1 more could not be used); within 8 bits" in said
    found = pdq(decode(picture(7), max_pixels=10**8, min_side=8))
    (sets / "pdq.csv").write_text(f"hash,quality\n{found.hash.hex()},{found.quality}\n")
    code, said, _ = call("leak", sets / "train", "--hashes", sets / "pdq.csv", "--min-pdq-quality", 0, "--role", "eval")
    assert code == 0
    assert "within 31 bits" in said
    rows = {(row["left_id"], row["right_dataset"], row["role"]) for row in leaks(sets)}
    assert {(6, "known", "takedown"), (7, "pdq", "eval")} <= rows


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["TRAIN"], "one set at a time"),
        (["TRAIN", "VAL", "--hashes", "x"], "one set at a time"),
        (["TRAIN", "TRAIN"], "is both sets"),
        (["TRAIN", "NONE"], "is not a run"),
        (["NONE", "VAL"], "is not a run"),
        (["TRAIN", "--hashes", "no-such-list"], "cannot be read"),
        (["TRAIN", "--images", "no/such/folder"], "no/such/folder"),
        (["TRAIN", "VAL", "--ids", "x.xlsx"], "ends in none of"),
        (["TRAIN", "VAL", "--threshold", "2"], "leak.threshold"),
        (["TRAIN", "VAL", "--max-phash-distance", "40"], "leak.max_phash_distance"),
        (["TRAIN", "--forget", "nobody"], "was not compared"),
        (["TRAIN", "VAL", "--name", "all"], "stands for all sets"),
    ],
)
def test_errors_say_what_was_found(sets, call, arguments, said):
    places = {"TRAIN": sets / "train", "VAL": sets / "val", "NONE": sets / "none"}
    code, _, error = call("leak", *(places.get(argument, argument) for argument in arguments))
    assert code == 2
    assert said in error
    assert "Traceback" not in error


def test_runs_of_two_encoders_are_not_compared(sets, call):
    assert call("scan", sets / "val-set", "--out", sets / "small", "--encoder", "small", "--workers", 1, "-q")[0] == 0
    code, _, error = call("leak", sets / "train", sets / "small")
    assert code == 2
    assert "cannot be compared" in error
    assert "pixels" in error
    assert "small" in error


def test_a_search_that_misses_too_much_has_an_exit_code(sets, call, monkeypatch):
    from scanner.search import searches

    def lose_all(self, *, on_tile=None):
        yield from ()

    monkeypatch.setattr(searches.CellsJoin, "blocks", lose_all)
    arguments = ("leak", sets / "train", sets / "val", "--search", "cells", "--recall", 0.9, "--memory", "4GB")
    code, said, error = call(*arguments)
    assert code == 3
    assert "0.9 WAS ASKED FOR" in said
    assert "finds 0.0000 of its pairs; 0.9 was asked for" in error
    assert call(*arguments)[0] == 3, "also where the tables answer"
