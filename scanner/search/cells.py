"""k-means cells for a join past what all pairs allow: which rows share a cell, and how far each must reach to be found.

A row lies in its own cell, that of the nearest centre, and visits as a guest those whose centre is nearly as near: within
``reach`` of it in inner product. Two rows are compared where one of them is at home and the other at home or a guest (the
assignment of an inverted file with several probes; SemDeDup, Abbas et al. 2023, has no guests and loses the pairs that
straddle two cells). The reach is not guessed: a pilot computes all neighbours of sampled rows and takes what finds
enough of them.

Centres and distances live in the rotated prefix of the bounds (``bounds``): rows near in all coordinates are near there.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scanner.search.threshold import load_faiss
from scanner.search.tiles import as_ordered, in_order

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("scanner")

ROWS_PER_CENTRE = 40
"""Of the sample that centres are fitted on; faiss advises at least 39."""
NUM_ITERATIONS = 7
MOST_CELLS = 65_536
GUESTS_A_ROW = 2.0
"""Guests that a row is expected to be, for the number of cells only; the pilot decides."""
BLOCK_ROWS = 4096
RARE_ROWS = 10
"""Rows of the pilot that must miss something for their share to be read off; rarer misses are extrapolated from these."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cells:
    """Rows in cell order, and who visits whom.

    Attributes:
        order: int64 (n,), the row at each place; rows of one cell lie together, those that were there before
            first, in ascending order.
        starts: int64 (k + 1,), first place of each cell.
        guests: int64 (g,), places of the guests, cell by cell, those that were there before first.
        guest_starts: int64 (k + 1,), first guest of each cell.
        visits: int32 (g,), cells visited, place by place.
        visit_starts: int64 (n + 1,), first visit of each place.
        active_starts: int64 (k,), first place in each cell of a row that takes part with all others: those before it only meet
            such rows.
        active_guests: int64 (k,), where among a cell's guests those begin.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    guests: NDArray[np.int64]
    guest_starts: NDArray[np.int64]
    visits: NDArray[np.int32]
    visit_starts: NDArray[np.int64]
    active_starts: NDArray[np.int64]
    active_guests: NDArray[np.int64]

    @property
    def num_cells(self) -> int:
        return len(self.starts) - 1

    def home(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The own cell of each place."""
        return np.searchsorted(self.starts, places, side="right") - 1

    @property
    def num_comparisons(self) -> int:
        """Pairs that are compared: rows at home in one cell, and hosts with guests, but for two that were there before."""
        own, guests = np.diff(self.starts), np.diff(self.guest_starts)
        old_own, old_guests = self.active_starts - self.starts[:-1], self.active_guests - self.guest_starts[:-1]
        return int((own * (own - 1) // 2 + own * guests - old_own * (old_own - 1) // 2 - old_own * old_guests).sum())


def choose_num_cells(num_rows: int) -> int:
    """Where finding the cells of n rows costs what joining them within cells does: 2 n k = n (n / k) (1/2 + guests).

    A score is looked at twice, for the nearest and for those within reach, so it weighs twice what a comparison does.
    """
    return max(1, min(MOST_CELLS, num_rows // ROWS_PER_CENTRE, round(math.sqrt(num_rows * (0.5 + GUESTS_A_ROW) / 2))))


def sample_rows(num_rows: int, num_cells: int) -> int:
    return min(num_rows, ROWS_PER_CENTRE * num_cells)


def fit_centres(prefixes: NDArray[np.float32], num_cells: int, *, seed: int, threads: int) -> NDArray[np.float32]:
    """Unit centres (k, w) of a spherical k-means over sampled prefixes (m, w), at a right angle to their mean; k <= num_cells.

    What all rows share says nothing of where one of them belongs. With it the inner products would lie close together, and in
    bf16 on one another.

    Raises:
        ConfigError: faiss is absent.
    """
    faiss = load_faiss()
    mean = prefixes.mean(axis=0) if len(prefixes) else np.zeros(prefixes.shape[1], np.float32)
    mean /= max(float(np.linalg.norm(mean)), 1e-6)
    usable = prefixes - np.outer(prefixes @ mean, mean)
    usable = np.ascontiguousarray(usable[np.einsum("nw,nw->n", usable, usable) > 1e-12])
    num_cells = min(num_cells, len(usable))
    if num_cells < 2:
        return np.zeros((1, prefixes.shape[1]), np.float32)
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        kmeans = faiss.Kmeans(
            prefixes.shape[1], num_cells, niter=NUM_ITERATIONS, seed=seed, spherical=True, min_points_per_centroid=1,
            max_points_per_centroid=len(usable),
        )  # fmt: skip
        kmeans.train(usable)
    finally:
        faiss.omp_set_num_threads(before)
    centres: NDArray[np.float32] = kmeans.centroids.reshape(num_cells, -1)
    return centres - np.outer(centres @ mean, mean)


class Scores:
    """How near rows are to every centre, in the precision of the bounds; the same for the pilot and for all rows.

    Args:
        centres: float32 (k, w - 1), for bounds of w numbers: their last, the norm of the rest, says nothing of where it points.
        dtype: of the bounds.
    """

    def __init__(self, centres: NDArray[np.float32], dtype: torch.dtype) -> None:
        import torch

        padded = np.concatenate([centres, np.zeros((len(centres), 1), np.float32)], axis=1)
        self._centres = torch.from_numpy(padded).to(dtype).T.contiguous()
        self._dtype = dtype

    def of(self, bounds: torch.Tensor) -> torch.Tensor:
        """(m, k)."""
        import torch

        return torch.mm(bounds, self._centres)

    def home(self, scores: torch.Tensor) -> NDArray[np.int64]:
        """int64 (m,): the nearest centre, the first of equals."""
        home: NDArray[np.int64] = as_ordered(scores).argmax(axis=1)
        return home

    def visits(self, scores: torch.Tensor, home: NDArray[np.int64], reach: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and cell of each visit: centres within ``reach`` of the nearest, in order of row, then cell."""
        import torch

        own = scores[torch.arange(len(home)), torch.from_numpy(home)].float()
        # Rounded to the type of the scores, whose bits are compared. Rounding is monotone, so no score within reach is lost.
        least = (own - reach).to(self._dtype)
        mask = as_ordered(scores) >= as_ordered(least)[:, None]
        mask[np.arange(len(home)), home] = False
        row, cell = np.divmod(np.flatnonzero(mask.reshape(-1)), mask.shape[1])
        return row, cell


def gaps(scores: Scores, left: torch.Tensor, right: torch.Tensor) -> NDArray[np.float32]:
    """float32 (m,): the reach at which each of m pairs of rows is found; 0 where both are at home in one cell.

    A pair is found if either row visits the other's cell, so the smaller of the two gaps counts.
    """
    import torch

    out = np.empty(len(left), np.float32)
    for start in range(0, len(left), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        a, b = scores.of(left[block]), scores.of(right[block])
        row = torch.arange(len(a))
        home_a, home_b = (torch.from_numpy(scores.home(s)) for s in (a, b))
        a, b = a.float(), b.float()
        out[block] = torch.minimum(a[row, home_a] - a[row, home_b], b[row, home_b] - b[row, home_a]).numpy()
    return np.maximum(out, 0)


def choose_reach(gap: NDArray[np.float32], row: NDArray[np.int64], recall: float) -> float:
    """The smallest reach that finds, in the mean over rows, all but half of what ``recall`` allows to miss.

    Half, because a reach that just meets it on the pilot misses it on every second set. Where the pilot has too few rows to see
    so rare a miss, its largest gaps are continued by an exponential tail (peaks over a threshold, Pickands 1975, with shape 0;
    gaps are sums of many small parts, whose tails fall faster).

    Args:
        gap: float32 (m,), of each pair of the pilot (see ``gaps``).
        row: int64 (m,), whose neighbour the pair is: a row of many neighbours weighs no more than one of few.
        recall: asked for, in (0, 1).

    Returns:
        A reach; 0 where no pair was found or none needs any.
    """
    if not len(gap):
        return 0.0
    _, inverse, counts = np.unique(row, return_inverse=True, return_counts=True)
    weight = 1.0 / (counts[inverse] * len(counts))
    order = np.argsort(-gap, kind="stable")
    gap, weight = gap[order].astype(np.float64), weight[order]
    missed = np.cumsum(weight)  # by a reach just below each gap, from the largest down
    allowed = (1 - recall) / 2 + 1e-9
    seen = RARE_ROWS / len(counts)
    if allowed >= seen:
        last = int(np.searchsorted(missed, allowed, side="right"))
        return float(np.nextafter(np.float32(gap[min(last, len(gap) - 1)]), np.float32(np.inf)))
    start = gap[min(int(np.searchsorted(missed, seen, side="right")), len(gap) - 1)]
    above = gap > start
    share = float(weight[above].sum())
    if share <= allowed:
        return float(start)
    excess = float((weight[above] * (gap[above] - start)).sum()) / share
    return float(start + excess * math.log(share / allowed))


def assign(
    bounds: torch.Tensor,
    scores: Scores,
    num_cells: int,
    *,
    reach: float,
    threads: int,
    is_active: NDArray[np.bool_] | None = None,
) -> Cells:
    """Every row's own cell and its visits.

    Args:
        bounds: (n, w), in the order of the rows.
        is_active: (n,), rows that are compared with all others; two that are not are not compared. None: all.
    """
    n = len(bounds)
    home = np.empty(n, np.int32)

    def work(start: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        found = scores.of(bounds[start : start + BLOCK_ROWS])
        own = scores.home(found)
        home[start : start + BLOCK_ROWS] = own
        row, cell = scores.visits(found, own, reach)
        return row + start, cell.astype(np.int32)

    found = [visits for _, visits in in_order(range(0, n, BLOCK_ROWS), work, threads)]
    row = np.concatenate([np.empty(0, np.int64), *(r for r, _ in found)])
    cell = np.concatenate([np.empty(0, np.int32), *(c for _, c in found)])
    del found
    was_there = np.zeros(n, bool) if is_active is None else ~is_active
    order = np.lexsort((~was_there, home))
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    place_of = place[row]
    by_place = np.argsort(place_of, kind="stable")
    visits, visitor = cell[by_place], place_of[by_place]
    is_old = was_there[order[visitor]]
    by_cell = np.lexsort((~is_old, visits))
    starts, guest_starts = _starts(home, num_cells), _starts(visits, num_cells)
    return Cells(
        order=order,
        starts=starts,
        guests=visitor[by_cell],
        guest_starts=guest_starts,
        visits=visits,
        visit_starts=_starts(visitor, n),
        active_starts=starts[:-1] + np.bincount(home[was_there], minlength=num_cells),
        active_guests=guest_starts[:-1] + np.bincount(visits[is_old], minlength=num_cells),
    )


def _starts(labels: NDArray[np.int32] | NDArray[np.int64], num_labels: int) -> NDArray[np.int64]:
    """int64 (num_labels + 1,): where each label starts once they are sorted."""
    return np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=num_labels))]).astype(np.int64)
