"""Distances equal their formulas, all-pairs forms equal the pairwise ones, and the adaptive ratio ignores copies."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.images.distances import adaptive_ratio, all_l2, all_tiled_l2, l2, l2_blocks, nearest_of, tiled_l2, unit


def _images(n, *, side=16, seed=0):
    return unit(np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8))


def test_l2_is_the_root_mean_square_of_the_paper():
    a, b = _images(2)
    assert l2(a, b) == pytest.approx(np.sqrt(((a - b).ravel() ** 2).sum() / a.size), rel=1e-6)
    black, white = np.zeros((8, 8, 3), np.float32), np.ones((8, 8, 3), np.float32)
    assert l2(black, white) == 1
    assert tiled_l2(black, white) == 1
    assert l2(black, np.full((64, 64, 3), 0.1, np.float32)[:8, :8]) == pytest.approx(0.1, rel=1e-6)


def test_tiled_l2_is_the_worst_tile():
    """Two pages that share their ground and differ in one corner: near in l2, far in tiled l2."""
    a = np.full((32, 32, 3), 0.8, np.float32)
    b = a.copy()
    b[:8, :8] = 0.2
    assert tiled_l2(a, b) == pytest.approx(0.6, rel=1e-6)
    assert l2(a, b) == pytest.approx(0.6 / 4, rel=1e-6)
    shifted = a.copy()
    shifted[4:12, 4:12] = 0.2  # a quarter of each of four tiles
    assert tiled_l2(a, shifted) == pytest.approx(0.3, rel=1e-6)
    assert tiled_l2(a, b, tiles=1) == l2(a, b)


def test_tiles_of_a_size_that_does_not_divide_cover_every_pixel_once():
    a = np.zeros((10, 7, 3), np.float32)
    for y in range(10):
        for x in range(7):
            b = a.copy()
            b[y, x] = 1
            tile = [2 if (10 * i // 4 - 10 * (i - 1) // 4) == 2 else 3 for i in range(1, 5)]
            rows = next(size for size, stop in zip(tile, np.cumsum(tile), strict=True) if y < stop)
            wide = [1, 2, 2, 2]
            columns = next(size for size, stop in zip(wide, np.cumsum(wide), strict=True) if x < stop)
            assert tiled_l2(a, b) == pytest.approx(1 / np.sqrt(rows * columns), rel=1e-6)
            assert all_tiled_l2(a[None], b[None])[0, 0] == pytest.approx(float(tiled_l2(a, b)), rel=1e-5)


@pytest.mark.parametrize("block_rows", [3, 256])
def test_all_pairs_equal_each_pair(block_rows):
    a, b = _images(10, seed=1), _images(13, seed=2)
    np.testing.assert_allclose(all_l2(a, b, block_rows=block_rows), l2(a[:, None], b[None]), atol=1e-6)
    np.testing.assert_allclose(all_tiled_l2(a, b, block_rows=block_rows), tiled_l2(a[:, None], b[None]), atol=1e-6)
    assert [(start, len(rows)) for start, rows in l2_blocks(a, b, block_rows=4)] == [(0, 4), (4, 4), (8, 2)]
    assert all_l2(a[:0], b).shape == (0, 13)


def test_all_pairs_stay_exact_where_the_product_cancels():
    """Bright images that differ by less than a level: ``||a||^2 + ||b||^2 - 2ab`` in float32 would be noise, or negative."""
    rng = np.random.default_rng(3)
    a = np.clip(0.97 + 0.02 * rng.standard_normal((20, 32, 32, 3)), 0, 1).astype(np.float32)
    near = (a + rng.choice([0, 1e-5, 1e-4, 1e-3], (20, 1, 1, 1)) * rng.standard_normal(a.shape)).astype(np.float32)
    expected = l2(a[:, None], near[None])
    assert np.abs(all_l2(a, near) - expected).max() < 2e-5
    assert np.abs(all_tiled_l2(a, near) - tiled_l2(a[:, None], near[None])).max() < 2e-5
    assert (all_l2(a, a).diagonal() == 0).all()
    assert (all_tiled_l2(a, a).diagonal() == 0).all()


def test_adaptive_ratio_is_that_of_the_formula():
    distances = np.array([[0.3, 0.1, 0.4, 0.2, 0.5], [0.5, 0.4, 0.3, 0.3, 0.9]], np.float32)
    ratio, nearest = adaptive_ratio(distances, n=2)
    assert nearest.tolist() == [1, 2]
    np.testing.assert_allclose(ratio, [0.1 / (0.5 * 0.25), 0.3 / (0.5 * 0.35)], rtol=1e-6)
    np.testing.assert_allclose(adaptive_ratio(distances, n=2, alpha=1)[0], np.array(ratio) / 2, rtol=1e-6)
    np.testing.assert_allclose(adaptive_ratio(distances)[0][0], 0.1 / (0.5 * 0.35), rtol=1e-6)  # all four others


def test_adaptive_ratio_of_special_cases():
    assert adaptive_ratio(np.array([[0.2]], np.float32))[0][0] == np.inf
    assert adaptive_ratio(np.zeros((1, 4), np.float32))[0][0] == 2
    assert adaptive_ratio(np.array([[0, 0.3, 0.3]], np.float32))[0][0] == 0
    with pytest.raises(AssertionError, match="no pictures"):
        adaptive_ratio(np.zeros((1, 0), np.float32))


def test_copies_left_in_the_reference_would_hide_what_was_memorized():
    """The reason why pictures must be distinct: with 60 copies among the images the ratio is near 2, without them it is small."""
    pictures = _images(100, seed=4)
    copies = np.concatenate([pictures, np.repeat(pictures[:1], 60, axis=0)])
    of_picture = np.concatenate([np.arange(100), np.zeros(60, np.int64)])
    generation = np.clip(pictures[:1] + 0.02 * np.random.default_rng(5).standard_normal(pictures[:1].shape), 0, 1)
    distances = all_l2(generation.astype(np.float32), copies)
    assert adaptive_ratio(distances)[0][0] == pytest.approx(2, abs=0.01)
    reduced, ids = nearest_of(distances, of_picture)
    ratio, nearest = adaptive_ratio(reduced)
    assert ids[nearest[0]] == 0
    assert ratio[0] < 0.2


def test_nearest_of_takes_the_smallest_distance_of_each_picture():
    distances = np.array([[5, 1, 4, 2, 3]], np.float32)
    reduced, pictures = nearest_of(distances, np.array([7, 2, 7, -1, 2]))
    assert pictures.tolist() == [-1, 2, 7]
    assert reduced.tolist() == [[2, 1, 4]]
