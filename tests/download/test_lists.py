from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.core.errors import SourceError
from scanner.download.lists import ListColumns, ListWriter, carried_name, list_files, prepared_schema, prepared_tables
from scanner.sources.places import resolve


def prepared(path, columns, *, first_row=0, caption_column=None):
    place = resolve(str(path))
    tables = [
        both
        for entry in list_files(place)
        for both in prepared_tables(place, entry, columns, caption_column=caption_column, first_row=first_row)
    ]
    return pa.concat_tables([table for table, _ in tables]), pa.concat_tables([refused for _, refused in tables])


def test_the_columns_of_laion_and_datacomp_are_found():
    laion = pa.schema(
        [("SAMPLE_ID", pa.int64()), ("URL", pa.string()), ("TEXT", pa.string()), ("HEIGHT", pa.int32()), ("WIDTH", pa.int32())]
        + [("LICENSE", pa.string()), ("NSFW", pa.string()), ("similarity", pa.float64()), ("pwatermark", pa.float32())]
    )
    found = ListColumns.of(laion, caption_column=None, where="laion.parquet")
    assert (found.found.url, found.found.caption) == ("URL", "TEXT")
    assert found.others["similarity"] == "double"
    assert found.others["SAMPLE_ID"] == "int64"
    datacomp = pa.schema(
        [("uid", pa.string()), ("url", pa.string()), ("text", pa.string()), ("original_width", pa.int64())]
        + [("sha256", pa.string()), ("face_bboxes", pa.list_(pa.list_(pa.float64())))]
    )
    found = ListColumns.of(datacomp, caption_column=None, where="datacomp.parquet")
    assert (found.found.url, found.found.caption) == ("url", "text")
    assert {carried_name(name) for name in found.others} == {"uid", "listed_original_width", "listed_sha256"}


def test_a_list_without_urls_says_what_it_has():
    with pytest.raises(SourceError, match=r"no column with URLs; it has 'link' \(string\)"):
        ListColumns.of(pa.schema([("link", pa.string())]), caption_column=None, where="x.parquet")


def test_every_row_is_numbered_and_refused_ones_stand_aside(tmp_path):
    urls = ["http://a.example/1.jpg", "file:///etc/passwd", None, "http://a.example/ü.jpg"]
    table = pa.table(
        {"URL": urls, "TEXT": ["one", "two", None, "vier"], "similarity": [0.3, float("nan"), None, float("inf")]}
        | {"uid": ["a", "b", "c", "d"]}
    )
    pq.write_table(table, tmp_path / "list.parquet")
    rows, refused = prepared(tmp_path / "list.parquet", {"similarity": "double", "uid": "string", "absent": "int64"}, first_row=7)
    assert rows.column("list_row").to_pylist() == [7, 8, 9, 10]
    assert rows.column("url").to_pylist() == ["http://a.example/1.jpg", "", "", "http://a.example/%C3%BC.jpg"]
    assert rows.column("caption").to_pylist() == ["one", "two", None, "vier"]
    assert rows.column("similarity").to_pylist() == [0.3, None, None, None]
    assert rows.column("uid").to_pylist() == ["a", "b", "c", "d"]
    assert rows.column("absent").null_count == 4
    assert refused.to_pylist() == [
        {"list_row": 8, "url": "file:///etc/passwd", "reason": "the scheme 'file' is neither http nor https"},
        {"list_row": 9, "url": None, "reason": "no URL"},
    ]


def test_text_that_is_not_utf8_becomes_text(tmp_path):
    raw = pa.array([b"http://a.example/1.jpg", b"http://a.example/\xff"], pa.binary())
    captions = pa.array([b"fine", b"caf\xe9"], pa.binary())
    pq.write_table(pa.table({"url": raw, "caption": captions}), tmp_path / "list.parquet")
    rows, _ = prepared(tmp_path / "list.parquet", {})
    assert rows.column("url").to_pylist()[1].startswith("http://a.example/%")
    assert rows.column("caption").to_pylist() == ["fine", "caf\ufffd"]


def test_files_hold_whole_shards_and_a_row_group_is_a_shard(tmp_path, monkeypatch):
    monkeypatch.setattr("scanner.download.lists.LIST_ROWS", 20)
    schema = prepared_schema({})
    writer = ListWriter(tmp_path, lambda number: f"0000-{number:05d}.parquet", schema, shard_rows=10, first_shard=3)
    for start in range(0, 47, 9):
        rows = list(range(start, min(start + 9, 47)))
        writer.write(pa.table({"list_row": rows, "url": ["u"] * len(rows), "caption": ["c"] * len(rows)}, schema=schema))
    files = writer.close()
    assert [(file.num_rows, file.first_shard) for file in files] == [(20, 3), (20, 5), (7, 7)]
    assert [list(file.shards(10)) for file in files] == [[3, 4], [5, 6], [7]]
    found = []
    for file in files:
        parquet = pq.ParquetFile(tmp_path / file.name)
        assert parquet.num_row_groups == len(file.shards(10))
        found += [parquet.read_row_group(group).column("list_row").to_pylist() for group in range(parquet.num_row_groups)]
    assert found == [list(range(start, min(start + 10, 47))) for start in range(0, 47, 10)]
