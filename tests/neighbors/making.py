"""Runs made of vectors alone: tables ``images`` and ``embeddings`` as the stage finds them, a part for each batch of rows."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

from scanner.core.config import RunConfig, override
from scanner.core.ids import image_id
from scanner.core.progress import Progress
from scanner.core.schemas import arrow_schema
from scanner.core.store import Part, Store
from scanner.core.vectors import to_column
from scanner.neighbors import stage

SETTINGS = {"neighbors.threshold": 0.9, "neighbors.report_thresholds": [0.8, 0.95], "compute.workers": 1}


def config(**changes):
    return override(RunConfig(), {**SETTINGS, **{key.replace("__", "."): value for key, value in changes.items()}})


def write(path, batches, *, shas=None, first_shard=0):
    """Makes ``batches`` (arrays of rows, float16) the content of the run; a batch that is there already is left alone.

    ``shas``: for each batch a list of 32 bytes or None; else every row has bytes of its own.
    """
    store = Store(str(path))
    parts = {"images": [], "embeddings": []}
    for shard, vectors in enumerate(batches, start=first_shard):
        n, k = len(vectors), shard - first_shard
        ids = [image_id(shard, row) for row in range(n)]
        sha = shas[k] if shas else [hashlib.sha256(f"{shard}/{row}".encode()).digest() for row in range(n)]
        rng = np.random.default_rng([shard, 5])
        sides, lengths = rng.integers(20, 24, n), rng.integers(0, 4, n)
        images = {
            "image_id": ids, "dataset": ["set"] * n, "key": [str(i) for i in ids], "caption": ["c" * m for m in lengths],
            "sha256": sha, "width": sides, "height": sides, "status": ["ok"] * n,
        }  # fmt: skip
        schema = arrow_schema("images")
        images |= {name: [None] * n for name in schema.names if name not in images}
        tables = {
            "images": pa.table({name: pa.array(images[name], schema.field(name).type) for name in schema.names}),
            "embeddings": pa.table({"image_id": ids, "embedding": to_column(vectors)}),
        }
        for table, rows in tables.items():
            digest = hashlib.sha256(vectors.tobytes() + b"".join(s or b"-" for s in sha) + table.encode()).hexdigest()
            part = Part(index=shard, fingerprint=digest, num_rows=n)
            parts[table].append(part if store.has_part(table, part) else store.write_part(table, part, rows))
    for table, made in parts.items():
        store.commit(table, made)
    return store


def search(store, **changes):
    return stage.run(store, config(**changes), Progress(quiet=True))


def contents(store):
    """The tables of the stage as Arrow, in the order in which they were written; but for ``audit``, which tells of one search."""
    return {table: store.read(table).combine_chunks() for table in stage.OUTPUTS if table != "audit"}


def assert_same_tables(store, other):
    for table, rows in contents(store).items():
        expected = store_rows = contents(other)[table]
        for column in rows.column_names:
            assert rows[column].equals(store_rows[column]), f"{table}.{column}"
        assert rows.equals(expected)
