"""Runs to be compared: of vectors alone, as the search sees them, and of pictures, as a scan leaves them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from neighbors.making import write
from pictures import sample, write_tar

from scanner.core.config import RunConfig, override, resolve
from scanner.core.progress import Progress
from scanner.core.store import Store
from scanner.embed.registry import ShardRow, commit_shards
from scanner.leak.records import Other
from scanner.leak.stage import OtherRun
from scanner.pipelines.scan import open_sources, scan

QUIET = Progress(quiet=True)
ENCODER = {"encoder": "pixels", "weights_digest": "w" * 64, "preprocess_id": "12345678", "precision": "fp32"}


def vector_run(path: Path, batches: list[np.ndarray], *, shas=None, first_shard: int = 0, **metadata: str) -> Store:
    """A run of vectors, a part for each batch."""
    store = write(path, batches, shas=shas, first_shard=first_shard)
    manifest = store.manifest("embeddings")
    dim = batches[0].shape[1] if batches else 8
    store.commit("embeddings", manifest.parts, metadata={**ENCODER, "dim": str(dim), **metadata})
    shards = [
        ShardRow(
            shard_id=first_shard + i, dataset="set", url=f"{i}.tar", size=1, etag=None, part=first_shard + i, num_rows=len(rows)
        )
        for i, rows in enumerate(batches)
    ]
    commit_shards(store, shards)
    store.write_run({"config": vector_config().to_dict()})
    return store


def vector_config(**changes: object) -> RunConfig:
    base = {
        "encoder.name": "pixels",
        "neighbors.threshold": 0.9,
        "compute.workers": 1,
        "sources": [{"url": "nowhere", "name": "set"}],
    }
    return resolve(override(RunConfig(), base | {key.replace("__", "."): value for key, value in changes.items()}))


def picture_config(folder: Path, **changes: object) -> RunConfig:
    base = {
        "sources": [{"url": str(folder), "name": "set"}], "encoder.name": "pixels", "compute.workers": 1,
        "neighbors.threshold": 0.3,
    }  # fmt: skip
    return resolve(override(RunConfig(), base | {key.replace("__", "."): value for key, value in changes.items()}))


def picture_run(folder: Path, files: dict[str, bytes], **changes: object) -> tuple[Store, RunConfig]:
    """A scanned run of one tar; captions are those of the keys."""
    source = folder / "source"
    source.mkdir(parents=True, exist_ok=True)
    write_tar(source / "00000.tar", [m for key, data in files.items() for m in sample(key, data, f"caption {key}")])
    config = picture_config(source, **changes)
    store = Store(str(folder / "run"))
    scan(store, config, QUIET)
    return store, config


def against(store: Store, config: RunConfig, *, name: str = "other", role: str = "eval") -> OtherRun:
    return OtherRun(other=Other(name=name, role=role, url=store.root), store=store, sources=open_sources(config))
