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
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scanner.search.bits import as_ordered, as_sortable
from scanner.search.buffers import ThreadBuffers
from scanner.search.threshold import load_faiss
from scanner.search.workers import in_order

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("scanner")

ROWS_PER_CENTRE = 40
"""Of the sample that centres are fitted on; faiss advises at least 39."""
NUM_ITERATIONS = 5
SHARED_PRODUCTS = 2e11
"""Multiplications of the fit, from which on several threads share them: some seconds of one."""
MOST_CELLS = 65_536
GUESTS_A_ROW, NARROW, GUESTS_OF_NARROW = 6.0, 64, 2.0
"""Guests that a row is expected to be, for the number of cells only; the pilot decides. Where bounds of few numbers do, rows lie
well apart: planted sets of 50,000 to a million at recall .9995 had 2 to 9 guests a row with 64 numbers, 3 to 17 with 128."""
SCORE_BYTES = 1 << 22
"""Of scores computed at once: they stay in a core's cache until they are looked at. By blocks of 4,096 rows, each in memory fresh
from the system, the nearest of 1,800 centres took twice as long (a core with AVX2)."""
LEAST_SCORE_ROWS, MOST_SCORE_ROWS = 256, 4096
TAIL_POWER = 0.88
"""Of the share of moved pairs (``pilot``) that a reach misses, as an estimate of what it misses beyond what the pilot saw. They
miss two or three times as often as pairs where they are; how far out that holds nobody knows, so it counts for less with each
step beyond. On 24 planted sets of 60,000 and 150,000 rows other than those it was chosen on, .1 to .6 of what was allowed was
missed, on one 1.1."""
RARE_ROWS, RARE_SHARE = 10, 0.02
"""Rows of the pilot that must miss something for their share to be read off; rarer misses are extrapolated from these. Of a
large pilot that share of the rows: more rows, a steadier tail."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Homes:
    """Rows in cell order.

    Attributes:
        order: int64 (n,), the row at each place; rows of one cell lie together, those that were there before
            first, in ascending order.
        starts: int64 (k + 1,), first place of each cell.
        active_starts: int64 (k,), first place in each cell of a row that takes part with all others: those before it only meet
            such rows.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    active_starts: NDArray[np.int64]

    @property
    def num_cells(self) -> int:
        return len(self.starts) - 1

    def home(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The own cell of each place."""
        return np.searchsorted(self.starts, places, side="right") - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells(Homes):
    """Rows in cell order, and who visits whom.

    Attributes:
        guests: int32 (g,), places of the guests, cell by cell, those that were there before first.
        guest_starts: int64 (k + 1,), first guest of each cell.
        visits: uint16 (g,), cells visited, place by place in ascending order.
        visit_starts: int64 (n + 1,), first visit of each place.
        active_guests: int64 (k,), where among a cell's guests those begin that take part with all others.
    """

    guests: NDArray[np.int32]
    guest_starts: NDArray[np.int64]
    visits: NDArray[np.uint16]
    visit_starts: NDArray[np.int64]
    active_guests: NDArray[np.int64]

    @property
    def num_comparisons(self) -> int:
        """Pairs that are compared: rows at home in one cell, and hosts with guests, but for two that were there before."""
        own, guests = np.diff(self.starts), np.diff(self.guest_starts)
        old_own, old_guests = self.active_starts - self.starts[:-1], self.active_guests - self.guest_starts[:-1]
        return int((own * (own - 1) // 2 + own * guests - old_own * (old_own - 1) // 2 - old_own * old_guests).sum())


def choose_num_cells(num_rows: int, width: int) -> int:
    """Where finding the cells of n rows costs what joining them within cells does: 2 n k = n (n / k) (1/2 + guests).

    A score is looked at twice, for the nearest and for those within reach, so it weighs twice what a comparison does.

    Args:
        width: numbers of a bound.
    """
    guests = GUESTS_OF_NARROW if width <= NARROW else GUESTS_A_ROW
    return max(1, min(MOST_CELLS, num_rows // ROWS_PER_CENTRE, round(math.sqrt(num_rows * (0.5 + guests) / 2))))


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
    # Of few products several threads gain little (2.0 s against 2.5 at 8e10) and spin while they wait for one another.
    faiss.omp_set_num_threads(threads if NUM_ITERATIONS * usable.size * num_cells >= SHARED_PRODUCTS else 1)
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
        self._buffers = ThreadBuffers()
        fitting = SCORE_BYTES // (len(centres) * dtype.itemsize)
        self.block_rows: int = min(MOST_SCORE_ROWS, max(LEAST_SCORE_ROWS, fitting // 64 * 64))

    def of(self, bounds: torch.Tensor) -> torch.Tensor:
        """(m, k), in a buffer that the next call of this thread fills anew; ``block_rows`` at a time are the fastest."""
        import torch

        bits = np.int16 if self._dtype == torch.bfloat16 else np.float32
        held = self._buffers["scores"].array(len(bounds), self._centres.shape[1], dtype=bits)
        return torch.mm(bounds, self._centres, out=torch.from_numpy(held).view(self._dtype))

    def at(self, bounds: torch.Tensor, cells: NDArray[np.int64]) -> torch.Tensor:
        """(m,) fp32: the score of each row for one cell of its own, rounded as ``of`` rounds it."""
        import torch

        centres = self._centres.T[torch.from_numpy(cells)]
        rounded: torch.Tensor = torch.linalg.vecdot(bounds.float(), centres.float()).to(self._dtype).float()
        return rounded

    def home(self, scores: torch.Tensor) -> NDArray[np.int64]:
        """int64 (m,): the nearest centre, the first of equals."""
        plain = as_sortable(scores)
        home: NDArray[np.int64] = plain.argmax(axis=1)
        # Negative numbers are not in the order of their bits: where a row has no other, it is looked at again.
        astray = np.flatnonzero(plain[np.arange(len(home)), home] < 0)
        if len(astray):
            import torch

            home[astray] = as_ordered(scores[torch.from_numpy(astray)]).argmax(axis=1)
        return home

    def visits(self, scores: torch.Tensor, home: NDArray[np.int64], reach: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and cell of each visit: centres within ``reach`` of the nearest, in order of row, then cell."""
        import torch

        own = scores[torch.arange(len(home)), torch.from_numpy(home)].float()
        # Rounded to the type of the scores, whose bits are compared. Rounding is monotone, so no score within reach is lost.
        least = (own - reach).to(self._dtype)
        form = as_sortable if bool((least > 0).all()) else as_ordered
        mask: NDArray[np.bool_] = self._buffers["mask"].array(*scores.shape, dtype=np.bool_)
        np.greater_equal(form(scores), form(least)[:, None], out=mask)
        mask[np.arange(len(home)), home] = False
        row, cell = np.divmod(np.flatnonzero(mask.reshape(-1)), mask.shape[1])
        return row, cell


def choose_reach(
    gap: NDArray[np.float32],
    weight: NDArray[np.float64],
    num_rows: int,
    recall: float,
    moved: Callable[[], NDArray[np.float32]],
) -> float:
    """The smallest reach that finds, in the mean over rows, all but half of what ``recall`` allows to miss.

    Half, because a reach that just meets it on the pilot misses it on every second set. Where the pilot has too few rows to see
    so rare a miss, it says how many pairs miss the reach that it can still see (with a standard error), and pairs moved to other
    rows say how many of those go further.

    Args:
        gap: float32 (m,), of pairs of the pilot: the reach at which each is found; those of 0 may be left out.
        weight: (m,), what a pair counts for: 1 / (neighbours of its row x rows), so that a row of many weighs no more than one
            of few.
        num_rows: of the pilot that have a neighbour.
        recall: asked for, in (0, 1).
        moved: asked only where it is needed: gaps float32 (s,) of pairs moved to other rows, drawn in proportion to their weight.

    Returns:
        A reach; 0 where no pair was found or none needs any.
    """
    order = np.argsort(-gap, kind="stable")
    gap, weight = gap[order], weight[order]
    missed = np.cumsum(weight)  # by a reach just below each gap, from the largest down
    allowed = (1 - recall) / 2 + 1e-9
    if not len(gap) or missed[-1] <= allowed:
        return 0.0
    seen = max(RARE_ROWS, RARE_SHARE * num_rows) / num_rows
    if allowed >= seen:
        last = int(np.searchsorted(missed, allowed, side="right"))
        return _just_above(gap[min(last, len(gap) - 1)])
    last = int(np.searchsorted(missed, seen, side="right"))
    # Where fewer than that miss anything, the tail begins at 0: all other gaps are.
    start = gap[last] if last < len(gap) else np.float32(0)
    share = float(weight[gap > start].sum())
    if share <= allowed:
        return float(start)
    tail = np.sort(moved())[::-1]
    tail = tail[tail > start]
    if not len(tail):
        return _just_above(gap[0])
    wanted = (allowed / (share * (1 + 1 / math.sqrt(share * num_rows)))) ** (1 / TAIL_POWER)
    return _just_above(tail[min(len(tail) - 1, int(wanted * len(tail)))])


def _just_above(gap: np.float32) -> float:
    return float(np.nextafter(gap, np.float32(np.inf)))


def find_homes(
    bounds: torch.Tensor, scores: Scores, num_cells: int, *, threads: int, is_active: NDArray[np.bool_] | None = None
) -> Homes:
    """Every row's own cell.

    Args:
        bounds: (n, w), in the order of the rows.
        is_active: (n,), rows that are compared with all others; two that are not are not compared. None: all.
    """
    n = len(bounds)
    assert num_cells <= MOST_CELLS, "cells are counted in 16 bits"
    assert n < 2**31, "places are counted in 32 bits"
    home = np.empty(n, np.uint16)

    def work(start: int) -> None:
        home[start : start + step] = scores.home(scores.of(bounds[start : start + step]))

    step = scores.block_rows
    for _ in in_order(range(0, n, step), work, threads):
        pass
    starts = _starts(home, num_cells)
    if is_active is None:
        # Of 16 bits numpy sorts digit by digit.
        return Homes(order=np.argsort(home, kind="stable"), starts=starts, active_starts=starts[:-1])
    num_old = np.bincount(home[~is_active], minlength=num_cells)
    return Homes(order=np.lexsort((is_active, home)), starts=starts, active_starts=starts[:-1] + num_old)


def find_guests(bounds: torch.Tensor, scores: Scores, homes: Homes, *, reach: float, threads: int) -> Cells:
    """Every row's visits.

    Args:
        bounds: (n, w), in cell order.
    """
    n, num_cells = len(bounds), homes.num_cells

    def work(start: int) -> tuple[NDArray[np.int64], NDArray[np.uint16]]:
        found = scores.of(bounds[start : start + step])
        row, cell = scores.visits(found, homes.home(np.arange(start, start + len(found))), reach)
        return np.bincount(row, minlength=len(found)), cell.astype(np.uint16)

    step = scores.block_rows
    found = [visits for _, visits in in_order(range(0, n, step), work, threads)]
    num_visits = np.concatenate([np.empty(0, np.int64), *(counts for counts, _ in found)])
    visits = np.concatenate([np.empty(0, np.uint16), *(cells for _, cells in found)])
    del found
    visitor = np.repeat(np.arange(n, dtype=np.int32), num_visits)
    guest_starts = _starts(visits, num_cells)
    is_active = np.arange(n) >= np.repeat(homes.active_starts, np.diff(homes.starts))
    if is_active.all():
        by_cell, active_guests = np.argsort(visits, kind="stable"), guest_starts[:-1]
    else:
        by_cell = np.lexsort((is_active[visitor], visits))
        active_guests = guest_starts[:-1] + np.bincount(visits[~is_active[visitor]], minlength=num_cells)
    return Cells(
        order=homes.order,
        starts=homes.starts,
        active_starts=homes.active_starts,
        guests=visitor[by_cell],
        guest_starts=guest_starts,
        visits=visits,
        visit_starts=np.concatenate([[0], np.cumsum(num_visits)]),
        active_guests=active_guests,
    )


def _starts(labels: NDArray[np.uint16], num_labels: int) -> NDArray[np.int64]:
    """int64 (num_labels + 1,): where each label starts once they are sorted."""
    return np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=num_labels))]).astype(np.int64)
