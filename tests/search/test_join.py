"""The join by bounds against a full product in float64: no pair lost and none too many, whatever the tiles and the precision."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from search.oracle import TIE, check_against_oracle, collect, join_pairs, planted

from scanner.core.errors import ConfigError
from scanner.lab.vectors import PlantedVectors
from scanner.search import tiles as tiles_module
from scanner.search.bounds import ROUNDING, fit_rotation
from scanner.search.join import ThresholdJoin, estimate_memory, tile_shape
from scanner.search.threshold import threshold_pairs, unit_rows
from scanner.search.tiles import BF16_ROUNDING


@pytest.fixture(params=[(512, 2048, 4), (7, 16, 1), (64, 33, 3)], ids=lambda sizes: "x".join(map(str, sizes)))
def tiles(request, monkeypatch):
    for name, value in zip(("TILE_ROWS", "TILE_COLUMNS", "STRIP_TILES"), request.param, strict=True):
        monkeypatch.setattr(tiles_module, name, value)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("d", "threshold", "width"), [(24, 0.8, None), (64, 0.8, 16), (512, 0.95, 64), (512, 0.9, None)])
def test_finds_what_the_full_product_finds(tiles, precision, d, threshold, width):
    x = planted(301, d)
    run = ThresholdJoin(x=x, threshold=threshold, precision=precision, width=width, threads=2)
    must = check_against_oracle(x, threshold, found := collect(run.blocks()))
    assert len(must) > 100
    assert run.stats.num_pairs == len(found) <= run.stats.num_candidates
    assert run.stats.num_compared == 301 * 300 // 2


@pytest.mark.parametrize("background", ["isotropic", "clip"])
def test_the_bound_saves_most_of_the_work_on_either_background(background):
    x = PlantedVectors(n=6000, d=512, background=background, largest=100).rows()
    run = ThresholdJoin(x=x, threshold=0.95)
    found = collect(run.blocks())
    assert found.keys() == collect(threshold_pairs(x, 0.95)).keys()
    assert len(found) > 1000
    assert run.stats.width <= 192
    assert run.stats.num_candidates - len(found) < 0.003 * run.stats.num_compared


@pytest.mark.parametrize("d", [8, 4608])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_sets_of_hardly_any_rows(n, d):
    x = np.ones((n, d), dtype=np.float32)
    assert collect(join_pairs(x, 0.9)).keys() == ({(0, 1)} if n == 2 else set())


def test_no_bound_is_below_its_cosine():
    rng = np.random.default_rng(3)
    for x in (planted(500, 96), np.eye(64, dtype=np.float32), rng.random((300, 128), np.float32), planted(40, 4608)):
        rows = unit_rows(x)
        for width in (2, 16, 33):
            rotation = fit_rotation(x, 0.9, width=width)
            bounds = rotation.bounds(rows)
            assert (bounds @ bounds.T >= rows @ rows.T - ROUNDING).all()
            gram = rotation.axes.T.astype(np.float64) @ rotation.axes
            np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-5)


def test_bf16_loses_no_more_than_its_margin():
    import torch

    x = unit_rows(np.random.default_rng(4).standard_normal((2000, 256)))
    x[1000:] = x[:1000]  # products of 1, where the rounding of the result is largest
    half = torch.from_numpy(x).bfloat16()
    assert float((torch.mm(half, half.T).float() - torch.from_numpy(x @ x.T)).abs().max()) < BF16_ROUNDING


def test_two_sets_and_their_union_give_the_same_pairs(tiles):
    x = planted(260, 40, seed=8)
    left, right = x[:110], x[110:]
    between = list(ThresholdJoin(x=left, threshold=0.8, y=right, width=16, threads=2).blocks())
    found = {pair for block in between for pair in zip(block.left.tolist(), block.right.tolist(), strict=True)}
    assert sum(map(len, between)) == len(found) > 20
    whole = collect(join_pairs(x, 0.8))
    assert found == {(i, j - 110) for i, j in whole if i < 110 <= j}


def test_nothing_changes_where_memory_is_short():
    x = planted(700, 48).astype(np.float16)
    found = [collect(ThresholdJoin(x=x, threshold=0.85, memory_bytes=budget).blocks()) for budget in (2**30, 0)]
    assert found[0].keys() == found[1].keys()
    assert estimate_memory(10**6, 512, memory_bytes=2**30) < estimate_memory(10**6, 512, memory_bytes=2**32)


def test_rows_at_the_threshold_and_rows_without_direction():
    """Adversarial: cosines of threshold +- 1e-5 in high dimension, zero, NaN and infinite rows, and equal ones."""
    rng = np.random.default_rng(5)
    threshold, d, m = 0.95, 512, 400
    base = unit_rows(rng.standard_normal((m, d)))
    noise = rng.standard_normal((m, d))
    noise -= (noise * base).sum(axis=1, keepdims=True) * base
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    cosine = threshold + np.where(np.arange(m) % 2, 1e-5, -1e-5)[:, None]
    x = np.concatenate([base, cosine * base + np.sqrt(1 - cosine**2) * noise]).astype(np.float32)
    for width in (None, 64):
        found = collect(ThresholdJoin(x=x, threshold=threshold, width=width).blocks())
        assert found.keys() == {(i, i + m) for i in range(1, m, 2)}
    x[0], x[1], x[2], x[3:5] = 0, np.nan, np.inf, x[3]
    found = collect(join_pairs(x, threshold))
    assert (3, 4) in found
    assert not {0, 1, 2} & {row for pair in found for row in pair}
    assert abs(found[3, 4] - 1) < TIE


def test_blocks_come_in_one_order_and_stay_small(monkeypatch):
    x = np.tile(np.array([[0.6, 0.8]], dtype=np.float32), (900, 1))
    monkeypatch.setattr(tiles_module, "TILE_ROWS", 32)
    monkeypatch.setattr(tiles_module, "TILE_COLUMNS", 64)
    first, second = ([block.left.tolist() for block in join_pairs(x, 0.9)] for _ in range(2))
    assert first == second
    assert sum(map(len, first)) == 900 * 899 // 2
    shape = tile_shape("bf16")
    assert max(map(len, first)) <= shape.rows * shape.strip_columns


@pytest.mark.parametrize("n", [0, 1, 2])
def test_sets_of_no_pairs_or_one(n):
    done = []
    found = collect(join_pairs(np.ones((n, 8), np.float16), 0.9, on_tile=done.append))
    assert len(found) == sum(done) == n * (n - 1) // 2


def test_a_stopped_consumer_leaves_no_worker_behind():
    import threading

    x = planted(3000, 32)
    blocks = join_pairs(x, 0.7)
    next(blocks)
    blocks.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("join")]


def test_what_it_does_is_logged_and_bad_thresholds_are_refused(caplog):
    with caplog.at_level(logging.INFO, logger="scanner"):
        ThresholdJoin(x=planted(50, 16), threshold=0.9, precision="fp32")
    assert "fp32 bounds of" in caplog.text
    for threshold in (0.0, 1.01, float("nan")):
        with pytest.raises(ConfigError, match="threshold"):
            join_pairs(np.eye(2, dtype=np.float32), threshold)
