"""The join in cells against the full product: nothing wrong, nothing twice, and as little missed as was asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from search.oracle import check_against_oracle, collect, planted

from scanner.core.errors import ConfigError, StoreError
from scanner.lab.vectors import PlantedVectors
from scanner.search import cells_join, pilot, tiles
from scanner.search.buffers import Buffer
from scanner.search.cells import choose_num_cells, choose_reach
from scanner.search.cells_join import CellsJoin, estimate_memory
from scanner.search.join import ThresholdJoin
from scanner.search.scratch import ScratchRows
from scanner.search.threshold import unit_rows


@pytest.fixture(params=[(512, 2048, 4), (7, 16, 1), (64, 33, 3)], ids=lambda sizes: "x".join(map(str, sizes)))
def small_tiles(request, monkeypatch):
    for name, value in zip(("TILE_ROWS", "TILE_COLUMNS", "STRIP_TILES"), request.param, strict=True):
        monkeypatch.setattr(tiles, name, value)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_with_a_reach_to_every_cell_nothing_is_missed(small_tiles, precision):
    x = planted(301, 64)
    run = CellsJoin(x=x, threshold=0.8, precision=precision, num_cells=6, reach=3.0, threads=2)
    must = check_against_oracle(x, 0.8, found := collect(run.blocks()))
    assert len(must) > 100
    assert run.stats.num_cells > 1
    assert run.stats.num_pairs == len(found) <= run.stats.num_candidates
    assert run.stats.num_compared == run.stats.num_total >= 301 * 300 // 2


@pytest.mark.parametrize("reach", [0.0, 0.02, 0.1])
def test_what_is_found_is_right_and_comes_once_whatever_the_reach(small_tiles, reach):
    x = planted(400, 48, seed=4)
    exact = collect(ThresholdJoin(x=x, threshold=0.8).blocks())
    found = collect(CellsJoin(x=x, threshold=0.8, num_cells=10, reach=reach, threads=2).blocks())
    assert found.keys() <= exact.keys()
    assert all(abs(exact[pair] - value) < 1e-6 for pair, value in found.items())


def test_a_wider_reach_finds_more():
    x = PlantedVectors(n=3000, d=64, background="clip", cosines=(0.9, 0.999), largest=40).rows()
    found = [sum(map(len, CellsJoin(x=x, threshold=0.9, num_cells=60, reach=reach).blocks())) for reach in (0.0, 0.02, 3.0)]
    assert found[0] < found[1] < found[2] == sum(map(len, ThresholdJoin(x=x, threshold=0.9).blocks()))


@pytest.mark.parametrize("background", ["isotropic", "clip"])
@pytest.mark.parametrize("recall", [0.8, 0.99])
def test_the_pilot_meets_the_recall_asked_for(background, recall):
    x = PlantedVectors(n=12_000, d=128, background=background, largest=300, cosines=(0.95, 0.999), seed=5).rows()
    exact = _neighbours(ThresholdJoin(x=x, threshold=0.93).blocks(), len(x))
    run = CellsJoin(x=x, threshold=0.93, recall=recall, num_cells=200)
    found = _neighbours(run.blocks(), len(x))
    has = exact > 0
    assert (found[has] / exact[has]).mean() >= recall - 0.005
    assert (found <= exact).all()
    assert run.stats.num_pilot_found >= 200
    assert run.stats.num_total < 0.5 * len(x) ** 2 / 2


def test_rows_are_drawn_until_enough_have_a_neighbour(monkeypatch):
    """One in thirty has: after two draws 68 of 2,048, of which the third makes a hundred and hardly more."""
    monkeypatch.setattr(pilot, "MOST_NEAR_ROWS", 0)
    x = np.random.default_rng(0).standard_normal((12_000, 64)).astype(np.float32)
    x[6000:6200] = x[:200] * 1.5
    run = CellsJoin(x=x, threshold=0.95, recall=0.9)
    assert pilot.ENOUGH_ROWS <= run.stats.num_pilot_found < 130
    assert 2048 < run.stats.num_pilot_rows < 4096


def test_of_a_giant_group_some_pairs_stand_for_all(monkeypatch):
    x = PlantedVectors(n=12_000, d=128, largest=2_000, cosines=(0.95, 0.999), seed=5).rows()
    whole = CellsJoin(x=x, threshold=0.93, recall=0.99, num_cells=200).stats
    monkeypatch.setattr(pilot, "PAIRS_A_TILE", 200)
    some = CellsJoin(x=x, threshold=0.93, recall=0.99, num_cells=200).stats
    assert some.num_pilot_found < whole.num_pilot_found, "pairs were left out"
    assert whole.reach > 0.01
    assert some.reach == pytest.approx(whole.reach, rel=0.5)


def _neighbours(blocks, n):
    counts = np.zeros(n, np.int64)
    for block in blocks:
        np.add.at(counts, block.left, 1)
        np.add.at(counts, block.right, 1)
    return counts


def test_rows_on_disk_give_the_same_pairs(tmp_path, monkeypatch):
    x = PlantedVectors(n=3000, d=64, largest=50).rows()
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    in_memory = CellsJoin(x=x, threshold=0.95, reach=0.05)
    assert in_memory.stats.scratch_bytes == 0
    monkeypatch.setattr(cells_join, "WRITE_ROWS", 700)
    least = estimate_memory(3000, 64)
    on_disk = CellsJoin(x=mapped, threshold=0.95, reach=0.05, memory_bytes=least, scratch=str(tmp_path / "scratch"))
    assert on_disk.stats.scratch_bytes > x.nbytes
    pairs = collect(in_memory.blocks())
    again = collect(on_disk.blocks())
    assert pairs.keys() == again.keys()
    assert all(abs(pairs[pair] - value) < 1e-6 for pair, value in again.items())
    assert len(pairs) > 500
    assert not list((tmp_path / "scratch").iterdir()), "a scratch file has no name"


def test_the_order_of_blocks_and_rows_does_not_depend_on_the_threads():
    x = planted(2000, 32, seed=3)
    runs = [list(CellsJoin(x=x, threshold=0.8, num_cells=20, reach=0.05, threads=threads).blocks()) for threads in (1, 3)]
    assert len(runs[0]) == len(runs[1])
    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a.left, b.left)
        np.testing.assert_array_equal(a.similarity, b.similarity)


@pytest.mark.parametrize("n", [0, 1, 2, 60])
def test_few_rows(n):
    x = np.ones((n, 16), np.float32)
    assert len(collect(CellsJoin(x=x, threshold=0.9).blocks())) == n * (n - 1) // 2


def test_rows_without_direction_match_nothing():
    x = planted(300, 32)
    x[5] = 0
    x[7] = np.nan
    x[9] = np.inf
    found = collect(CellsJoin(x=x, threshold=0.8, num_cells=3, reach=3.0).blocks())
    assert found.keys() == collect(ThresholdJoin(x=x, threshold=0.8).blocks()).keys()
    assert not {5, 7, 9} & {row for pair in found for row in pair}


def unasked():
    raise AssertionError("the pilot sees such misses itself")


def test_reach_leaves_half_of_the_misses_that_are_allowed():
    gap = np.arange(1, 2001, dtype=np.float32)
    even = np.full(2000, 1 / 2000)
    for recall, found in ((0.9, 1900), (0.95, 1950), (0.5, 1500)):
        assert (gap <= choose_reach(gap, even, 2000, recall, unasked)).sum() == found
    # A row of a thousand pairs weighs what a row of one does; pairs of no gap may be left out.
    heavy = np.concatenate([np.zeros(1000), np.full(99, 5.0)]).astype(np.float32)
    weight = np.concatenate([np.full(1000, 1e-5), np.full(99, 1e-2)])
    all_pairs, no_zeros = (choose_reach(heavy[i:], weight[i:], 100, 0.6, unasked) for i in (0, 1000))
    assert all_pairs == no_zeros == pytest.approx(5)
    assert choose_reach(np.empty(0, np.float32), np.empty(0), 0, 0.9, unasked) == 0
    none = np.zeros(50, np.float32)
    assert choose_reach(none, np.full(50, 0.02), 50, 0.999, lambda: none) == 0


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_misses_too_rare_for_the_pilot_are_extrapolated(share):
    """200 rows, of which some have gaps of a known law; one miss in 2,000 is asked for."""
    enough, missed = 0, []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        gap = np.where(rng.random(200) < share, np.abs(rng.standard_normal(200)), 0).astype(np.float32)
        moved = np.where(rng.random(50_000) < share, np.abs(rng.standard_normal(50_000)), 0).astype(np.float32)
        reach = choose_reach(gap, np.full(200, 1 / 200), 200, 0.9995, lambda moved=moved: moved)
        miss = share * math.erfc(reach / math.sqrt(2))
        missed.append(miss)
        enough += miss <= 0.0005
    assert enough >= 150
    assert np.median(missed) > 1e-6, "a reach to everywhere would do too"


def test_the_number_of_cells_grows_with_the_root():
    assert choose_num_cells(40, 64) == 1
    assert 400 < choose_num_cells(200_000, 64) < 600 < choose_num_cells(200_000, 128) < 1000
    assert choose_num_cells(10**12, 64) == 65_536


def test_what_cannot_be_done_is_said():
    x = planted(100, 16)
    for recall in (0.0, 1.0, 1.5):
        with pytest.raises(ConfigError, match="recall"):
            CellsJoin(x=x, threshold=0.9, recall=recall)
    with pytest.raises(ConfigError, match="--memory"):
        CellsJoin(x=x, threshold=0.9, memory_bytes=1000)
    with pytest.raises(ConfigError, match="precision"):
        CellsJoin(x=x, threshold=0.9, precision="fp64")


def test_scratch_keeps_rows_by_place(tmp_path, monkeypatch):
    x = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float16)
    scratch = ScratchRows(str(tmp_path), num_rows=50, dim=8)
    place = np.random.default_rng(1).permutation(50)
    for start in (0, 20, 40):
        places = place[start : start + 20]
        by_place = np.argsort(places)
        scratch.write(places[by_place], x[start : start + 20][by_place])
    monkeypatch.setattr("scanner.search.scratch.RELEASE_BYTES", 1)
    for _ in range(2):
        np.testing.assert_array_equal(scratch.take(place[[3, 0, 49]], Buffer()), unit_rows(x[[3, 0, 49]]))


def test_no_room_for_scratch_is_said(tmp_path):
    with pytest.raises(StoreError, match="--scratch"):
        ScratchRows(str(tmp_path), num_rows=2**40, dim=512)


def test_only_pairs_with_an_active_row_are_compared(small_tiles):
    x = planted(500, 48, seed=6)
    is_active = np.random.default_rng(0).random(500) < 0.2
    exact = collect(ThresholdJoin(x=x, threshold=0.8).blocks())
    run = CellsJoin(x=x, threshold=0.8, num_cells=12, reach=3.0, is_active=is_active)
    found = collect(run.blocks())
    assert found.keys() == {pair for pair in exact if is_active[pair[0]] or is_active[pair[1]]}
    assert len(found) > 50
    # Each pair is looked at in both cells, and not one of two rows that were there before.
    num_old, n = int((~is_active).sum()), len(x)
    assert run.stats.num_compared == run.stats.num_total <= n * (n - 1) - num_old * (num_old - 1)
