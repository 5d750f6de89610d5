"""Rows that are equal byte for byte become one class and keep their multiplicity.

Comparing the copies of an image with one another costs the square of their number and teaches nothing, so equal bytes and
equal embeddings collapse before the search.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.search.forest import components

BLOCK_BYTES = 1 << 24


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Collapse:
    """Classes of equal rows, numbered in order of first appearance.

    Attributes:
        first: int64 (u,), ascending: the first row of each class.
        inverse: int64 (n,): the class of each row.
        counts: int64 (u,): rows of each class.
    """

    first: NDArray[np.int64]
    inverse: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 (n,): for each row the smallest row of its class."""
        return self.first[self.inverse]

    @classmethod
    def from_labels(cls, labels: NDArray[np.int64]) -> Collapse:
        """Classes of rows given, for each row, the smallest row of its class (as :func:`merge` returns)."""
        rows = np.arange(len(labels), dtype=np.int64)
        first = np.flatnonzero(labels == rows)
        position = np.empty(len(labels), dtype=np.int64)
        position[first] = np.arange(len(first))
        inverse = position[labels]
        return cls(first=first, inverse=inverse, counts=np.bincount(inverse, minlength=len(first)))


def collapse(x: NDArray[Any], *, missing: NDArray[np.bool_] | None = None) -> Collapse:
    """Classes of rows with equal bytes; exact.

    Rows are sorted by a 64-bit hash and then compared in full with the first row of their hash, so a collision costs time,
    never a wrong class. Beside ``x`` it holds about 50 bytes a row; ``x`` itself is read in blocks and not copied.

    Args:
        x: (n, w) of any fixed-width type, or (n,) of ``V<w>``/``S<w>``; rows contiguous. Bytes are compared, so for floats
            0.0 and -0.0 differ and equal NaNs are equal.
        missing: (n,) True where a row has no value. Such a row equals no other.
    """
    assert x.ndim in (1, 2)
    assert not x.dtype.hasobject
    num_rows = len(x)
    labels = np.arange(num_rows, dtype=np.int64)
    width = x.dtype.itemsize * (x.shape[1] if x.ndim == 2 else 1)
    present = np.arange(num_rows) if missing is None else np.flatnonzero(~missing)
    if width == 0 or len(present) == 0:
        labels[present] = present[:1]
        return Collapse.from_labels(labels)

    rows = x.reshape(num_rows, -1) if x.flags.c_contiguous else np.ascontiguousarray(x).reshape(num_rows, -1)
    rows = rows.view(np.uint8)
    digest = _hash_rows(rows)[present]
    # Stable: within one hash rows stay in ascending order, so the head of a run is its smallest row.
    order = np.argsort(digest, kind="stable")
    digest = digest[order]
    sorted_rows = present[order]
    is_head = np.concatenate([[True], digest[1:] != digest[:-1]])
    head = sorted_rows[is_head][np.cumsum(is_head) - 1]
    tail, head = sorted_rows[~is_head], head[~is_head]

    collided = []
    for block in _blocks(len(tail), width):
        equal = (rows[tail[block]] == rows[head[block]]).all(axis=1)
        labels[tail[block][equal]] = head[block][equal]
        collided.append(tail[block][~equal])
    first_seen: dict[bytes, int] = {}
    for row in np.sort(np.concatenate([*collided, np.empty(0, dtype=np.int64)])).tolist():
        labels[row] = first_seen.setdefault(rows[row].tobytes(), row)
    return Collapse.from_labels(labels)


def merge(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """The smallest equivalence that holds both ``a`` and ``b`` (its transitive closure).

    Args:
        a: (n,) class of each row, any integers.
        b: (n,) class of each row in the other equivalence; its numbers need not agree with those of ``a``.

    Returns:
        int64 (n,): for each row the smallest row of its joined class.
    """
    assert len(a) == len(b)
    rows = np.arange(len(a), dtype=np.int64)
    return components(len(a), np.concatenate([rows, rows]), np.concatenate([_first_rows(a), _first_rows(b)]))


def _first_rows(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row the smallest row with its label."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


def _blocks(num_rows: int, width: int) -> Iterator[slice]:
    step = max(1, BLOCK_BYTES // width)
    for start in range(0, num_rows, step):
        yield slice(start, start + step)


def _hash_rows(rows: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """A 64-bit hash of each row (n, w): the sum of its 32-bit words times random 64-bit numbers, modulo 2^64.

    Two different rows collide with probability at most 2^-32 over the numbers (Dietzfelbinger et al. 1997, multiply-shift);
    rows that differ in low bits, as embeddings do, with about 2^-64.
    """
    num_rows, width = rows.shape
    num_words = -(-width // 4)
    factors = np.random.default_rng(0).integers(0, 2**64, size=num_words, dtype=np.uint64)
    digest = np.empty(num_rows, dtype=np.uint64)
    for block in _blocks(num_rows, 2 * width):
        padded = rows[block]
        if width % 4:
            padded = np.pad(padded, ((0, 0), (0, -width % 4)))
        digest[block] = padded.view(np.uint32).astype(np.uint64) @ factors
    return digest
