"""Neighbours by faiss's inverted file: a well-known peer of the join in cells, for those who must compare.

In how many lists a row is looked for is chosen on a pilot: so many that sampled rows find the share of their neighbours that is
asked for. Cosines are faiss's own, in fp32: its lists hold the rows whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.search.audit import SampledTruth, row_shares, sampled_truth
from scanner.search.threshold import FloatRows, PairBlock, check_threshold, load_faiss, unit_rows

logger = logging.getLogger("scanner")

QUERY_ROWS = 4096
PILOT_ROWS = 1000
MOST_PROBES = 256
ROWS_PER_LIST = 39
"""At least so many a list: what faiss asks for."""


def ivf_pairs(
    x: FloatRows,
    threshold: float,
    *,
    recall: float = 0.99,
    seed: int = 0,
    threads: int | None = None,
    on_tile: Callable[[int], None] | None = None,
) -> Iterator[PairBlock]:
    """Pairs of rows of x (n, d) at or above the threshold that an IndexIVFFlat with about 4 sqrt(n) lists finds, each once.

    All rows are held in fp32 twice, here and in the index.

    Args:
        recall: in (0, 1), share of its neighbours that a row finds in the mean, aimed at.
        on_tile: called with the number of rows just looked for; the calls add up to n.

    Raises:
        ConfigError: a threshold outside (0, 1], faiss absent.
    """
    radius = check_threshold(threshold)
    faiss = load_faiss()
    rows = unit_rows(x)
    n, d = rows.shape
    usable = rows.any(axis=1)
    if not usable.any():
        return
    if threads:
        faiss.omp_set_num_threads(threads)
    num_lists = max(1, min(round(4 * n**0.5), int(usable.sum()) // ROWS_PER_LIST))
    quantizer = faiss.IndexFlatIP(d)
    index = faiss.IndexIVFFlat(quantizer, d, num_lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1234 + seed, 1, 64
    index.train(rows[usable])
    index.add(rows)
    home = quantizer.search(rows, 1)[1][:, 0]
    truth = sampled_truth(x, threshold, seed=seed + 7, num_rows=PILOT_ROWS, threads=threads)
    index.nprobe = _num_probes(quantizer, rows, home, truth, recall, min(MOST_PROBES, num_lists))
    logger.info("faiss IVF: %s rows, %d lists, a row is looked for in %d", f"{n:,}", num_lists, index.nprobe)
    # faiss takes what is above a radius, we what is at it too.
    below = float(np.nextafter(radius, np.float32(0)))
    for start in range(0, n, QUERY_ROWS):
        queries = rows[start : start + QUERY_ROWS]
        limits, similarity, found = index.range_search(queries, below)
        left = np.repeat(np.arange(start, start + len(queries)), np.diff(limits.astype(np.int64)))
        # A search is one-sided: of two rows either may find the other. A pair counts from the lower row, and from the higher
        # where only that one finds it.
        other = np.flatnonzero(found != left)
        left, found, similarity = left[other], found[other], similarity[other]
        lower = left < found
        lists = quantizer.search(rows[found[~lower]], index.nprobe)[1]
        lower[~lower] = ~(lists == home[left[~lower]][:, None]).any(axis=1)
        i, j = left[lower], found[lower]
        if len(i):
            yield PairBlock(left=np.minimum(i, j), right=np.maximum(i, j), similarity=similarity[lower])
        if on_tile:
            on_tile(len(queries))


def estimate_memory(n: int, d: int) -> int:
    """Upper estimate of the bytes that the search holds beside x, but for the pairs of one block."""
    return 2 * 4 * n * d + 8 * n * 3 + 4 * QUERY_ROWS * d


def _num_probes(
    quantizer: Any, rows: NDArray[np.float32], home: NDArray[np.int64], truth: SampledTruth, recall: float, most: int
) -> int:
    """The smallest number of lists at which the sampled rows miss no more than half of what ``recall`` allows."""
    if not len(truth.left):
        return 1
    rank = np.full(len(truth.left), most + 1)
    for start in range(0, len(truth.left), QUERY_ROWS):
        a, b = truth.left[start : start + QUERY_ROWS], truth.right[start : start + QUERY_ROWS]
        for query, target in ((a, b), (b, a)):
            lists = quantizer.search(rows[query], most)[1]
            is_home = lists == home[target][:, None]
            here = np.where(is_home.any(axis=1), is_home.argmax(axis=1) + 1, most + 1)
            rank[start : start + QUERY_ROWS] = np.minimum(rank[start : start + QUERY_ROWS], here)
    shares = [float(row_shares(truth.left, rank <= probes).mean()) for probes in range(1, most + 1)]
    enough = [probes for probes, share in enumerate(shares, start=1) if share >= (1 + recall) / 2 - 1e-9]
    return enough[0] if enough else most
