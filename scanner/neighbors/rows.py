"""The embedded images by position, and which of them are copies of one another before any search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import ComputeConfig, NeighborsConfig
from scanner.core.memory import allowed_bytes
from scanner.core.store import Store
from scanner.core.vectors import to_matrix
from scanner.search import copies
from scanner.search.copies import Copies
from scanner.search.scratch import release, scratch_matrix

BLOCK_ROWS = 65_536


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rows:
    """The embedded images by position: what the search needs to know of each.

    Attributes:
        image_id: int64 (n,), ascending.
        vectors: float16 (n, dim), unit length but for rounding.
        sha256: uint8 (n, 32), zeros where ``has_sha256`` is False.
        resolution: int64 (n,), width x height in pixels, 0 where unknown.
        caption_length: int64 (n,), characters, 0 without a caption.
    """

    image_id: NDArray[np.int64]
    vectors: NDArray[np.float16]
    sha256: NDArray[np.uint8]
    has_sha256: NDArray[np.bool_]
    resolution: NDArray[np.int64]
    caption_length: NDArray[np.int64]


def read_rows(store: Store, compute: ComputeConfig) -> Rows:
    """Images with status ok, by ascending id, each with its embedding: in memory, or on disk where they are a third of it.

    Raises:
        StoreError: the tables are not there; no room in scratch.
    """
    import pyarrow.compute as pc

    columns = ["image_id", "sha256", "width", "height", "caption", "status"]
    images = store.read("images", columns)
    images = images.filter(pc.equal(images["status"], "ok")).sort_by("image_id")
    ids = store.read("embeddings", ["image_id"])["image_id"].to_numpy()
    order = np.argsort(ids, kind="stable")
    vectors = _read_vectors(store, order, compute)
    assert np.array_equal(images["image_id"].to_numpy(), ids[order]), "every image with status ok has its embedding"
    has_sha256 = np.asarray(pc.is_valid(images["sha256"]))
    digests = np.frombuffer(b"".join(images["sha256"].fill_null(bytes(32)).to_pylist()), dtype=np.uint8).reshape(-1, 32)
    # Overflow is no matter: an image has at most 2^31 pixels a side.
    resolution = pc.multiply(images["width"].fill_null(0), images["height"].fill_null(0)).to_numpy()
    caption_length = pc.utf8_length(images["caption"].fill_null("")).to_numpy().astype(np.int64)
    return Rows(
        image_id=ids[order],
        vectors=vectors,
        sha256=digests,
        has_sha256=has_sha256,
        resolution=resolution,
        caption_length=caption_length,
    )


def take_rows(x: NDArray[np.float16], rows: NDArray[np.int64], compute: ComputeConfig) -> NDArray[np.float16]:
    """A copy of some rows, lying where ``x`` lies: in memory or on disk."""
    if not isinstance(x, np.memmap):
        return x[rows]
    out = scratch_matrix(compute.scratch, num_rows=len(rows), dim=x.shape[1])
    for start in range(0, len(rows), BLOCK_ROWS):
        out[start : start + BLOCK_ROWS] = x[rows[start : start + BLOCK_ROWS]]
        release(x)
        release(out)
    return out


def _read_vectors(store: Store, order: NDArray[np.int64], compute: ComputeConfig) -> NDArray[np.float16]:
    """float16 (n, dim), part by part; ``order`` sorts the table's rows."""
    n, start = len(order), 0
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    vectors: NDArray[np.float16] | None = None
    for _, part in store.read_parts("embeddings", ["embedding"]):
        block = to_matrix(part["embedding"])
        if vectors is None:
            is_large = 3 * n * 2 * block.shape[1] > allowed_bytes(compute.memory)
            shape = {"num_rows": n, "dim": block.shape[1]}
            vectors = scratch_matrix(compute.scratch, **shape) if is_large else np.empty((n, block.shape[1]), np.float16)
        vectors[place[start : start + len(block)]] = block
        release(vectors)
        start += len(block)
    return vectors if vectors is not None else np.empty((0, 1), np.float16)


def find_copies(rows: Rows, settings: NeighborsConfig) -> Copies:
    """Equal embeddings, and equal files unless switched off."""
    has_sha256 = rows.has_sha256 if settings.collapse_sha256 else np.zeros_like(rows.has_sha256)
    return copies.find_copies(rows.vectors, rows.sha256, has_sha256, threshold=settings.cosine)
