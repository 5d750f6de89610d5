"""Ready embeddings as samples: what counts as a usable vector."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scanner.sources.base import Sample

BYTES_PER_EMBEDDING_ROW = 2 * 2**10
"""Guess for files that do not tell their rows: 512 float16 numbers, a caption, a URL and names."""


def set_embeddings(samples: list[Sample], block: NDArray[np.float32]) -> None:
    """Puts row i of ``block`` (n, dim) into sample i; rows that no search can use become ``unreadable``.

    Vectors are passed on as they are, not normalised: a search over cosines divides by the norm.
    """
    is_finite = np.logical_and.reduce(np.isfinite(block), axis=1)
    is_zero = np.logical_and.reduce(block == 0, axis=1)
    for i, (sample, vector) in enumerate(zip(samples, block, strict=True)):
        if not is_finite[i]:
            sample.status, sample.error_message = "unreadable", "embedding with NaN or infinite values"
        elif is_zero[i]:
            sample.status, sample.error_message = "unreadable", "embedding of zeros"
        else:
            sample.embedding = vector
