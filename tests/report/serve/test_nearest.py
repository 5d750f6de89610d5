"""The search by an example against brute force over all embeddings at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from scanner.core.errors import StoreError
from scanner.core.schemas import arrow_schema
from scanner.core.store import Store
from scanner.core.vectors import to_column
from scanner.report.serve import nearest as module
from scanner.report.serve.nearest import nearest

DIM = 24


@pytest.fixture
def made(tmp_path):
    """(store, vectors): 1,000 rows in four parts, ids in no order, some rows equal."""
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((1000, DIM)).astype(np.float32)
    vectors[500:520] = vectors[7]
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    ids = rng.permutation(1000).astype(np.int64) * 3
    rows = pa.table([pa.array(ids), to_column(vectors)], schema=arrow_schema("embeddings", embedding_dim=DIM))
    store = Store(str(tmp_path))
    store.write_table("embeddings", rows, fingerprint="a" * 64, part_rows=300)
    return store, ids, vectors


@pytest.mark.parametrize("k", [1, 20, 999, 2000])
@pytest.mark.parametrize("block_rows", [1, 7, 300, 5000])
def test_it_is_exact_whatever_the_blocks(made, k, block_rows, monkeypatch):
    store, ids, vectors = made
    monkeypatch.setattr(module, "BLOCK_BYTES", 6 * DIM * block_rows)
    wanted = vectors[7].astype(np.float32)
    found = nearest(store, store.manifest("embeddings"), wanted, k=k, timeout_s=600)
    cosines = vectors.astype(np.float32) @ wanted
    order = np.lexsort((ids, -cosines))[:k]
    assert found.image_ids == tuple(ids[order])
    np.testing.assert_allclose(found.similarities, cosines[order], atol=1e-6)
    assert (found.num_compared, found.num_embedded, found.is_truncated) == (1000, 1000, False)


def test_what_the_time_does_not_reach_is_told(made, monkeypatch):
    store, ids, _ = made
    monkeypatch.setattr(module, "BLOCK_BYTES", 6 * DIM * 100)
    found = nearest(store, store.manifest("embeddings"), np.eye(DIM, dtype=np.float32)[0], k=5, timeout_s=0.0)
    assert found.is_truncated
    assert found.num_compared == 100
    assert set(found.image_ids) <= set(ids[:100].tolist())


def test_vectors_of_another_length_and_parts_that_are_gone_are_told(made):
    store, *_ = made
    manifest = store.manifest("embeddings")
    with pytest.raises(StoreError, match="24 numbers, not 7"):
        nearest(store, manifest, np.ones(7, np.float32), k=1, timeout_s=9)
    store.remove([store.part_paths("embeddings")[1]])
    with pytest.raises(StoreError, match="cannot be read"):
        nearest(store, manifest, np.ones(DIM, np.float32), k=1, timeout_s=9)


def test_nothing_is_found_among_nothing(tmp_path):
    store = Store(str(tmp_path))
    empty = arrow_schema("embeddings", embedding_dim=DIM).empty_table()
    store.write_table("embeddings", empty, fingerprint="a" * 64, part_rows=300)
    found = nearest(store, store.manifest("embeddings"), np.ones(DIM, np.float32), k=3, timeout_s=9)
    assert (found.image_ids, found.num_compared, found.is_truncated) == ((), 0, False)
