"""Cell centres of a set of embeddings, and how far each row lies from the nearest: its outlier score."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from scanner.search.threshold import FloatRows, load_faiss, unit_rows

# faiss's own advice (ClusteringParameters.min_points_per_centroid): with fewer rows a centre is noise.
MIN_ROWS_PER_CELL = 39
# A cell that ends with fewer sampled rows is a handful of outliers, often one that was drawn as an initial centre.
MIN_ROWS_IN_CELL = 8
NUM_ITERATIONS = 20


def choose_num_cells(num_rows: int, sample_rows: int) -> int:
    """About sqrt(num_rows) / 1.5 cells, at least 1, and at least 39 sampled rows for each."""
    sampled = min(num_rows, sample_rows)
    return max(1, min(round(math.sqrt(num_rows) / 1.5), sampled // MIN_ROWS_PER_CELL))


def cell_centres(x: FloatRows, *, num_cells: int, seed: int, sample_rows: int) -> NDArray[np.float32]:
    """Unit centres of a spherical k-means (Dhillon and Modha 2001; Abbas et al. 2023, SemDeDup) on a seeded sample.

    Centres of cells with fewer than 8 sampled rows are dropped: an outlier that is its own centre would score as typical.
    Deterministic for a seed on one machine and number of threads. Copies pull centres towards themselves and would make
    duplicated images look typical: pass one row a class of equal copies.

    Args:
        x: (n, d) float16 or float32; rows are scaled to norm 1. Zero and non-finite rows take no part.
        num_cells: centres wanted (see :func:`choose_num_cells`); capped so that each has 39 sampled rows.
        seed: of the sample and of the initial centres.
        sample_rows: rows to train on.

    Returns:
        float32 (k, d), 1 <= k <= num_cells; k = 0 if no row of the sample has a direction.

    Raises:
        ConfigError: faiss is absent.
    """
    assert num_cells >= 1
    assert sample_rows >= 1
    faiss = load_faiss()
    num_rows, dim = x.shape
    if num_rows > sample_rows:
        # Sorted: a memory-mapped file is then read forwards.
        chosen = np.sort(np.random.default_rng(seed).choice(num_rows, size=sample_rows, replace=False))
        sample = unit_rows(x[chosen])
    else:
        sample = unit_rows(x)
    has_direction = sample.any(axis=1)
    if not has_direction.all():
        sample = sample[has_direction]
    if not len(sample):
        return np.empty((0, dim), dtype=np.float32)
    num_cells = max(1, min(num_cells, len(sample) // MIN_ROWS_PER_CELL))
    kmeans = faiss.Kmeans(
        dim,
        num_cells,
        niter=NUM_ITERATIONS,
        seed=seed,
        spherical=True,
        # The sample is drawn above. faiss would draw its own, and print a warning for a small set.
        min_points_per_centroid=1,
        max_points_per_centroid=len(sample),
    )
    kmeans.train(sample)
    centres = unit_rows(kmeans.centroids.reshape(-1, dim))
    rows_in_cell = np.bincount(kmeans.assign(sample)[1], minlength=num_cells)
    is_kept = rows_in_cell >= min(MIN_ROWS_IN_CELL, int(rows_in_cell.max()))
    return np.ascontiguousarray(centres[is_kept], dtype=np.float32)


def outlier_scores(x: FloatRows, centres: NDArray[np.float32], *, block_rows: int = 65_536) -> NDArray[np.float32]:
    """1 - cosine similarity of each row to its nearest centre, clipped to [0, 2]: higher lies further from the rest.

    Args:
        x: (n, d) float16 or float32; rows are scaled to norm 1, ``block_rows`` at a time.
        centres: (k, d) unit rows, as :func:`cell_centres` returns.

    Returns:
        float32 (n,). A row without direction, and every row if there are no centres, scores 1.

    Raises:
        ConfigError: faiss is absent.
    """
    faiss = load_faiss()
    scores = np.ones(len(x), dtype=np.float32)
    if not len(centres):
        return scores
    index = faiss.IndexFlatIP(centres.shape[1])
    index.add(centres)
    for start in range(0, len(x), block_rows):
        similarity, _ = index.search(unit_rows(x[start : start + block_rows]), 1)
        scores[start : start + block_rows] = np.clip(1 - similarity[:, 0], 0, 2)
    return scores
