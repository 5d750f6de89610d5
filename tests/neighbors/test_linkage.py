"""Leaders against a loop over rows, one at a time."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.neighbors import linkage
from scanner.neighbors.groups import make_groups
from scanner.neighbors.linkage import leader_labels
from scanner.search.exact import row_similarities
from scanner.search.forest import components


def loosely_joined(n, seed):
    """Rows along random walks on the sphere: chains; their components at 0.9, and qualities with ties."""
    rng = np.random.default_rng(seed)
    steps = rng.standard_normal((n, 12))
    steps[::40] *= 20
    x = np.cumsum(steps, axis=0) * 0.3 + 2 * rng.standard_normal(12)
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16)[rng.permutation(n)]
    left, right = np.triu_indices(n, 1)
    near = row_similarities(x, left, right) >= np.float32(0.9)
    return x, components(n, left[near], right[near]), rng.integers(1, 4, n), rng.integers(0, 3, n)


def oracle(x, labels, resolution, caption_length, threshold):
    leaders, out = {}, np.arange(len(labels))
    for row in sorted(range(len(labels)), key=lambda r: (-resolution[r], -caption_length[r], r)):
        own = leaders.setdefault(labels[row], [])
        for leader in own:
            if row_similarities(x, np.array([row]), np.array([leader]))[0] >= np.float32(threshold):
                out[row] = leader
                break
        else:
            own.append(row)
    return np.array([np.flatnonzero(out == leader).min() for leader in out])


@pytest.mark.parametrize(("rows", "leaders"), [(1024, 4096), (7, 3), (1, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_a_row_joins_the_first_leader_within_the_threshold(seed, rows, leaders, monkeypatch):
    monkeypatch.setattr(linkage, "BLOCK_ROWS", rows)
    monkeypatch.setattr(linkage, "BLOCK_LEADERS", leaders)
    x, labels, resolution, caption_length = loosely_joined(240, seed)
    found = leader_labels(x, labels, resolution, caption_length, 0.9)
    assert np.array_equal(found, oracle(x, labels, resolution, caption_length, 0.9))
    assert len(np.unique(found)) > len(np.unique(labels)), "some component is a chain"
    groups = make_groups(found, resolution, caption_length)
    assert (labels[groups.rows] == labels[groups.representative]).all()
    near = row_similarities(x, groups.rows, groups.representative) >= np.float32(0.9)
    assert near.all(), "the representative is the leader"


def test_rows_alone_and_rows_of_zeros_lead_themselves():
    x = np.zeros((4, 3), np.float16)
    x[0, 0] = x[3, 0] = 1
    zeros = np.zeros(4, int)
    assert leader_labels(x, np.arange(4), zeros, zeros, 0.9).tolist() == [0, 1, 2, 3]
    assert leader_labels(x, np.zeros(4, int), zeros, zeros, 0.9).tolist() == [0, 1, 2, 0]
    assert leader_labels(x[:0], zeros[:0], zeros[:0], zeros[:0], 0.9).tolist() == []
