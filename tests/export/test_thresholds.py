from __future__ import annotations

import numpy as np
import pytest
from export.making import fill

from scanner.core.config import RunConfig, override
from scanner.core.errors import ConfigError, StoreError
from scanner.core.store import Store
from scanner.export.thresholds import check_threshold, components_at, cut
from scanner.search.forest import SpanningForest, components


def test_components_of_the_forest_are_those_of_all_pairs(tmp_path):
    """As the search leaves it: a maximum spanning forest of random links answers for every threshold above its own."""
    rng = np.random.default_rng(3)
    n = 200
    left, right = rng.integers(0, n, 900), rng.integers(0, n, 900)
    left, right = np.minimum(left, right)[left != right], np.maximum(left, right)[left != right]
    similarity = rng.uniform(0.8, 1, len(left)).astype(np.float32)
    forest = SpanningForest(n)
    forest.add(left, right, similarity)
    kept = forest.links()
    ids = np.sort(rng.choice(10**9, n, replace=False))
    store = Store(str(tmp_path))
    rows = [
        {"left_id": int(ids[a]), "right_id": int(ids[b]), "similarity": float(s)}
        for a, b, s in zip(kept.left, kept.right, kept.similarity, strict=True)
    ]
    store.write_table("links", fill("links", rows), fingerprint="a" * 64, part_rows=50)
    for threshold in (0.8, 0.9, 0.97, 1.0):
        chosen = similarity >= np.float32(threshold)
        expected = ids[components(n, left[chosen], right[chosen])]
        found = components_at(store, threshold).of(ids)
        assert np.array_equal(found, expected)
    assert components_at(store, 0.9).of(np.array([5], np.int64)).tolist() == [5], "an image without a link is alone"


def test_without_links_there_is_no_other_threshold(tmp_path):
    with pytest.raises(StoreError, match="links"):
        components_at(Store(str(tmp_path)), 0.9)


def test_a_threshold_below_the_scan_is_refused():
    config = override(RunConfig(), {"neighbors.threshold": 0.9})
    check_threshold(config, 0.9)
    with pytest.raises(ConfigError, match=r"scanned at 0\.9"):
        check_threshold(config, 0.89)


def test_labels_are_equal_where_group_and_component_are():
    group, component = np.array([1, 1, 1, 2, 2]), np.array([7, 8, 7, 7, 7])
    label = cut(group, component)
    assert (label[:, None] == label[None, :]).tolist() == [
        [(a, b) == (c, d) for c, d in zip(group, component, strict=True)] for a, b in zip(group, component, strict=True)
    ]
    assert len(cut(group[:0], component[:0])) == 0
