"""Vectors in Arrow: ``fixed_size_binary(2 * dim)`` of little-endian float16; Parquet reads lists ten times slower."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

READY = "ready"
"""Name of the encoder in the metadata of embeddings that a source brought along."""


def to_column(vectors: NDArray[np.float16]) -> pa.FixedSizeBinaryArray:
    """Arrow column of (n, dim) float16."""
    import pyarrow as pa

    data = np.ascontiguousarray(vectors, dtype="<f2")
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(2 * data.shape[1]), len(data), [None, pa.py_buffer(data)])


def to_matrix(column: pa.ChunkedArray) -> NDArray[np.float16]:
    """(n, dim) float16 of such a column; no copy where the column is one chunk."""
    dim = column.type.byte_width // 2
    matrices = [np.empty((0, dim), "<f2")] if column.num_chunks == 0 else []
    for chunk in column.chunks:
        data = np.frombuffer(chunk.buffers()[1], dtype="<f2").reshape(-1, dim)
        matrices.append(data[chunk.offset : chunk.offset + len(chunk)])
    return matrices[0] if len(matrices) == 1 else np.concatenate(matrices)
