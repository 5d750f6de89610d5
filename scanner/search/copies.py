"""Which rows are copies of one another before any search: equal vectors, and equal files where their digest is to be believed."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.search.collapse import Collapse, collapse, merge
from scanner.search.exact import row_similarities

logger = logging.getLogger("scanner")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Copies:
    """Which rows equal one another, by their vectors and by their files.

    Attributes:
        by_vector, by_file: int64 (n,), for each row the smallest row that it equals.
    """

    by_vector: NDArray[np.int64]
    by_file: NDArray[np.int64]

    def classes(self, num_rows: int | None = None) -> Collapse:
        """Classes among the first ``num_rows`` rows alone, or among all."""
        return Collapse.from_labels(merge(self.by_vector[:num_rows], self.by_file[:num_rows]))


def find_copies(
    vectors: NDArray[np.float16], sha256: NDArray[np.uint8], has_sha256: NDArray[np.bool_], *, threshold: float
) -> Copies:
    """Equal embeddings (n, d), and equal files by their digests (n, 32).

    A digest that the source recorded is a claim. Where the vectors of two rows that share it lie below ``threshold``, it is not
    used: the search decides instead.

    Args:
        has_sha256: (n,) bool; False everywhere leaves files out.
    """
    by_vector = collapse(vectors).labels
    if not has_sha256.any():
        return Copies(by_vector=by_vector, by_file=by_vector)
    labels = collapse(sha256, missing=~has_sha256).labels
    copies = np.flatnonzero(labels != np.arange(len(labels)))
    refuted = row_similarities(vectors, copies, labels[copies]) < np.float32(threshold)
    if refuted.any():
        logger.warning(
            "%d images have the recorded sha256 of another image but do not look like it; the digest is not used", refuted.sum()
        )
        labels[copies[refuted]] = copies[refuted]
    return Copies(by_vector=by_vector, by_file=labels)
