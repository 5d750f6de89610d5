"""Centres are found, repeatable and quiet; scores are 1 - cosine to the nearest."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.search.kmeans import cell_centres, choose_num_cells, outlier_scores


def blobs(num_blobs, rows_each, d=16, seed=0):
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.standard_normal((d, d)))[0][:num_blobs]
    x = np.repeat(directions, rows_each, axis=0) + 0.02 * rng.standard_normal((num_blobs * rows_each, d))
    return directions, rng.permutation(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def test_centres_lie_on_the_blobs():
    directions, x = blobs(1, 300)
    centres = cell_centres(x, num_cells=1, seed=0, sample_rows=10_000)
    assert (directions @ centres.T).max(axis=1).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, rtol=1e-6)


def test_a_row_far_from_all_scores_highest():
    _, x = blobs(4, 200)
    far = np.linalg.qr(np.random.default_rng(0).standard_normal((16, 16)))[0][10].astype(np.float32)
    x = np.concatenate([x, far[None]])
    scores = outlier_scores(x, cell_centres(x, num_cells=20, seed=0, sample_rows=10_000))
    assert scores.argmax() == len(x) - 1
    assert scores[-1] > 0.5
    assert np.median(scores) < 0.1


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_scores_are_one_minus_the_best_cosine(dtype):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((500, 24)).astype(dtype)
    x[7] = 0
    centres = cell_centres(x, num_cells=9, seed=3, sample_rows=450)
    assert centres.shape == (9, 24)
    assert centres.dtype == np.float32
    rows = x.astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    expected = np.clip(1 - (rows @ centres.T.astype(np.float64)).max(axis=1), 0, None)
    for block_rows in (1, 64, 100_000):
        scores = outlier_scores(x, centres, block_rows=block_rows)
        assert scores.dtype == np.float32
        assert (scores >= 0).all()
        np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert outlier_scores(x, centres)[7] == 1


@pytest.mark.parametrize("sample_rows", [1500, 3000])
def test_one_seed_gives_one_result_and_another_another(sample_rows):
    x = np.random.default_rng(1).standard_normal((3000, 16)).astype(np.float32)
    first, again, other = (cell_centres(x, num_cells=20, seed=seed, sample_rows=sample_rows) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("num_rows", [1, 2, 5, 39, 100])
def test_a_small_set_is_handled_without_a_word(num_rows, capfd):
    x = np.random.default_rng(0).standard_normal((num_rows, 8)).astype(np.float32)
    centres = cell_centres(x, num_cells=50, seed=0, sample_rows=1000)
    assert len(centres) == max(1, num_rows // 39)
    assert np.isfinite(outlier_scores(x, centres)).all()
    assert capfd.readouterr() == ("", "")


def test_training_is_quiet(capfd):
    x = np.random.default_rng(0).standard_normal((20_000, 4)).astype(np.float32)
    cell_centres(x, num_cells=10, seed=0, sample_rows=20_000)
    assert capfd.readouterr() == ("", "")


def test_rows_without_direction_take_no_part():
    x = np.zeros((100, 8), dtype=np.float32)
    x[1] = np.nan
    assert cell_centres(x, num_cells=3, seed=0, sample_rows=1000).shape == (0, 8)
    x[50:, 0] = 1
    centres = cell_centres(x, num_cells=1, seed=0, sample_rows=1000)
    np.testing.assert_array_equal(centres, np.eye(8, dtype=np.float32)[:1])
    scores = outlier_scores(x, centres)
    assert (scores[:50] == 1).all()
    assert (scores[50:] == 0).all()


def test_an_empty_set():
    x = np.empty((0, 8), dtype=np.float32)
    assert outlier_scores(x, cell_centres(x, num_cells=1, seed=0, sample_rows=10)).shape == (0,)


def test_the_number_of_cells():
    assert choose_num_cells(1, 100_000) == 1
    assert choose_num_cells(4896, 100_000) == 47
    assert choose_num_cells(10**6, 100_000) == 667
    assert choose_num_cells(10**9, 100_000) == 100_000 // 39
