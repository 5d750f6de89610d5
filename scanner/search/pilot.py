"""How far rows must reach for a join in cells to find what was asked for: measured on a sample, not guessed.

Rows drawn at random are compared with everything, which says without bias how far their neighbours are. So few rows say little
of rare misses. So many more are then compared with the cells nearest to them only, which costs a fraction of it: enough of them
that the first sample finds nothing beyond.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scanner.search import tiles
from scanner.search.bits import rows_at
from scanner.search.cells import BLOCK_ROWS, Homes, Scores, choose_reach
from scanner.search.tiles import Bounds, RowReader, in_order

if TYPE_CHECKING:
    import torch

PILOT_ROWS, MOST_PILOT_ROWS = 1024, 8192
ENOUGH_ROWS = 100
"""Rows of the first sample that should have a neighbour; where fewer have, more rows are drawn."""
PILOT_AGAINST = 262_144
"""Rows that the first sample is compared with, at most; of a larger set a sample."""
NEAREST_CELLS, MOST_NEAREST_CELLS = 16, 64
"""That the second sample is compared with; more where the first finds neighbours beyond. A join of recall .9995 visits 3 to 8 in
the mean."""
NEAR_ROWS, MOST_NEAR_ROWS = 8192, 65_536
FOUND_ROWS, MOST_FOUND_ROWS = 1_000, 4_000
"""Of the second sample, by the share of the first, so many should have a neighbour: one row in 250 of a large set, for which a
steadier reach pays."""
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
    """Pairs of a row of a sample and another row, both by place, and how many such pairs each stands for."""

    row: NDArray[np.int64]
    other: NDArray[np.int64]
    count: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: list[_Found]) -> _Found:
        return cls(
            row=np.concatenate([np.empty(0, np.int64), *(p.row for p in parts)]),
            other=np.concatenate([np.empty(0, np.int64), *(p.other for p in parts)]),
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
        return Pilot(reach=choose_reach(gap, weight, num_found, recall), num_rows=num_rows, num_found=num_found)

    def _among_all(self, drawn: NDArray[np.int64]) -> tuple[_Found, int]:
        """Neighbours of the first of the drawn places, and how many were compared."""
        n = len(self.bounds)
        others = np.arange(n)
        if n > PILOT_AGAINST:
            others = np.sort(np.random.default_rng([self.seed, 4]).choice(n, size=PILOT_AGAINST, replace=False))
        parts: list[_Found] = []
        num_rows = num_found = 0
        while num_rows < min(len(drawn), MOST_PILOT_ROWS) and num_found < ENOUGH_ROWS:
            rows = np.sort(drawn[num_rows : min(num_rows + max(PILOT_ROWS, num_rows), MOST_PILOT_ROWS)])
            num_rows += len(rows)
            blocks = range(0, len(others), tiles.TILE_COLUMNS)
            work = lambda at, rows=rows: self._tile(rows, others[at : at + tiles.TILE_COLUMNS])  # noqa: E731
            parts += [part for _, part in in_order(blocks, work, self.threads)]
            num_found = len(np.unique(np.concatenate([part.row for part in parts])))
        return _Found.joined(parts), num_rows

    def _farthest(self, found: _Found, allowed: float) -> int:
        """How many cells are nearer to a row than that of a neighbour, but for a share of the neighbours."""
        import torch

        if not len(found.row):
            return 0
        weight, _ = self._weights(found)
        rank = np.zeros(len(found.row), np.int64)
        apart = np.flatnonzero(self.homes.home(found.row) != self.homes.home(found.other))
        for start in range(0, len(apart), BLOCK_ROWS):
            block = apart[start : start + BLOCK_ROWS]
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

        def work(cell: int) -> _Found:
            visitors = rows[visitor[by_cell[edges[cell] : edges[cell + 1]]]]
            start, stop = int(self.homes.starts[cell]), int(self.homes.starts[cell + 1])
            step = tiles.TILE_COLUMNS
            return _Found.joined([self._tile(visitors, np.arange(s, min(s + step, stop))) for s in range(start, stop, step)])

        return _Found.joined([part for _, part in in_order(range(self.homes.num_cells), work, self.threads)])

    def _nearest_cells(self, places: NDArray[np.int64], num_cells: int) -> NDArray[np.int64]:
        """int64 (m, num_cells): the nearest of each place, its own among them."""

        out = np.empty((len(places), num_cells), np.int64)

        def work(start: int) -> None:
            scores = self.scores.of(rows_at(self.bounds, places[start : start + BLOCK_ROWS]))
            out[start : start + BLOCK_ROWS] = scores.topk(num_cells, sorted=False)[1].numpy()

        for _ in in_order(range(0, len(places), BLOCK_ROWS), work, self.threads):
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
            row, other = block[tile.row], others[tile.column]
            row, other = row[row != other], other[row != other]
            count = np.ones(len(row))
            if len(row) > PAIRS_A_TILE:
                kept = np.random.default_rng([self.seed, int(block[0]), int(others[0])]).choice(
                    len(row), PAIRS_A_TILE, replace=False
                )
                count = np.full(PAIRS_A_TILE, len(row) / PAIRS_A_TILE)
                row, other = row[kept], other[kept]
            parts.append(_Found(row=row, other=other, count=count))
        return _Found.joined(parts)

    def _gaps(self, found: _Found) -> tuple[NDArray[np.float32], NDArray[np.float64], int]:
        """The reach at which each pair is found and its weight, of those that need any, and how many rows have a neighbour.

        A pair is found if either row visits the other's cell, so the smaller of the two gaps counts.
        """
        import torch

        weight, num_rows = self._weights(found)
        home = self.homes.home(found.row), self.homes.home(found.other)
        apart = np.flatnonzero(home[0] != home[1])
        gap = np.empty(len(apart), np.float32)
        for start in range(0, len(apart), BLOCK_ROWS):
            block = apart[start : start + BLOCK_ROWS]
            a, b = (rows_at(self.bounds, places[block]) for places in (found.row, found.other))
            own_a, own_b = self.scores.at(a, home[0][block]), self.scores.at(b, home[1][block])
            gap[start : start + BLOCK_ROWS] = torch.minimum(
                own_a - self.scores.at(a, home[1][block]), own_b - self.scores.at(b, home[0][block])
            ).numpy()
        return np.maximum(gap, 0), weight[apart], num_rows

    def _weights(self, found: _Found) -> tuple[NDArray[np.float64], int]:
        """(m,): of each pair 1 / (neighbours of its row x rows), times what it stands for; and the rows that have a neighbour."""
        total = np.bincount(found.row, weights=found.count, minlength=len(self.bounds))
        num_rows = int(np.count_nonzero(total))
        weight: NDArray[np.float64] = found.count / (total[found.row] * max(1, num_rows))
        return weight, num_rows
