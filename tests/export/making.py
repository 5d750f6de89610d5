"""Runs whose tables are written by hand over a source that is really there: no encoder, no decoding workers, no search."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from pictures import draw, encoded
from PIL import Image

from scanner.core.config import RunConfig, override, resolve
from scanner.core.errors import BrokenShardError
from scanner.core.ids import image_id
from scanner.core.progress import Progress
from scanner.core.schemas import TABLES, arrow_schema
from scanner.core.store import Part, Store
from scanner.core.vectors import to_column
from scanner.pipelines.export import export
from scanner.sources.open import open_source

QUIET = Progress(quiet=True)
THRESHOLD = 0.9
DEFAULTS = {"int64": 0, "float32": 0.0, "float64": 0.0, "string": "", "bool": False, "uint64": 0}


@dataclass(frozen=True, kw_only=True)
class Group:
    """Members by (dataset, key) or by key alone, the representative first; ``kinds`` of the others."""

    members: list[str]
    kinds: list[str] = field(default_factory=list)
    class_: str = "picture"
    similarity: float = 0.95


@dataclass(frozen=True, kw_only=True)
class Made:
    store: Store
    config: RunConfig
    ids: dict[str, int]
    """By key, and by ``dataset/shard/key``."""

    def sources(self):
        return {s.dataset: open_source(s.url, format=s.format) for s in self.config.sources}


def fill(table: str, rows: list[dict]) -> pa.Table:
    blank = {c.name: None if c.is_nullable else DEFAULTS[c.type] for c in TABLES[table].columns}
    return pa.Table.from_pylist([{**blank, **row} for row in rows], schema=arrow_schema(table))


def vector(angle: float) -> np.ndarray:
    """Unit vector in two of eight dimensions: the cosine of two is that of the difference of their angles."""
    out = np.zeros(8)
    out[:2] = np.cos(angle), np.sin(angle)
    return out.astype(np.float16)


def make_run(folder: Path, sources: dict[str, str], groups: list[Group], *, formats: dict[str, str] | None = None) -> Made:
    """A run over ``sources`` (dataset to url), a part a shard. Members of a group lie on a fan of angles: each next one is
    ``group.similarity`` similar to the one before it, and less to those before that."""
    store = Store(str(folder))
    config = override(
        RunConfig(),
        {
            "sources": [{"url": url, "name": name, "format": (formats or {}).get(name, "auto")} for name, url in sources.items()],
            "encoder.name": "pixels", "neighbors.threshold": THRESHOLD, "neighbors.report_thresholds": [0.8, 0.97],
        },
    )  # fmt: skip
    shards, images, ids = [], [], {}
    for dataset, url in sources.items():
        source = open_source(url, format=(formats or {}).get(dataset, "auto"))
        for shard in source.shards():
            shard_id = len(shards)
            count, status = 0, "current"
            try:
                for sample in source.samples(shard):
                    id_ = image_id(shard_id, count)
                    images.append({"image_id": id_, **_facts(dataset, sample)})
                    ids.setdefault(sample.key, id_)
                    ids[f"{dataset}/{shard.url}/{sample.key}"] = id_
                    count += 1
            except BrokenShardError:
                status = "broken"
            shards.append(
                {"shard_id": shard_id, "dataset": dataset, "url": shard.url, "size": shard.size, "etag": shard.etag,
                 "part": shard_id, "num_rows": count, "status": status}
            )  # fmt: skip
    _write(store, config, shards, images, ids, groups)
    return Made(store=store, config=resolve(config), ids=ids)


def _facts(dataset: str, sample) -> dict:
    facts = {
        "dataset": dataset, "key": sample.key, "caption": sample.caption, "url": sample.url, "status": sample.status,
        "error_message": sample.error_message,
    }  # fmt: skip
    if sample.data is None:
        return facts
    facts |= {"sha256": sample.sha256 or hashlib.sha256(sample.data).digest(), "num_bytes": len(sample.data)}
    try:
        with Image.open(io.BytesIO(sample.data)) as image:
            image.load()
            return facts | {"width": image.width, "height": image.height, "is_blank": False}
    except OSError as error:
        return facts | {"status": "unreadable", "error_message": str(error)}


def _write(store: Store, config: RunConfig, shards: list, images: list, ids: dict[str, int], groups: list[Group]) -> None:
    angles = {row["image_id"]: 0.5 + 1e-3 * i for i, row in enumerate(images)}
    rows, evidence, risk, links = [], [], [], []
    for number, group in enumerate(groups):
        members = [ids[member] for member in group.members]
        step = np.arccos(group.similarity)
        for i, member in enumerate(members):
            angles[member] = number + i * step
        kinds = ["exact", *(group.kinds or ["near"] * (len(members) - 1))]
        for i, (member, kind) in enumerate(zip(members, kinds, strict=True)):
            a, b = (vector(angles[one]).astype(float) for one in (member, members[0]))
            cosine = float(a @ b / np.sqrt((a @ a) * (b @ b)))
            rows.append(
                {"image_id": member, "group_id": min(members), "is_representative": i == 0, "kind": kind,
                 "similarity_to_representative": min(cosine, 1.0)}
            )  # fmt: skip
            if i:
                pair = sorted((members[i - 1], member))
                links.append({"left_id": pair[0], "right_id": pair[1], "similarity": group.similarity})
        evidence.append({"group_id": min(members), "class": group.class_, "is_protected": group.class_ != "picture"})
        risk.append(
            {"group_id": min(members), "representative_id": members[0], "num_images": len(members), "class": group.class_}
        )
    usable = [row for row in images if row["status"] == "ok"]
    neighbors = [{"image_id": row["image_id"]} for row in usable]
    thresholds = [{"threshold": t, "num_groups": len(groups), "num_grouped": len(rows)} for t in (0.8, THRESHOLD, 0.97)]
    for table, content in (
        ("shards", shards), ("groups", sorted(rows, key=lambda r: (r["group_id"], r["image_id"]))), ("group_evidence", evidence),
        ("group_risk", risk), ("links", links), ("neighbors", neighbors), ("thresholds", thresholds),
    ):  # fmt: skip
        store.write_table(
            table, fill(table, content), fingerprint=hashlib.sha256(repr(content).encode()).hexdigest(), part_rows=99
        )
    for table in ("images", "embeddings"):
        parts = []
        for shard in shards:
            mine = [row for row in (images if table == "images" else usable) if row["image_id"] >> 24 == shard["shard_id"]]
            digest = hashlib.sha256(repr((table, mine)).encode()).hexdigest()
            part = Part(index=shard["shard_id"], fingerprint=digest, num_rows=len(mine))
            content = fill("images", mine) if table == "images" else _embeddings(mine, angles)
            parts.append(store.write_part(table, part, content))
        store.commit(table, parts)
    store.write_run({"config": config.to_dict()})


def _embeddings(images: list[dict], angles: dict[int, float]) -> pa.Table:
    vectors = np.stack([vector(angles[row["image_id"]]) for row in images]) if images else np.zeros((0, 8), np.float16)
    ids = np.array([row["image_id"] for row in images], np.int64)
    return pa.table({"image_id": ids, "embedding": to_column(vectors)}, schema=arrow_schema("embeddings", embedding_dim=8))


def picture(i: int) -> bytes:
    return encoded(draw(i, size=(16 + i, 16)))


def run_export(made, to: Path, *formats: str, **changes):
    names = {name.replace("__", "."): value for name, value in changes.items()}
    config = override(made.config, {"export.formats": list(formats) or ["ids"], **names})
    return export(made.store, str(to), config, QUIET)
