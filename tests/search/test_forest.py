"""The forest against components of the full graph; the counts against a loop."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.search.forest import PairHistogram, SpanningForest, components


def random_links(num_nodes, num_links, seed, levels=12):
    """Links with few distinct similarities (many ties) and repeated pairs."""
    rng = np.random.default_rng(seed)
    left, right = rng.integers(0, num_nodes, size=(2, num_links))
    keep = left != right
    left, right = np.minimum(left, right)[keep], np.maximum(left, right)[keep]
    similarity = (rng.integers(1, levels + 1, size=len(left)) / levels).astype(np.float32)
    return left, right, similarity


def oracle_components(num_nodes, left, right):
    parent = list(range(num_nodes))

    def find(node):
        while parent[node] != node:
            node = parent[node]
        return node

    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        a, b = find(a), find(b)
        parent[max(a, b)] = min(a, b)
    return np.array([find(node) for node in range(num_nodes)])


def oracle_forest(num_nodes, left, right, similarity):
    """Kruskal, link by link, in the order (similarity descending, left, right)."""
    parent = list(range(num_nodes))

    def find(node):
        while parent[node] != node:
            node = parent[node]
        return node

    kept = []
    for s, a, b in sorted(zip((-similarity).tolist(), left.tolist(), right.tolist(), strict=True)):
        root_a, root_b = find(a), find(b)
        if root_a != root_b:
            parent[root_a] = root_b
            kept.append((a, b, -s))
    return sorted(kept)


def forest_of(num_nodes, links, *, order=None, chunk=50, buffer_links=64):
    forest = SpanningForest(num_nodes, buffer_links=buffer_links)
    left, right, similarity = links if order is None else (axis[order] for axis in links)
    for start in range(0, len(left), chunk):
        forest.add(left[start : start + chunk], right[start : start + chunk], similarity[start : start + chunk])
    return forest


def as_list(block):
    return list(zip(block.left.tolist(), block.right.tolist(), block.similarity.tolist(), strict=True))


@pytest.mark.parametrize("num_links", [0, 1, 60, 400, 3000])
def test_components_at_every_threshold_are_those_of_all_links(num_links):
    links = random_links(300, num_links, seed=num_links)
    forest = forest_of(300, links)
    for threshold in [*np.unique(links[2]).tolist(), 0.33, 0.9, 1.0]:
        kept = links[2] >= np.float32(threshold)
        np.testing.assert_array_equal(forest.components(threshold), oracle_components(300, links[0][kept], links[1][kept]))


@pytest.mark.parametrize("seed", range(4))
def test_links_are_those_of_kruskal_and_do_not_depend_on_arrival(seed):
    links = random_links(120, 700, seed)
    expected = oracle_forest(120, *links)
    rng = np.random.default_rng(seed)
    for chunk, buffer_links in [(1, 1), (13, 40), (700, 10), (100, 10_000)]:
        order = rng.permutation(len(links[0]))
        assert as_list(forest_of(120, links, order=order, chunk=chunk, buffer_links=buffer_links).links()) == expected


def test_a_repeated_pair_counts_with_its_highest_similarity():
    forest = SpanningForest(3)
    pair = np.array([0]), np.array([1])
    for similarity in (0.5, 0.9, 0.7):
        forest.add(*pair, np.array([similarity], dtype=np.float32))
    assert as_list(forest.links()) == [(0, 1, pytest.approx(0.9))]


def test_the_forest_can_grow_after_it_was_read():
    links = random_links(100, 400, seed=9)
    forest = SpanningForest(100)
    forest.add(*(axis[:200] for axis in links))
    forest.links()
    forest.components(0.5)
    forest.add(*(axis[200:] for axis in links))
    assert as_list(forest.links()) == oracle_forest(100, *links)


def test_no_links_leave_every_node_alone():
    assert SpanningForest(4).components(0.9).tolist() == [0, 1, 2, 3]
    assert len(SpanningForest(0).links()) == 0
    assert len(SpanningForest(0).components(0.9)) == 0


def test_a_link_that_is_not_left_to_right_is_our_mistake():
    with pytest.raises(AssertionError):
        SpanningForest(4).add(np.array([2]), np.array([1]), np.array([0.9], dtype=np.float32))


def test_components_survive_256_parallel_links():
    # 256 ones summed in int8 are 0; the link must stay.
    left, right = np.full(256, 1), np.full(256, 3)
    assert components(4, left, right).tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize("with_copies", [False, True])
def test_pairs_are_counted_with_their_multiplicity(with_copies):
    rng = np.random.default_rng(1)
    counts = rng.integers(1, 6, size=40)
    left, right = np.triu_indices(40, k=1)
    similarity = rng.choice(np.array([0.85, 0.9, 0.925, 0.95, 1.0], dtype=np.float32), size=len(left))
    thresholds = (0.95, 0.9, 0.99, 0.9)
    histogram = PairHistogram(thresholds, counts=counts if with_copies else None)
    for part in np.array_split(np.arange(len(left)), 7):
        histogram.add(left[part], right[part], similarity[part])
    copies = counts if with_copies else np.ones(40, dtype=np.int64)
    image_node = np.repeat(np.arange(40), copies)
    table = np.eye(40, dtype=np.float32)
    table[left, right] = table[right, left] = similarity
    of_images = table[np.ix_(image_node, image_node)][np.triu_indices(len(image_node), k=1)]
    assert histogram.num_pairs().tolist() == [int((of_images >= np.float32(t)).sum()) for t in thresholds]


def test_counts_beyond_double_precision_stay_exact():
    histogram = PairHistogram([0.9], counts=np.array([2**27 + 1, 2**27 + 1]))
    histogram.add(np.array([0]), np.array([1]), np.array([0.95], dtype=np.float32))
    m = 2**27 + 1
    assert histogram.num_pairs().tolist() == [m * m + m * (m - 1)]


def test_links_that_cannot_be_in_the_forest_are_dropped_before_they_cost_anything():
    rng = np.random.default_rng(7)
    n = 120
    left, right = (side.astype(np.int64) for side in np.triu_indices(n, 1))
    # Three dense groups and strangers; few values, so that many tie.
    similarity = np.where(left // 40 == right // 40, rng.integers(80, 100, len(left)) / 100, 0.5).astype(np.float32)
    order = rng.permutation(len(left))
    whole = SpanningForest(n)
    whole.add(left, right, similarity)
    pieces = SpanningForest(n, buffer_links=300)
    most = 0
    for part in np.array_split(order, 60):
        pieces.add(left[part], right[part], similarity[part])
        most = max(most, pieces._num_buffered)
    assert pieces._levels
    assert pieces._num_buffered < 300
    for name in ("left", "right", "similarity"):
        np.testing.assert_array_equal(getattr(pieces.links(), name), getattr(whole.links(), name))
