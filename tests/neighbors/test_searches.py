"""Every search end to end: the same tables where it finds all pairs; else fewer neighbours, and an audit that says so."""

from __future__ import annotations

import numpy as np
import pytest
from neighbors.making import assert_same_tables, config, search, write

from scanner.core.config import NeighborsConfig
from scanner.core.errors import ConfigError
from scanner.lab.vectors import PlantedVectors
from scanner.neighbors.rows import read_rows
from scanner.neighbors.stage import NeighborsResult
from scanner.search import searches
from scanner.search.cells_join import estimate_memory


@pytest.fixture(scope="module")
def x():
    settings = {"d": 64, "largest": 60, "cosines": (0.88, 0.999), "exact_share": 0.1, "grouped_share": 0.5}
    return PlantedVectors(n=1500, seed=3, **settings).rows()


@pytest.fixture(scope="module")
def joined(x, tmp_path_factory):
    store = write(tmp_path_factory.mktemp("join"), [x])
    return store, search(store, neighbors__search="join")


def audited(store):
    return {(row["measure"], row["band"]): row for row in store.read("audit").to_pylist()}


def test_searches_for_all_pairs_write_the_same_tables(x, joined, tmp_path):
    store = write(tmp_path / "flat", [x])
    result = search(store, neighbors__search="faiss-flat")
    assert result.search == "faiss-flat"
    assert_same_tables(store, joined[0])
    for one, (row, _) in ((r, (audited(s)["neighbors", "all"], s)) for r, s in ((result, store), joined[::-1])):
        assert (one.recall, one.recall_high, one.is_below_recall) == (1.0, 1.0, False)
        assert 0.98 < one.recall_low < 1
        assert row["num_rows"] > 300


@pytest.mark.parametrize("name", ["cells", "faiss-ivf"])
def test_what_an_approximate_search_counts_is_no_more_than_the_truth(x, joined, tmp_path, name):
    store = write(tmp_path, [x])
    result = search(store, neighbors__search=name, neighbors__recall=0.95)
    found, truth = (s.read("neighbors")["num_neighbors"].to_numpy() for s in (store, joined[0]))
    assert (found <= truth).all()
    has = truth > 0
    assert (found[has] / truth[has]).mean() >= 0.93
    assert result.recall_low <= 1
    assert result.recall_asked == 0.95
    assert store.manifest("neighbors").metadata["search"] == name
    assert result.num_compared > 0


def test_cells_say_how_they_went_and_the_audit_what_they_missed(x, tmp_path, monkeypatch):
    from functools import partial

    monkeypatch.setattr(searches, "CellsJoin", partial(searches.CellsJoin, reach=0.0, num_cells=60))
    store = write(tmp_path, [x])
    result = search(store, neighbors__search="cells", neighbors__audit_rows=1500)
    assert result.facts["num_cells"] > 1
    assert result.search_facts()["name"] == "cells"
    truth = write(tmp_path / "truth", [x])
    search(truth, neighbors__search="join")
    # Between distinct images: copies of one are never missed, and are in no count of the audit.
    found, all_ = (s.read("neighbors")["num_neighbors"].to_numpy() for s in (store, truth))
    assert found.sum() < all_.sum()
    row = audited(store)["neighbors", "all"]
    assert row["recall"] == result.recall < 1
    assert audited(store)["links", "all"]["recall"] >= row["recall"]
    assert result.is_below_recall == (row["recall"] < 0.99)
    assert len(store.read("audit")) == 10


@pytest.mark.parametrize("name", ["cells", "faiss-ivf", "faiss-flat"])
def test_a_run_that_was_added_to_compares_what_is_new(x, tmp_path, name):
    store = write(tmp_path, [x[:1000]])
    search(store, neighbors__search=name, neighbors__recall=0.999)
    store = write(tmp_path, [x[:1000], x[1000:]])
    second = search(store, neighbors__search=name, neighbors__recall=0.999)
    assert second.searched == "incremental"
    whole = write(tmp_path / "whole", [x[:1000], x[1000:]])
    search(whole, neighbors__search="join")
    found, truth = (s.read("neighbors")["num_neighbors"].to_numpy() for s in (store, whole))
    assert (found <= truth).all()
    assert found.sum() >= 0.99 * truth.sum()
    if name == "faiss-flat":
        assert_same_tables(store, whole)


def test_auto_compares_all_pairs_as_long_as_that_is_cheap():
    auto, cells = NeighborsConfig(), NeighborsConfig(search="cells")
    assert searches.chosen(auto, 100) == searches.chosen(auto, searches.JOIN_ROWS) == "join"
    assert searches.chosen(auto, searches.JOIN_ROWS + 1) == "cells"
    assert searches.chosen(cells, 10) == "cells"


def test_a_recall_that_nobody_could_judge_is_not_below_what_was_asked(tmp_path):
    store = write(tmp_path, [np.eye(40, 64, dtype=np.float16)])
    result = search(store, neighbors__search="cells")
    assert isinstance(result, NeighborsResult)
    assert np.isnan(result.recall)
    assert not result.is_below_recall
    assert result.search_facts()["audit"] is None
    assert audited(store)["neighbors", "all"]["recall"] is None


@pytest.mark.parametrize("name", ["join", "cells"])
def test_rows_on_disk_write_the_same_tables(x, tmp_path, monkeypatch, name):
    """1500 x 64 float16 are 190 kB: with half a megabyte allowed they lie in scratch. No process is as small as that."""
    for name_, value in (("PROCESS_BYTES", -estimate_memory(1500, 64)), ("LINKS_BYTES", 0)):
        monkeypatch.setattr(searches, name_, value)
    tables = []
    for folder, settings in (("held", {}), ("disk", {"compute__memory": "500kB", "compute__scratch": str(tmp_path / "scratch")})):
        store = write(tmp_path / folder, [x[:700], x[700:]])
        rows = read_rows(store, config(**settings).compute)
        assert isinstance(rows.vectors, np.memmap) == (folder == "disk")
        np.testing.assert_array_equal(rows.vectors, x)
        search(store, neighbors__search=name, **settings)
        tables.append(store)
    assert_same_tables(*tables)
    assert not list((tmp_path / "scratch").iterdir())


def test_too_little_memory_is_said_with_what_would_do(x, tmp_path):
    store = write(tmp_path, [x])
    with pytest.raises(ConfigError, match=r"(?s)needs 1\.\d GB, 0.0 are allowed.*--memory 2GB"):
        search(store, neighbors__search="cells", compute__memory="1MB")
