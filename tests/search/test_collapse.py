"""Equal rows against a dictionary of their bytes."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.search import collapse as collapse_module
from scanner.search.collapse import Collapse, collapse, merge


def oracle(rows, missing=None):
    seen, first, inverse = {}, [], []
    for i, row in enumerate(rows):
        key = ("missing", i) if missing is not None and missing[i] else row.tobytes()
        if key not in seen:
            seen[key] = len(first)
            first.append(i)
        inverse.append(seen[key])
    return first, inverse, np.bincount(inverse, minlength=len(first)).tolist()


def as_lists(found):
    assert found.first.dtype == found.inverse.dtype == found.counts.dtype == np.int64
    return found.first.tolist(), found.inverse.tolist(), found.counts.tolist()


@pytest.mark.parametrize("width", [1, 3, 4, 32, 70, 1024])
def test_classes_are_those_of_the_bytes(width):
    rng = np.random.default_rng(width)
    x = rng.integers(0, 256, size=(60, width), dtype=np.uint8)[rng.integers(0, 60, size=500)]
    assert as_lists(collapse(x)) == oracle(x)
    assert as_lists(collapse(np.ascontiguousarray(x).view(f"V{width}")[:, 0])) == oracle(x)


def test_rows_that_differ_in_one_bit_differ():
    x = np.zeros((65, 8), dtype=np.uint8)
    for bit in range(64):
        x[bit + 1, bit // 8] = 1 << bit % 8
    assert len(collapse(x).first) == 65


def test_halves_with_opposite_signs_differ():
    # Differences in the top bits alone are where a sum of products modulo 2^64 is weakest.
    x = np.ones((4, 8), dtype=np.float16)
    x[1, [3, 7]] = -1
    x[2, [1, 5]] = -1
    assert len(collapse(x).first) == 3


@pytest.mark.parametrize("num_hashes", [1, 3])
def test_collisions_of_the_hash_make_no_class_wrong(monkeypatch, num_hashes):
    monkeypatch.setattr(collapse_module, "_hash_rows", lambda rows: rows[:, 0].astype(np.uint64) % np.uint64(num_hashes))
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, size=(400, 6), dtype=np.uint8)
    missing = rng.random(400) < 0.1
    assert as_lists(collapse(x, missing=missing)) == oracle(x, missing)


def test_blocks_do_not_change_the_classes(monkeypatch):
    x = np.random.default_rng(0).integers(0, 3, size=(300, 5), dtype=np.uint8)
    whole = as_lists(collapse(x))
    monkeypatch.setattr(collapse_module, "BLOCK_BYTES", 64)
    assert as_lists(collapse(x)) == whole == oracle(x)


def test_a_missing_value_equals_nothing():
    x = np.zeros((5, 32), dtype=np.uint8)
    found = collapse(x, missing=np.array([True, False, True, False, False]))
    assert found.labels.tolist() == [0, 1, 2, 1, 1]
    assert collapse(x, missing=np.ones(5, dtype=bool)).counts.tolist() == [1] * 5


def test_a_view_that_is_not_contiguous():
    x = np.random.default_rng(0).integers(0, 2, size=(50, 8), dtype=np.uint8)[:, ::2]
    assert as_lists(collapse(x)) == oracle(x)


def test_no_rows():
    assert as_lists(collapse(np.empty((0, 8), dtype=np.uint8))) == ([], [], [])
    assert merge(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)).tolist() == []


def test_merge_is_the_transitive_closure():
    a = np.array([0, 0, 2, 3, 4, 5])
    b = np.array([9, 7, 7, 3, 3, 1])
    assert merge(a, b).tolist() == [0, 0, 0, 3, 3, 5]


def test_merge_of_random_labels():
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 150, size=(2, 200))
    label = np.arange(200)
    while True:
        lower = label.copy()
        for other in (a, b):
            for value in np.unique(other):
                lower[other == value] = lower[other == value].min()
        if (lower == label).all():
            break
        label = lower
    joined = merge(a, b)
    assert joined.tolist() == label.tolist()
    found = Collapse.from_labels(joined)
    assert found.labels.tolist() == label.tolist()
    assert found.counts.sum() == 200
    assert len(found.first) == len(np.unique(label))
