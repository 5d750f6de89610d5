"""A run that was added to against one scan of all: the same tables to the last bit, and old pairs not compared again."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from neighbors.making import assert_same_tables, config, contents, search, write

from scanner.core.config import ComputeConfig
from scanner.core.store import Store
from scanner.lab.vectors import PlantedVectors
from scanner.neighbors.rows import find_copies, read_rows
from scanner.search.collapse import collapse


def planted(n=700, seed=0, **changes):
    """Rows of which a third are exact copies of others, in every part."""
    settings = {"d": 32, "largest": 40, "cosines": (0.88, 1.0), "exact_share": 0.3, "grouped_share": 0.7}
    return PlantedVectors(n=n, seed=seed, **{**settings, **changes}).rows()


def batches(x, *cuts):
    return np.split(x, cuts)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("pairs", ["spanning", "all"])
def test_two_steps_write_the_tables_of_one(tmp_path, seed, pairs):
    # The last rows copy every other of the first, so that near ones gain copies together.
    x = np.concatenate([planted(seed=seed), planted(seed=seed)[:100:2]])
    parts = batches(x, 150, 300, 520)
    step = write(tmp_path / "steps", parts[:2])
    assert search(step, neighbors__pairs=pairs).searched == "all"
    step = write(tmp_path / "steps", parts)
    second = search(step, neighbors__pairs=pairs)
    whole = write(tmp_path / "whole", parts)
    first = search(whole, neighbors__pairs=pairs)
    assert (first.searched, second.searched) == ("all", "incremental")
    assert_same_tables(step, whole)
    for result in (first, second):
        assert result.num_groups > 20
        assert result.num_grouped > 200
    # Every class that is new or gained copies meets every old one; new ones meet one another. No two old ones meet.
    old, all_ = collapse(x[:300]), collapse(x)
    num_old, num_new = len(old.first), len(all_.first) - len(old.first)
    num_grown = int((all_.counts[:num_old] > old.counts).sum())
    assert num_grown > 10
    assert second.num_compared == (num_new + num_grown) * num_old + num_new * (num_new - 1) // 2
    assert second.num_compared <= 450 * 300 + 450 * 449 // 2
    assert first.num_compared == len(all_.first) * (len(all_.first) - 1) // 2
    for table in contents(step):
        metadata = step.manifest(table).metadata
        assert (metadata["searched"], metadata["num_compared"]) == ("incremental", second.num_compared)


def test_many_small_steps_are_one_scan(tmp_path):
    x = planted(n=400, seed=9)
    parts = batches(x, 10, 20, 150, 151, 300)
    for k in range(1, len(parts) + 1):
        store = write(tmp_path / "steps", parts[:k])
        assert search(store, neighbors__linkage="leader").searched == ("incremental" if k > 1 else "all")
    whole = write(tmp_path / "whole", parts)
    search(whole, neighbors__linkage="leader", compute__incremental=False)
    assert_same_tables(store, whole)


def bytes_of(*names):
    return [None if name is None else name.ljust(32, b".") for name in names]


def test_files_that_are_equal_join_classes_whose_vectors_differ(tmp_path):
    """Equal bytes with slightly other vectors, as batches of another size give: the class keeps the vector of its first image."""
    rng = np.random.default_rng(1)
    base = rng.standard_normal((6, 16))
    near = base + 0.05 * rng.standard_normal((6, 16))
    old, new = ((v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float16) for v in (base, near))
    shas = [bytes_of(b"a", b"b", b"c", None, b"d", b"e"), bytes_of(b"a", b"a", b"c", b"f", None, b"b")]
    # b"a" grows by an image like it, and is claimed by one unlike it; b"b" by one unlike it.
    write(tmp_path / "steps", [old], shas=shas[:1])
    search(Store(str(tmp_path / "steps")))
    step = write(tmp_path / "steps", [old, new], shas=shas)
    assert search(step).searched == "incremental"
    whole = write(tmp_path / "whole", [old, new], shas=shas)
    search(whole)
    assert_same_tables(step, whole)
    assert contents(whole)["candidates"].num_rows > 4


def test_copies_that_join_two_old_classes_are_searched_anew(tmp_path, caplog):
    rng = np.random.default_rng(2)
    a = rng.standard_normal(16)
    vectors = np.stack([a, a + 0.02 * rng.standard_normal(16), *rng.standard_normal((3, 16))])
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    shas = [bytes_of(b"a", b"b", b"c", b"d", b"e"), bytes_of(b"b")]
    search(write(tmp_path / "steps", [vectors], shas=shas[:1]))
    parts = [vectors, vectors[:1]]  # the vector of the first, the bytes of the second
    step = write(tmp_path / "steps", parts, shas=shas)
    with caplog.at_level(logging.WARNING):
        assert search(step).searched == "all"
    assert "new copies join images that were apart" in caplog.text
    rows = read_rows(step, ComputeConfig())
    assert find_copies(rows, config().neighbors).classes().counts.tolist() == [3, 1, 1, 1]
    whole = write(tmp_path / "whole", parts, shas=shas)
    search(whole)
    assert_same_tables(step, whole)


def test_what_does_not_match_is_searched_anew_and_said(tmp_path, caplog):
    x = planted(n=200)
    parts = batches(x, 60, 120)
    store = write(tmp_path / "run", parts[:2])

    def expect(reason, store, **changes):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="scanner.neighbors"):
            result = search(store, **changes)
        assert result.searched == "all"
        said = [record.message for record in caplog.records if record.name == "scanner.neighbors"]
        assert [reason in line for line in said] == ([True] if reason else [])

    expect("", store)
    expect("settings of the search changed", store, neighbors__threshold=0.92)
    expect("settings of the search changed", store)
    write(tmp_path / "run", parts)
    expect("", store, compute__incremental=False)
    expect("gone or changed", write(tmp_path / "run", parts[:2]))
    changed = [parts[0], parts[1][::-1].copy(), parts[2]]
    expect("gone or changed", write(tmp_path / "run", changed))
    # A run whose tables were lost in part, or damaged.
    store.fs.rm(store.path("thresholds"), recursive=True)
    expect("some of its tables are missing", write(tmp_path / "run", [*changed, x[:3]]))
    store.fs.rm(store.part_paths("neighbors")[0])
    expect("cannot be read", write(tmp_path / "run", [*changed, x[:3], x[:4]]))
    mixed = store.manifest("pairs")
    store.commit("pairs", mixed.parts, metadata={**mixed.metadata, "fingerprint": "of another scan"})
    expect("of different scans", write(tmp_path / "run", [*changed, x[:3], x[:4], x[:5]]))


def test_another_linkage_needs_no_search(tmp_path):
    store = write(tmp_path / "run", batches(planted(), 300))
    search(store)
    result = search(store, neighbors__linkage="leader")
    assert (result.searched, result.num_compared) == ("incremental", 0)
    whole = write(tmp_path / "whole", batches(planted(), 300))
    search(whole, neighbors__linkage="leader")
    assert_same_tables(store, whole)
    rows = store.read("candidates")
    assert min(rows["similarity_to_representative"].to_pylist()) >= np.float32(0.9)
    assert result.num_groups == len(set(rows["group_id"].to_pylist())) == store.read("candidate_shape").num_rows


@pytest.mark.parametrize("limit", [50, 600])
def test_truncated_pairs_are_never_added_to(tmp_path, caplog, limit):
    x = planted(n=300, seed=5)
    settings = {"neighbors__pairs": "all", "neighbors__max_pairs": limit}
    search(write(tmp_path / "run", [x[:150]]), **settings)
    was_truncated = Store(str(tmp_path / "run")).manifest("pairs").metadata["is_truncated"]
    store = write(tmp_path / "run", [x[:150], x[150:]])
    with caplog.at_level(logging.WARNING):
        assert search(store, **settings).searched == "all"
    assert was_truncated == (limit == 50)
    assert ("table pairs was truncated" if was_truncated else "more pairs than max_pairs") in caplog.text
    assert store.manifest("pairs").metadata["is_truncated"]
    whole = write(tmp_path / "whole", [x[:150], x[150:]])
    search(whole, **settings)
    assert_same_tables(store, whole)


def test_links_are_the_state(tmp_path):
    """They answer for the lowest threshold, where table pairs has those of the main one."""
    x = planted(n=300, seed=3, cosines=(0.75, 0.95))
    store = write(tmp_path / "run", [x])
    search(store)
    links, pairs, sweep = (store.read(name) for name in ("links", "pairs", "thresholds"))
    lowest = sweep.sort_by("threshold").to_pylist()[0]
    assert lowest["threshold"] == 0.8
    assert links.num_rows == lowest["num_grouped"] - lowest["num_groups"] > pairs.num_rows
    kept = {(row["left_id"], row["right_id"]) for row in links.to_pylist() if row["similarity"] >= np.float32(0.9)}
    assert kept == {(row["left_id"], row["right_id"]) for row in pairs.to_pylist() if row["is_spanning"]}
    assert store.manifest("links").metadata["covers"]["embeddings"] == store.manifest("embeddings").fingerprints


def test_nothing_and_one_image_are_added_to(tmp_path):
    x = planted(n=40)
    for k, cuts in enumerate([(0,), (1,), (40,)]):
        parts = batches(x, *cuts)
        step = write(tmp_path / f"steps{k}", parts[:1])
        search(step)
        step = write(tmp_path / f"steps{k}", parts)
        search(step)
        whole = write(tmp_path / f"whole{k}", parts)
        search(whole)
        assert_same_tables(step, whole)
