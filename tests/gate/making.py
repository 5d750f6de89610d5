"""A finished run whose tables are written by hand, so that each rule can be made to pass, to fail and not to tell."""

from __future__ import annotations

import pyarrow as pa

from scanner.core.config import fingerprint
from scanner.core.schemas import TABLES, arrow_schema
from scanner.core.store import Store

HOSTILE = "a]]> <b>&\x1b[31m\x00\x0b\ufffe ::error::x ##[add-mask]y | `z` [l](javascript:1) \u202egnp \r\n::stop-commands::t"
"""Markup, control characters, what ends a CDATA section, and commands to a build server."""
BLANKS = {"int64": 0, "float32": 0.0, "float64": 0.0, "string": "", "bool": False}


def write(store: Store, table: str, rows: list[dict]) -> None:
    """Rows with the columns that are not named filled in."""
    blank = {c.name: None if c.is_nullable else BLANKS[c.type] for c in TABLES[table].columns}
    if "status" in blank:
        blank["status"] = "current" if table == "shards" else "ok"
    content = pa.Table.from_pylist([{**blank, **row} for row in rows], schema=arrow_schema(table))
    store.write_table(table, content, fingerprint=fingerprint(rows), part_rows=100)


def build(folder: str) -> Store:
    """Ten images of set ``web``: a group of three under one caption, a group of two, one unreadable image; recall 1."""
    store = Store(folder)
    store.write_run({"config": {}, "is_finished": True})
    captions = ["a boat"] * 3 + [HOSTILE, "a barn"] + [f"picture {i}" for i in range(5)]
    write(store, "shards", [{"shard_id": 0, "dataset": "web", "url": "a.tar", "num_rows": 10}])
    images = [
        {"image_id": i, "dataset": "web", "key": f"k{i}", "caption": caption, "phash": i, "is_blank": False}
        for i, caption in enumerate(captions)
    ]
    images[9] |= {"status": "unreadable", "error_message": "truncated", "phash": None}
    write(store, "images", images)
    groups = [(0, 0, "exact"), (1, 0, "near"), (2, 0, "near"), (3, 3, "exact"), (4, 3, "near")]
    write(store, "groups", [{"image_id": i, "group_id": g, "kind": kind, "is_representative": i == g} for i, g, kind in groups])
    sizes = {0: 3, 3: 2}
    write(store, "group_evidence", [{"group_id": g, "class": "picture", "num_images": n} for g, n in sizes.items()])
    write(store, "group_risk", [
        {"group_id": g, "representative_id": g, "num_images": n, "class": "picture", "risk_rank": rank}
        for rank, (g, n) in enumerate(sizes.items(), 1)
    ])  # fmt: skip
    write(store, "group_captions", [
        {"group_id": 0, "caption_hash": 1, "caption": "a boat", "num_images": 3},
        {"group_id": 3, "caption_hash": 2, "caption": HOSTILE, "num_images": 1},
        {"group_id": 3, "caption_hash": 3, "caption": "a barn", "num_images": 1},
    ])  # fmt: skip
    write(store, "audit", [
        {"measure": measure, "band": "all", "num_pairs": 4, "recall": 1.0, "recall_low": 0.9, "recall_high": 1.0}
        for measure in ("neighbors", "links")
    ])  # fmt: skip
    return store
