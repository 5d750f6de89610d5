"""A finished run of a small folder of procedural pictures, its tables written by hand up to ``groups``, and its report."""

from __future__ import annotations

import hashlib
import io
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
from PIL import Image

from scanner.core.config import check_config, override
from scanner.core.progress import Progress
from scanner.core.schemas import TABLES, arrow_schema
from scanner.core.store import Store
from scanner.images.hashes import perceptual_hash, thumbnail
from scanner.report import stage
from scanner.risk import stage as risk
from scanner.sources.folder import FolderSource

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)> & \x07bell \u202egnp.exe \u2066isolated\u2069 \u200bzero'
LONG = "a long caption " * 4000  # 60,000 characters
KEY = 'a"><b>&.png'


def picture(seed: int, side: tuple[int, int] = (64, 48)) -> bytes:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, size=(6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize(side, Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def seen(data: bytes) -> int:
    """The perceptual hash that a scan takes down."""
    with Image.open(io.BytesIO(data)) as image:
        return perceptual_hash(thumbnail(np.array(image.convert("RGB"))))


def write(store: Store, table: str, rows: list[dict], **metadata) -> None:
    schema = arrow_schema(table, embedding_dim=1)
    content = [{**{c.name: None for c in TABLES[table].columns}, **row} for row in rows]
    store.write_table(table, pa.Table.from_pylist(content, schema=schema), fingerprint="a" * 64, part_rows=100, metadata=metadata)


def build(tmp_path):
    """(store, config, sources): 3 pictures in group A (two byte-equal), 2 in B with hostile text, 2 blanks, 1 unreadable."""
    folder = tmp_path / "set"
    folder.mkdir()
    white = io.BytesIO()
    Image.new("RGB", (20, 20), "white").save(white, "PNG")
    files = {
        "a0.png": (picture(1), "a red boat"), "a1.png": (picture(1), "a red boat"), "a2.png": (picture(2, (300, 40)), LONG),
        KEY: (picture(3), HOSTILE), "b1.png": (picture(4), "a plain caption"),
        "w0.png": (white.getvalue(), "blank"), "w1.png": (white.getvalue(), "blank"), "x.png": (b"not an image", None),
    }  # fmt: skip
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    source = FolderSource(str(folder))
    shard = source.shards()[0]
    rows = {sample.key: row for row, sample in enumerate(source.samples(shard))}
    store = Store(str(tmp_path / "run"))
    write(store, "shards", [
        {"shard_id": 0, "dataset": "set", "url": shard.url, "size": shard.size, "part": 0, "num_rows": 8, "status": "current"},
        {"shard_id": 1, "dataset": "set", "url": "cut.tar", "size": 9, "part": 0, "num_rows": 0, "status": "broken",
         "error_message": "ends <early> at byte 512"},
    ])  # fmt: skip
    images = []
    for name, (data, caption) in files.items():
        is_ok = name != "x.png"
        images.append({
            "image_id": rows[name], "dataset": "set", "key": name, "caption": caption, "sha256": hashlib.sha256(data).digest(),
            "phash": seen(data) if is_ok else None,
            "url": f"https://host{rows[name] % 2}.example/<{rows[name]}>", "num_bytes": len(data),
            "width": 64 if is_ok else None, "height": 48 if is_ok else None, "is_blank": name.startswith("w") if is_ok else None,
            "status": "ok" if is_ok else "unreadable", "error_message": None if is_ok else "not an image of a <known> format",
        })  # fmt: skip
    write(store, "images", images)
    groups = []
    for members in (["a0.png", "a1.png", "a2.png"], [KEY, "b1.png"], ["w0.png", "w1.png"]):
        ids = [rows[name] for name in members]
        for name, id_ in zip(members, ids, strict=True):
            exact = files[name][0] == files[members[0]][0]
            groups.append({
                "image_id": id_, "group_id": min(ids), "is_representative": name == members[0],
                "kind": "exact" if exact else "unverified", "similarity_to_representative": 1.0 if exact else 0.98126,
            })  # fmt: skip
    write(store, "groups", groups)
    classes = {rows["a0.png"]: "picture", rows[KEY]: "template", rows["w0.png"]: "blank"}
    counts = {"num_images": 2, "num_files": 2, "num_semantic": 0, "num_unverified": 0, "num_refuted": 0, "is_truncated": False}
    evidence = [
        {"group_id": id_, "candidate_id": id_, "class": class_, "is_protected": class_ != "picture", **counts}
        for id_, class_ in classes.items()
    ]
    write(store, "group_evidence", evidence)
    neighbors = [{"image_id": id_, "num_neighbors": 2 if id_ < 3 else 0, "outlier_score": 0.0} for id_ in range(7)]
    write(store, "neighbors", neighbors, threshold=0.98)
    write(store, "embeddings", [], encoder="pixels", dim="8")
    swept = {"num_groups": 3, "largest_group": 3, "num_pairs": 5}
    write(store, "thresholds", [{"threshold": t, "num_grouped": n, **swept} for t, n in ((0.95, 7), (0.98, 7), (0.999, 6))])
    sampled = {"measure": "neighbors", "num_rows_sampled": 7, "recall_low": 0.5, "recall_high": 1.0, "similarity_low": 0.98}
    write(store, "audit", [
        {**sampled, "band": "all", "num_rows": 4, "num_pairs": 6, "recall": 0.9875},
        {**sampled, "band": "0.9800-0.9850", "num_rows": 0, "num_pairs": 0, "recall": None},
    ])  # fmt: skip
    url = f"https://user:secret@{tmp_path.name}/set?token=hidden"
    config = check_config({"sources": [{"url": url, "name": "set"}], "compute": {"workers": 1}}, where="test")
    store.write_run({"config": config.to_dict(), "versions": {"trainscan": "0"}})
    risk.run(store, config, Progress(quiet=True))
    return store, config, {"set": source}


def page_of(run, *, is_redacted=False, others=None, **changes) -> Page:
    """The report of a run, written and read again; ``changes`` are keys of its config, ``__`` for a dot."""
    store, config, sources = run
    config = override(config, {key.replace("__", "."): value for key, value in changes.items()})
    stage.run(store, config, sources, Progress(quiet=True), is_redacted=is_redacted, others=others)
    return Page(store.get(stage.REDACTED_FILE if is_redacted else stage.REPORT_FILE).decode())


class Page(HTMLParser):
    """Text, tags and attributes of a page as a parser sees them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.texts, self.tags, self.attributes = [], [], []
        self.feed(html)
        self.close()

    def handle_data(self, data):
        if not (self.tags and self.tags[-1] in ("style", "script")):
            self.texts.append(data)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.attributes if name == tag]
