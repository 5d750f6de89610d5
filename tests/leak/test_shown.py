from __future__ import annotations

import io
from html.parser import HTMLParser

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from leak.making import QUIET, against, picture_run
from pictures import draw, encoded
from PIL import Image

from scanner.core.config import override
from scanner.core.errors import ConfigError
from scanner.images.sheet import contact_sheet
from scanner.leak import shown, stage
from scanner.pipelines.scan import open_sources

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e\x07\x1b[31m"


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown")
    files = {f"p{i}": encoded(draw(i, size=(80, 60))) for i in range(12)}
    here, config = picture_run(folder / "here", files)
    there, other = picture_run(folder / "there", {f"q{i}": encoded(draw(i, size=(80, 60)), "BMP") for i in range(9)})
    run = against(there, other)
    config = override(config, {"neighbors.threshold": 0.98})
    stage.run(here, config, open_sources(config), run, QUIET)
    assert here.read("leaks").num_rows == 9
    return here, config, run


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_ids_of_both_sides(compared, tmp_path, suffix):
    store, _, _ = compared
    path = str(tmp_path / "new" / f"ids{suffix}")
    assert shown.write_ids(path, store, "other") == 9
    rows = (pa_csv.read_csv if suffix == ".csv" else pq.read_table)(path).to_pylist()
    assert [(row["left_key"], row["right_key"], row["kind"]) for row in rows] == [(f"p{i}", f"q{i}", "exact") for i in range(9)]
    assert [row["left_id"] for row in rows] == list(range(9))
    assert shown.write_ids(path, store, "nobody") == 0
    assert len((pa_csv.read_csv if suffix == ".csv" else pq.read_table)(path)) == 0
    assert [file.name for file in (tmp_path / "new").iterdir()] == [f"ids{suffix}"]


def test_a_sheet_as_png(compared, tmp_path):
    store, config, run = compared
    path = tmp_path / "sheet.png"
    assert shown.write_sheet(str(path), store, config, open_sources(config), "other", run, num_pairs=4) == 4
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 1000, "pictures stand on it"


def test_pairs_are_drawn_evenly(compared):
    from scanner.core.sql import connect, find_query, run_query

    store, _, _ = compared
    with connect(store) as connection:
        for limit, expected in ((4, 4), (9, 9), (100, 9)):
            rows = run_query(connection, find_query("leak/shown_pairs"), {"other": "other", "limit": limit}).fetchall()
            assert len(rows) == expected
            assert rows[-1][0] == rows[0][1] == 9, "the most doubtful is among them"


def test_a_sheet_as_a_page_shows_what_is_hostile_as_text(tmp_path):
    here, config = picture_run(tmp_path / "here", {"p": encoded(draw(1, size=(80, 60)))})
    there, other = picture_run(tmp_path / "there", {"q": encoded(draw(1, size=(80, 60)), "BMP")})
    run = against(there, other, name=HOSTILE)
    stage.run(here, config, open_sources(config), run, QUIET)
    row = here.read("leaks").to_pylist()[0]
    rows = [row | {"num_found": 1, "caption": HOSTILE, "key": HOSTILE, "right_key": HOSTILE, "kind": "exact", "position": 1}]
    pictures = {("here/", row["left_id"]): np.zeros((8, 8, 3), np.uint8), ("there/", row["right_id"]): HOSTILE}
    page = shown._page(rows, pictures, HOSTILE).decode()
    tags: list[tuple[str, dict]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))
    parser.feed(page)
    assert not any(tag == "script" or any(name.startswith("on") for name in attributes) for tag, attributes in tags)
    assert [a["src"][:15] for tag, a in tags if tag == "img"] == ["data:image/jpeg"]
    assert not {"\x07", "\x1b", "\u202e"} & set(page)
    path = tmp_path / "sheet.html"
    assert shown.write_sheet(str(path), here, config, open_sources(config), HOSTILE, run, num_pairs=9) == 1
    text = path.read_text()
    assert text.count("<img ") == 2
    assert "default-src" in text


def test_a_sheet_of_hashes_shows_the_line(tmp_path):
    rows = [
        {"left_id": 1, "right_id": 7, "right_key": "ff" * 8, "kind": "unverified", "similarity": None, "confidence": None,
         "hash_distance": 3, "num_found": 1, "caption": None, "key": "k"}
    ]  # fmt: skip
    page = shown._page(rows, {("here/", 1): "gone"}, "list").decode()
    assert "line 7: ffffffffffffffff" in page
    assert "unverified, 3 bits" in page


@pytest.mark.parametrize("path", ["ids.txt", "ids", "sheet.pdf"])
def test_other_endings_are_refused_before_any_work(path):
    with pytest.raises(ConfigError, match="ends in none of"):
        shown.check_suffix(path, shown.IDS_FORMATS)


def test_labels_of_any_kind_are_drawn():
    data = contact_sheet([(f"{HOSTILE}\nkey \u4e2d", [np.zeros((100, 128, 3), np.uint8), HOSTILE])] * 3, columns=2)
    with Image.open(io.BytesIO(data)) as image:
        assert image.width > 2 * 2 * 128
    assert contact_sheet([], columns=2)
