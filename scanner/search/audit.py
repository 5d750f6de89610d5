"""What a search missed: sampled rows compared with everything, and recall with an interval that counts rows, not pairs.

The pairs of one row are found or lost together, and so are those of one group, so they are no independent trials. Rows drawn
at random are: whatever made the search lose what it lost, the share found of a sampled row is an independent draw from the
shares of all rows, and the mean of those is what is estimated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.search.join import ThresholdJoin
from scanner.search.threshold import FloatRows, PairBlock

NUM_ROWS = 2000
ENOUGH_ROWS = 300
"""Sampled rows that should have a neighbour; where fewer have, more are drawn, up to ``MOST_ROWS``."""
MOST_ROWS = 16_000
BRUTE_FORCE_PAIRS = 20_000_000
"""Up to so many pairs every cosine is computed in full; beyond, bounds settle most of them first."""
TIE = 1e-6
"""Pairs this near the threshold are on either side of it by the order of a sum: in no count."""
LEVEL = 0.95
FEW = 10
"""With fewer rows than this that miss something, their spread says nothing, and the interval is that of yes and no."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SampledTruth:
    """Every neighbour of the sampled rows.

    Attributes:
        rows: int64 (r,), the sample, ascending.
        left: int64 (m,), a sampled row; each pair of two sampled rows comes from both ends.
        right: int64 (m,), its neighbour.
        similarity: float32 (m,).
    """

    rows: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    similarity: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recall:
    """A share found, in the mean over rows, with its 95 % interval.

    Attributes:
        num_rows: sampled rows that have a neighbour in question.
        value: NaN where no row has one.
        low, high: (0, 1) where no row has one.
    """

    num_rows: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditBand:
    """What was found of the pairs in one band of similarity.

    Attributes:
        measure: ``neighbors``: pairs that the search counted; ``links``: pairs whose two rows ended in one group.
        low, high: of the similarity, low <= s < high.
        num_sampled: rows sampled; ``num_pairs``: true pairs of theirs in the band.
    """

    measure: str
    low: float
    high: float
    num_sampled: int
    num_pairs: int
    recall: Recall


class FoundPairs:
    """The pairs of sampled rows among all that a search finds, collected as they come.

    Args:
        num_rows: of the searched set.
        rows: int64 (r,), the sample.
    """

    def __init__(self, num_rows: int, rows: NDArray[np.int64]) -> None:
        self._n = num_rows
        self._is_sampled = np.zeros(num_rows, bool)
        self._is_sampled[rows] = True
        self._keys: list[NDArray[np.int64]] = [np.empty(0, np.int64)]

    def add(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        """Pairs of rows, each once."""
        for a, b in ((left, right), (right, left)):
            mine = self._is_sampled[a]
            if mine.any():
                self._keys.append(a[mine] * self._n + b[mine])

    def has(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each pair (sampled row, other) came."""
        found: NDArray[np.bool_] = np.isin(left * self._n + right, np.concatenate(self._keys))
        return found


def sampled_truth(
    x: FloatRows, threshold: float, *, seed: int, num_rows: int = NUM_ROWS, threads: int | None = None
) -> SampledTruth:
    """All neighbours of seeded rows of x (n, d), at or above the threshold: by brute force where that is cheap, else by bounds.

    Raises:
        ConfigError: a threshold outside (0, 1].
    """
    n, d = x.shape
    drawn = np.random.default_rng([seed, 4]).permutation(n)[: max(num_rows, MOST_ROWS)]
    empty = np.empty(0, np.int64)
    blocks, taken, num_found = [PairBlock(left=empty, right=empty, similarity=np.empty(0, np.float32))], 0, 0
    while taken < len(drawn) and (taken < num_rows or num_found < ENOUGH_ROWS):
        rows = drawn[taken : taken + max(num_rows - taken, taken)]
        taken += len(rows)
        is_brute = len(rows) * n <= BRUTE_FORCE_PAIRS
        join = ThresholdJoin(
            x=x[rows], y=x, threshold=threshold, threads=threads, seed=seed + 1,
            width=d if is_brute else None, precision="fp32" if is_brute else "auto",
        )  # fmt: skip
        for block in join.blocks():
            left = rows[block.left]
            other = left != block.right
            blocks.append(PairBlock(left=left[other], right=block.right[other], similarity=block.similarity[other]))
        num_found = len(np.unique(np.concatenate([block.left for block in blocks])))
    return SampledTruth(
        rows=np.sort(drawn[:taken]),
        left=np.concatenate([block.left for block in blocks]),
        right=np.concatenate([block.right for block in blocks]),
        similarity=np.concatenate([block.similarity for block in blocks]),
    )


def audit(truth: SampledTruth, found: FoundPairs, labels: NDArray[np.int64], *, threshold: float) -> list[AuditBand]:
    """Recall of neighbours and of links: of all pairs first, then by band of similarity.

    Args:
        labels: int64 (n,), the component of each row at the threshold.
    """
    hits = {"neighbors": found.has(truth.left, truth.right), "links": labels[truth.left] == labels[truth.right]}
    is_clear = truth.similarity >= np.float32(threshold) + np.float32(TIE)
    bands = []
    for measure, hit in hits.items():
        for low, high in ((threshold, math.inf), *band_edges(threshold)):
            inside = is_clear & (truth.similarity >= np.float32(low)) & (truth.similarity < np.float32(high))
            shares = row_shares(truth.left[inside], hit[inside])
            recall = mean_recall(shares)
            bands.append(
                AuditBand(
                    measure=measure, low=low, high=high, num_sampled=len(truth.rows), num_pairs=int(inside.sum()), recall=recall
                )
            )
    return bands


def band_edges(threshold: float) -> Sequence[tuple[float, float]]:
    """Four bands of equal width from the threshold to 1; the last has no upper end, for cosines that rounding puts above 1."""
    step = (1 - threshold) / 4
    edges = [threshold + i * step for i in range(4)]
    return list(zip(edges, [*edges[1:], math.inf], strict=True))


def row_shares(row: NDArray[np.int64], hit: NDArray[np.bool_]) -> NDArray[np.float64]:
    """float64 (r,): of each row that has a pair, the share of its pairs that was found."""
    _, inverse, counts = np.unique(row, return_inverse=True, return_counts=True)
    shares: NDArray[np.float64] = np.bincount(inverse, weights=hit, minlength=len(counts)) / counts
    return shares


def mean_recall(shares: NDArray[np.float64]) -> Recall:
    """The mean of shares in [0, 1] with a 95 % interval (Clopper and Pearson 1934, continued to fractions).

    A share spreads no more than a yes or no of the same mean does, so the interval of so many yes and no is wide enough. Where
    enough rows miss something to tell how much they do spread, their number is scaled by it (design effect; Korn and Graubard
    1998, "Confidence intervals for proportions with small expected number of positive counts").
    """
    n = len(shares)
    if not n:
        return Recall(num_rows=0, value=math.nan, low=0.0, high=1.0)
    mean = float(shares.mean())
    effective = float(n)
    if (shares < 1).sum() >= FEW and 0 < mean < 1:
        effective *= max(1.0, mean * (1 - mean) / max(float(shares.var(ddof=1)), 1e-12))
        # A spread that was estimated on few rows may be far too small.
        effective = min(effective, 10.0 * n)
    low, high = _clopper_pearson(mean * effective, effective)
    return Recall(num_rows=n, value=mean, low=low, high=high)


def _clopper_pearson(hits: float, trials: float) -> tuple[float, float]:
    from scipy.stats import beta

    tail = (1 - LEVEL) / 2
    misses = trials - hits
    low = float(beta.ppf(tail, hits, misses + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, misses)) if misses > 1e-9 else 1.0
    return low, high
