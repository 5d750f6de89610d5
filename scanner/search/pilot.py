"""How far rows must reach for a join in cells to find what was asked for: measured on a sample, not guessed.

Rows drawn at random are compared with everything, which says without bias how far their neighbours are. So few rows say little
of rare misses. So many more are then compared with the cells nearest to them only, which costs a fraction of it: enough of them
that the first sample finds nothing beyond.

Even they do not show what one row in thousands misses. So their pairs are moved: y, a neighbour of x, as it would lie if x were
another row x' of its cell, y' = y + (x . y) (x' - x), at the same cosine in the same direction. How far a pair reaches depends
on where it lies among the centres as much as on the pair, and finding out costs no search. (A smoothed bootstrap, Silverman and
Young 1987, with other rows of the cell for the noise.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scanner.search import tiles
from scanner.search.bits import rows_at
from scanner.search.cells import Homes, Scores, choose_reach
from scanner.search.tiles import Bounds, RowReader
from scanner.search.workers import in_order

if TYPE_CHECKING:
    import torch

PILOT_ROWS, MOST_PILOT_ROWS = 1024, 8192
ENOUGH_ROWS, LEAST_MORE_ROWS = 100, 128
"""Rows of the first sample that should have a neighbour; where fewer have, more rows are drawn, so many at
least."""
PILOT_AGAINST = 262_144
"""Rows that the first sample is compared with, at most; of a larger set a sample."""
NEAREST_CELLS, MOST_NEAREST_CELLS = 16, 64
"""That the second sample is compared with; more where the first finds neighbours beyond. A join of recall .9995 visits 3 to 8 in
the mean."""
NEAR_ROWS, MOST_NEAR_ROWS = 8192, 65_536
FOUND_ROWS, MOST_FOUND_ROWS = 1_000, 4_000
"""Of the second sample, by the share of the first, so many should have a neighbour: one row in 250 of a large set, for which a
steadier reach pays."""
MOVED_BEYOND, LEAST_MOVED, MOST_MOVED = 16, 1 << 15, 1 << 18
"""Pairs that are moved: so many that half of what may be missed is about ``MOVED_BEYOND`` of them, within limits."""
GAP_ROWS = 4096
"""Pairs whose gaps are computed at once."""
CELLS_A_TASK = 8
"""That one thread compares before it reports."""
PAIRS_A_TILE = 65_536
"""Kept of one tile, at random, where a giant group has more; they count for all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pilot:
    """Attributes:
    reach: chosen.
    num_rows: that were compared, and ``num_found``, those that have a neighbour: of the sample that decided.
    """

    reach: float
    num_rows: int
    num_found: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Found:
    """Pairs of a row of a sample and another row, both by place, their cosine, and how many such pairs each stands for."""

    row: NDArray[np.int64]
    other: NDArray[np.int64]
    similarity: NDArray[np.float32]
    count: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: list[_Found]) -> _Found:
        return cls(
            row=np.concatenate([np.empty(0, np.int64), *(p.row for p in parts)]),
            other=np.concatenate([np.empty(0, np.int64), *(p.other for p in parts)]),
            similarity=np.concatenate([np.empty(0, np.float32), *(p.similarity for p in parts)]),
            count=np.concatenate([np.empty(0, np.float64), *(p.count for p in parts)]),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Piloting:
    """What a pilot works on.

    Attributes:
        limits: what is compared, and how.
        bounds: (n, w), in cell order.
        rows: in cell order.
        homes: of all rows.
        scores: of the centres.
        seed: of the samples.
    """

    limits: Bounds
    bounds: torch.Tensor
    rows: RowReader
    homes: Homes
    scores: Scores
    seed: int
    threads: int

    def run(self, recall: float) -> Pilot:
        """The reach that finds ``recall`` of a row's neighbours in the mean."""
        drawn = np.random.default_rng([self.seed, 3]).permutation(len(self.bounds))
        found, num_rows = self._among_all(drawn)
        num_found = len(np.unique(found.row))
        wanted = min(max(FOUND_ROWS, len(drawn) // 250), MOST_FOUND_ROWS)
        num_near = min(len(drawn), MOST_NEAR_ROWS, max(NEAR_ROWS, wanted * num_rows // max(1, num_found)))
        num_cells = min(self.homes.num_cells, max(NEAREST_CELLS, 1 + self._farthest(found, (1 - recall) / 2)))
        if num_found and num_near > num_rows and num_cells <= MOST_NEAREST_CELLS:
            found, num_rows = self._among_near(np.sort(drawn[:num_near]), num_cells), num_near
        gap, weight, num_found = self._gaps(found)
        reach = choose_reach(gap, weight, num_found, recall, lambda: self._gaps_if_moved(found, recall))
        return Pilot(reach=reach, num_rows=num_rows, num_found=num_found)

    def _among_all(self, drawn: NDArray[np.int64]) -> tuple[_Found, int]:
        """Neighbours of the first of the drawn places, and how many were compared."""
        n = len(self.bounds)
        others = np.arange(n)
        if n > PILOT_AGAINST:
            others = np.sort(np.random.default_rng([self.seed, 4]).choice(n, size=PILOT_AGAINST, replace=False))
        parts: list[_Found] = []
        num_rows = num_found = 0
        num_more = PILOT_ROWS
        while num_rows < min(len(drawn), MOST_PILOT_ROWS) and num_found < ENOUGH_ROWS:
            rows = np.sort(drawn[num_rows : min(num_rows + num_more, MOST_PILOT_ROWS)])
            num_rows += len(rows)
            blocks = range(0, len(others), tiles.TILE_COLUMNS)
            work = lambda at, rows=rows: self._tile(rows, others[at : at + tiles.TILE_COLUMNS])  # noqa: E731
            parts += [part for _, part in in_order(blocks, work, self.threads)]
            num_found = len(np.unique(np.concatenate([part.row for part in parts])))
            # By the share so far, and some to spare.
            num_more = min(num_rows, LEAST_MORE_ROWS + (ENOUGH_ROWS - num_found) * num_rows // max(1, num_found))
        return _Found.joined(parts), num_rows

    def _farthest(self, found: _Found, allowed: float) -> int:
        """How many cells are nearer to a row than that of a neighbour, but for a share of the neighbours."""
        import torch

        if not len(found.row):
            return 0
        weight, _ = self._weights(found)
        rank = np.zeros(len(found.row), np.int64)
        apart = np.flatnonzero(self.homes.home(found.row) != self.homes.home(found.other))
        for start in range(0, len(apart), self.scores.block_rows):
            block = apart[start : start + self.scores.block_rows]
            scores = self.scores.of(rows_at(self.bounds, found.row[block]))
            other = scores.gather(1, torch.from_numpy(self.homes.home(found.other[block]))[:, None])
            rank[block] = (scores > other).sum(dim=1).numpy()
        order = np.argsort(-rank)
        last = int(np.searchsorted(np.cumsum(weight[order]), allowed, side="right"))
        return int(rank[order[min(last, len(order) - 1)]])

    def _among_near(self, rows: NDArray[np.int64], num_near: int) -> _Found:
        """Neighbours of places among those at home in the ``num_near`` cells nearest to each."""
        near = self._nearest_cells(rows, num_near)
        visitor, cell = np.repeat(np.arange(len(rows)), near.shape[1]), near.ravel()
        by_cell = np.argsort(cell, kind="stable")
        edges = np.searchsorted(cell[by_cell], np.arange(self.homes.num_cells + 1))

        def work(first: int) -> _Found:
            parts = []
            for cell in range(first, min(first + CELLS_A_TASK, self.homes.num_cells)):
                visitors = rows[visitor[by_cell[edges[cell] : edges[cell + 1]]]]
                start, stop = int(self.homes.starts[cell]), int(self.homes.starts[cell + 1])
                step = tiles.TILE_COLUMNS
                parts += [self._tile(visitors, np.arange(s, min(s + step, stop))) for s in range(start, stop, step)]
            return _Found.joined(parts)

        cells = range(0, self.homes.num_cells, CELLS_A_TASK)
        return _Found.joined([part for _, part in in_order(cells, work, self.threads)])

    def _nearest_cells(self, places: NDArray[np.int64], num_cells: int) -> NDArray[np.int64]:
        """int64 (m, num_cells): the nearest of each place, its own among them."""

        out = np.empty((len(places), num_cells), np.int64)

        def work(start: int) -> None:
            scores = self.scores.of(rows_at(self.bounds, places[start : start + step]))
            out[start : start + step] = scores.topk(num_cells, sorted=False)[1].numpy()

        step = self.scores.block_rows
        for _ in in_order(range(0, len(places), step), work, self.threads):
            pass
        return out

    def _tile(self, rows: NDArray[np.int64], others: NDArray[np.int64]) -> _Found:
        """Pairs at or above the threshold of two sets of places, confirmed in full; of very many some."""

        columns = rows_at(self.bounds, others)
        parts = []
        for first in range(0, len(rows), tiles.TILE_ROWS):
            block = rows[first : first + tiles.TILE_ROWS]
            tile = self.limits.pairs(
                rows_at(self.bounds, block),
                columns,
                lambda at, buffer, block=block: self.rows.take(block[at], buffer),  # type: ignore[misc]
                lambda at, buffer: self.rows.take(others[at], buffer),
            )
            row, other, is_pair = block[tile.row], others[tile.column], block[tile.row] != others[tile.column]
            row, other, similarity = row[is_pair], other[is_pair], tile.similarity[is_pair]
            count = np.ones(len(row))
            if len(row) > PAIRS_A_TILE:
                kept = np.random.default_rng([self.seed, int(block[0]), int(others[0])]).choice(
                    len(row), PAIRS_A_TILE, replace=False
                )
                count = np.full(PAIRS_A_TILE, len(row) / PAIRS_A_TILE)
                row, other, similarity = row[kept], other[kept], similarity[kept]
            parts.append(_Found(row=row, other=other, similarity=similarity, count=count))
        return _Found.joined(parts)

    def _gaps(self, found: _Found) -> tuple[NDArray[np.float32], NDArray[np.float64], int]:
        """The reach at which each pair is found and its weight, of those that need any, and how many rows have a neighbour.

        A pair is found if either row visits the other's cell, so the smaller of the two gaps counts.
        """
        weight, num_rows = self._weights(found)
        home = self.homes.home(found.row), self.homes.home(found.other)
        apart = np.flatnonzero(home[0] != home[1])
        gap = np.empty(len(apart), np.float32)
        for start in range(0, len(apart), GAP_ROWS):
            block = apart[start : start + GAP_ROWS]
            a, b = (rows_at(self.bounds, places[block]) for places in (found.row, found.other))
            gap[start : start + GAP_ROWS] = self._gap(a, b, home[0][block], home[1][block])
        return np.maximum(gap, 0), weight[apart], num_rows

    def _gap(self, a: torch.Tensor, b: torch.Tensor, home_a: NDArray[np.int64], home_b: NDArray[np.int64]) -> NDArray[np.float32]:
        """(m,): of pairs of bounds (m, w), by the cells where they are at home."""
        import torch

        to_a = self.scores.at(b, home_b) - self.scores.at(b, home_a)
        to_b = self.scores.at(a, home_a) - self.scores.at(a, home_b)
        gap: NDArray[np.float32] = torch.minimum(to_a, to_b).numpy()
        return gap

    def _gaps_if_moved(self, found: _Found, recall: float) -> NDArray[np.float32]:
        """Gaps of pairs, drawn in proportion to their weight, each moved to a row of its cell that is drawn too."""
        import torch

        weight, _ = self._weights(found)
        num = min(MOST_MOVED, max(LEAST_MOVED, int(2 * MOVED_BEYOND / (1 - recall)), len(self.bounds) // 8))
        rng = np.random.default_rng([self.seed, 5])
        drawn = rng.choice(len(weight), size=num, p=weight / weight.sum())
        home = self.homes.home(found.row[drawn])
        start, stop = self.homes.starts[home], self.homes.starts[home + 1]
        place = start + (rng.random(num) * (stop - start)).astype(np.int64)
        gap = np.zeros(num, np.float32)
        step = self.scores.block_rows

        def work(first: int) -> None:
            block = slice(first, first + step)
            pair = drawn[block]
            row = rows_at(self.bounds, place[block])
            x, y = (rows_at(self.bounds, places[pair]).float() for places in (found.row, found.other))
            y += torch.from_numpy(found.similarity[pair])[:, None] * (row.float() - x)
            moved = y.to(self.bounds.dtype)
            away = self.scores.home(self.scores.of(moved))
            gap[block] = np.where(away == home[block], 0, self._gap(row, moved, home[block], away))

        for _ in in_order(range(0, num, step), work, self.threads):
            pass
        return np.maximum(gap, 0)

    def _weights(self, found: _Found) -> tuple[NDArray[np.float64], int]:
        """(m,): of each pair 1 / (neighbours of its row x rows), times what it stands for; and the rows that have a neighbour."""
        total = np.bincount(found.row, weights=found.count, minlength=len(self.bounds))
        num_rows = int(np.count_nonzero(total))
        weight: NDArray[np.float64] = found.count / (total[found.row] * max(1, num_rows))
        return weight, num_rows
