from __future__ import annotations

import csv
import io

import pyarrow as pa
import pytest

from scanner.export.id_lists import cell, write_csv


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain, with a comma", "plain, with a comma"),
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\\t=1"),
        ("a\nb\rc", "a\\nb\\rc"),
        ("esc \x1b[31m \x9b nul \x00", "esc \\x1b[31m \\x9b nul \\x00"),
        ("line\u2028separator", "line\\u2028separator"),
        ("ümlaut 😀", "ümlaut 😀"),
        (-5, -5),
        (0.25, 0.25),
        (None, None),
    ],
)
def test_cells(value, written):
    assert cell(value) == written


def test_every_row_is_a_line_and_reads_back():
    keys = ["a", 'quo"te', "new\nline", "=1+1", "comma,comma", None]
    batch = pa.record_batch({"more": [0] * 6, "key": keys, "image_id": list(range(6))})
    file = io.BytesIO()
    assert write_csv(iter([batch, batch]), {"image_id": "int64", "key": "string"}, file) == 12
    text = file.getvalue().decode()
    assert len(text.splitlines()) == 13
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["image_id", "key"]
    assert [row[1] for row in rows[1:7]] == ["a", 'quo"te', "new\\nline", "'=1+1", "comma,comma", ""]


def test_a_list_without_rows_has_its_head():
    file = io.BytesIO()
    assert write_csv(iter([]), {"image_id": "int64", "key": "string"}, file) == 0
    assert file.getvalue() == b"image_id,key\n"
