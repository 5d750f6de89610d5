"""The images most like a vector: cosine to every stored embedding, exactly, in blocks that bound the memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import StoreError
from scanner.core.store import Manifest, Store
from scanner.core.vectors import to_matrix

BLOCK_BYTES = 64 << 20
"""Of embeddings in memory at once, as stored and as floats."""
_READ_BYTES = 1 << 20
"""A row group may be hundreds of megabytes: it is read in pieces."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Nearest:
    """The best first; ``num_compared`` of ``num_embedded`` embeddings were reached in the time."""

    image_ids: tuple[int, ...]
    similarities: tuple[float, ...]
    num_compared: int
    num_embedded: int

    @property
    def is_truncated(self) -> bool:
        return self.num_compared < self.num_embedded


def nearest(store: Store, embeddings: Manifest, vector: NDArray[np.float32], *, k: int, timeout_s: float) -> Nearest:
    """The ``k`` images of highest cosine to a unit vector (dim,); of equal ones the lower ids.

    Stored vectors are of norm 1 but for their rounding to float16, which is left as it is, as in the search.

    Raises:
        StoreError: a part is gone or damaged, or its vectors are of another length.
    """
    deadline = time.monotonic() + timeout_s
    best_ids, best = np.empty(0, np.int64), np.empty(0, np.float32)
    num_compared = 0
    for ids, matrix in _blocks(store, embeddings, len(vector)):
        best_ids, best = np.concatenate([best_ids, ids]), np.concatenate([best, matrix.astype(np.float32) @ vector])
        order = np.lexsort((best_ids, -best))[:k]
        best_ids, best = best_ids[order], best[order]
        num_compared += len(ids)
        if time.monotonic() > deadline:
            break
    return Nearest(
        image_ids=tuple(map(int, best_ids)),
        similarities=tuple(map(float, best)),
        num_compared=num_compared,
        num_embedded=embeddings.num_rows,
    )


def _blocks(store: Store, embeddings: Manifest, dim: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
    """Ids and vectors (n, dim), part by part."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part in embeddings.parts:
        try:
            with store.fs.open(store.path("embeddings", part.name), "rb") as file:
                parquet = pq.ParquetFile(file, buffer_size=_READ_BYTES, pre_buffer=False)
                width = parquet.schema_arrow.field("embedding").type.byte_width // 2
                if width != dim:
                    raise StoreError(f"{part.name} holds vectors of {width} numbers, not {dim}.", next_step="Scan it anew.")
                rows = max(1, BLOCK_BYTES // (6 * dim))
                for batch in parquet.iter_batches(rows, columns=["image_id", "embedding"]):
                    yield batch.column("image_id").to_numpy(), to_matrix(pa.chunked_array([batch.column("embedding")]))
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{part.name} cannot be read: {error}.", next_step="Run the same scan again.") from error
