"""The tiled search against a plain numpy product of all rows."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from search.oracle import check_against_oracle, collect, planted

from scanner.core.errors import ConfigError
from scanner.search.threshold import estimate_memory, threshold_pairs, unit_rows


def found_pairs(x, threshold, **options):
    return collect(threshold_pairs(x, threshold, **options))


@pytest.mark.parametrize("tile_rows", [1, 7, 64, 300, 301, 4096])
def test_finds_what_the_full_product_finds(tile_rows):
    x = planted(301, 24)
    found = found_pairs(x, 0.8, tile_rows=tile_rows, max_block_pairs=max(tile_rows, 640))
    must = check_against_oracle(x, 0.8, found)
    assert len(must) > 100


def test_finds_the_same_at_the_default_sizes_as_over_several_tiles():
    x = planted(5000, 16, seed=3)
    assert len(check_against_oracle(x, 0.97, found_pairs(x, 0.97))) > 1000


@pytest.mark.parametrize("num_copies", [2, 30, 64])
def test_a_pair_exactly_at_the_threshold_is_found(num_copies):
    # 0.5 and 0.25 are exact in float32 and so are these norms and products.
    x = np.zeros((num_copies, 4), dtype=np.float32)
    x[::2, 0] = 1
    x[1::2] = 0.5
    odd = num_copies // 2
    assert sum(s == 0.5 for s in found_pairs(x, 0.5).values()) == odd * odd
    assert not any(s == 0.5 for s in found_pairs(x, float(np.nextafter(np.float32(0.5), np.float32(1)))).values())


def test_a_threshold_that_float32_rounds_is_compared_as_float32():
    cosine = np.float32(0.95)
    x = np.array([[1, 0], [cosine, np.sqrt(1 - np.float64(cosine) ** 2)]], dtype=np.float32)
    (value,) = found_pairs(x, 0.9).values()
    assert found_pairs(x, value) == {(0, 1): value}
    assert found_pairs(x, float(np.nextafter(np.float32(value), np.float32(1)))) == {}


def test_half_precision_rows_are_widened_and_scaled():
    x = (planted(400, 32, seed=5) * np.float32(0.7)).astype(np.float16)
    found = found_pairs(x, 0.85, tile_rows=128)
    assert len(check_against_oracle(x, 0.85, found)) > 50


def test_memory_mapped_rows(tmp_path):
    x = planted(200, 16).astype(np.float16)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert found_pairs(mapped, 0.8, tile_rows=64) == found_pairs(x, 0.8, tile_rows=64)


def test_rows_without_direction_match_nothing():
    x = np.tile(np.array([[0.6, 0.8]], dtype=np.float32), (6, 1))
    x[1] = 0
    x[3] = [np.nan, 1]
    x[4] = [np.inf, 1]
    assert found_pairs(x, 1e-6).keys() == {(0, 2), (0, 5), (2, 5)}
    assert (unit_rows(x)[[1, 3, 4]] == 0).all()


def test_equal_rows_come_in_blocks_of_bounded_size():
    n = 900
    x = np.tile(np.array([[0.6, 0.8]], dtype=np.float32), (n, 1))
    sizes = [len(block) for block in threshold_pairs(x, 0.9, tile_rows=256, max_block_pairs=1000)]
    assert sum(sizes) == n * (n - 1) // 2
    assert max(sizes) <= 1000


@pytest.mark.parametrize(("n", "tile_rows"), [(0, 8), (1, 8), (2, 8), (100, 8), (100, 33), (100, 8192)])
def test_progress_adds_up_to_all_pairs_of_rows(n, tile_rows):
    done = []
    found_pairs(planted(n, 8) if n else np.empty((0, 8), dtype=np.float32), 0.9, tile_rows=tile_rows, on_tile=done.append)
    assert sum(done) == n * (n - 1) // 2


def test_the_input_is_left_alone():
    x = planted(50, 8) * 3
    before = x.copy()
    found_pairs(x, 0.9)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.01, float("nan")])
def test_a_threshold_that_is_no_similarity_is_refused_at_the_call(threshold):
    with pytest.raises(ConfigError, match="threshold") as error:
        threshold_pairs(np.eye(2, dtype=np.float32), threshold)
    assert "0.95" in error.value.next_step


def test_blocks_smaller_than_a_tile_are_refused():
    with pytest.raises(ConfigError, match="tile"):
        threshold_pairs(np.eye(2, dtype=np.float32), 0.9, tile_rows=100, max_block_pairs=99)


def test_the_memory_estimate_is_logged_and_does_not_grow_with_n(caplog):
    with caplog.at_level(logging.INFO, logger="scanner"):
        threshold_pairs(np.eye(4, dtype=np.float32), 0.9)
    assert "MiB" in caplog.text
    assert estimate_memory(10**5, 512, 8192) == estimate_memory(10**9, 512, 8192)
    assert estimate_memory(10**5, 512, 8192) > estimate_memory(100, 512, 8192)
