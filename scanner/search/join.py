"""The exact threshold join: every pair of rows at or above a cosine, found by bounds and confirmed in fp32.

Most pairs of a large set are far below the threshold, and a bound of a few dozen numbers settles them (``bounds``). What is left
is computed in full. The result is that of an fp32 brute force; no pair is ever lost, only more or fewer are computed.

Rows are put in an order in which like ones lie together, so that the pairs of a large group fall into few tiles, where a product
of the rows concerned costs far less than fetching them pair by pair.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scanner.core.hardware import cpu_has_amx
from scanner.search import tiles
from scanner.search.bits import rows_at
from scanner.search.bounds import Rotation, fit_rotation
from scanner.search.buffers import ThreadBuffers
from scanner.search.threshold import FloatRows, PairBlock, check_threshold, divided, norms_of, unit_rows, widened
from scanner.search.tiles import Bounds, GivenRows, HeldRows, RowReader, joined
from scanner.search.workers import in_order

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("scanner")

NUM_PIVOTS = 256
AMX_ROWS = 4
"""How many times more rows a tile has with AMX. There products take less than half of the time, the rest is looking at them and
calls, at which two threads wait for one another; and every product lays out its columns anew, which more rows share. In tiles of
4096 x 1024 200,000 rows took a quarter less than in squares of 1024, two threads a third."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinStats:
    """How the work went: of ``num_compared`` pairs ``num_candidates`` were computed in full, by bounds of ``width`` numbers."""

    width: int
    precision: str
    num_compared: int = 0
    num_candidates: int = 0
    num_pairs: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TileShape:
    """Rows and columns of a tile, and the columns of a strip: those of one task."""

    rows: int
    columns: int
    strip_columns: int


def tile_shape(precision: str) -> TileShape:
    """What this CPU multiplies best at once in ``fp32`` or ``bf16``."""
    scale = AMX_ROWS if precision == "bf16" and cpu_has_amx() else 1
    num_tiles = max(1, tiles.STRIP_TILES // scale)
    return TileShape(rows=scale * tiles.TILE_ROWS, columns=tiles.TILE_COLUMNS, strip_columns=num_tiles * tiles.TILE_COLUMNS)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Side:
    """Rows in search order.

    Attributes:
        order: int64 (n,), the row at each place.
        bounds: (n, k), fp32 or bf16.
        rows: what is computed in full.
    """

    order: NDArray[np.int64]
    bounds: torch.Tensor
    rows: RowReader


@dataclass(kw_only=True)
class ThresholdJoin:
    """A join that is set up and can be run once: ``blocks`` yields the pairs, ``stats`` says how it went.

    Args:
        x: (n, d) float16 or float32, for instance memory-mapped. Rows are scaled to norm 1; those that are zero or not finite
            match nothing.
        threshold: smallest cosine similarity, in (0, 1].
        y: (m, d), the other set; None joins x with itself, each pair once.
        precision: of the bounds. ``auto`` is bf16 where the CPU multiplies it natively, else fp32; the result is the same.
        threads: workers; each multiplies on one core.
        memory_bytes: unit rows are kept in fp32 where they fit into half of it, else made anew whenever they are needed.
        seed: of the sample behind the bounds; it changes the time only.
        width: of the bounds; None leaves it to a pilot.
        is_exact: cosines in float64 instead of fp32 (``exact``): the same bits however a pair was found.

    Raises:
        ConfigError: a threshold outside (0, 1], an unknown precision.
    """

    x: FloatRows
    threshold: float
    y: FloatRows | None = None
    precision: str = "auto"
    threads: int | None = None
    memory_bytes: int = 4 * 2**30
    seed: int = 0
    width: int | None = None
    is_exact: bool = False
    stats: JoinStats = field(init=False)

    def __post_init__(self) -> None:
        self.threads = self.threads or os.cpu_count() or 1
        self._bounds = Bounds(check_threshold(self.threshold), self.precision, is_exact=self.is_exact)
        self.precision = self._bounds.precision
        self._tile = tile_shape(self.precision)
        sets = [self.x] if self.y is None else [self.x, self.y]
        rotation = fit_rotation(
            max(sets, key=len), self.threshold, seed=self.seed, width=self.width, precision=self.precision,
            rounding=self._bounds.rounding, threads=self.threads,
        )  # fmt: skip
        self.stats = JoinStats(width=rotation.width, precision=self.precision)
        pivots = None
        budget = self.memory_bytes // 2
        self._sides = []
        for rows in sets:
            side, pivots = _lay_out(
                rows, rotation, self._bounds, pivots, seed=self.seed, budget=budget, is_exact=self.is_exact, threads=self.threads
            )
            budget -= 4 * rows.size if isinstance(side.rows, HeldRows) else 0
            self._sides.append(side)
        logger.info(
            "exact join: %s rows of %d, similarity >= %g, %s bounds of %d numbers (%.2g of the pairs need more), %d threads",
            " x ".join(f"{len(rows):,}" for rows in sets), self.x.shape[1], self.threshold, self.precision, rotation.width,
            rotation.candidate_share, self.threads,
        )  # fmt: skip

    def blocks(self, *, on_tile: Callable[[int], None] | None = None) -> Iterator[PairBlock]:
        """Every pair at or above the threshold, each once, in blocks of 1 to 8,388,608 pairs in a fixed order.

        Joined with itself, ``left < right``; between two sets ``left`` is a row of x and ``right`` one of y.

        Args:
            on_tile: called with the number of pairs just compared; the calls add up to n (n - 1) / 2, or n m.
        """
        for (row, start, stop), (block, num_candidates) in in_order(self._tasks(), self._strip, self.threads or 1):
            num_compared = self._num_pairs(row, start, stop)
            self.stats = replace(
                self.stats,
                num_compared=self.stats.num_compared + num_compared,
                num_candidates=self.stats.num_candidates + num_candidates,
                num_pairs=self.stats.num_pairs + len(block),
            )
            if on_tile:
                on_tile(num_compared)
            if len(block):
                yield block

    def _tasks(self) -> Iterator[tuple[int, int, int]]:
        """First row of a tile, and the columns it meets: from its own first column on where the sets are one."""
        step = self._tile.strip_columns
        num_columns = len(self._sides[-1].order)
        for row in range(0, len(self._sides[0].order), self._tile.rows):
            for start in range(row if self.y is None else 0, num_columns, step):
                yield row, start, min(start + step, num_columns)

    def _num_pairs(self, row: int, start: int, stop: int) -> int:
        rows = min(self._tile.rows, len(self._sides[0].order) - row)
        if self.y is not None:
            return rows * (stop - start)
        # A column meets the rows before it: of the square on the diagonal half, without the diagonal itself.
        first, last = min(start - row, rows), min(stop - row, rows)
        return (last * (last - 1) - first * (first - 1)) // 2 + rows * max(0, stop - max(start, row + rows))

    def _strip(self, task: tuple[int, int, int]) -> tuple[PairBlock, int]:
        """Pairs of one tile's rows with the columns of a task, and how many were computed in full."""
        row, start, stop = task
        left, right = self._sides[0], self._sides[-1]
        rows = left.bounds[row : row + self._tile.rows]
        found: list[PairBlock] = []
        num_candidates = 0
        for first in range(start, stop, self._tile.columns):
            tile = self._bounds.pairs(
                rows,
                right.bounds[first : min(first + self._tile.columns, stop)],
                lambda at, buffer: left.rows.take(at + row, buffer),
                lambda at, buffer, first=first: right.rows.take(at + first, buffer),  # type: ignore[misc]
                offset=first - row if self.y is None else None,
            )
            num_candidates += tile.num_candidates
            if len(tile.row):
                found.append(PairBlock(left=tile.row + row, right=tile.column + first, similarity=tile.similarity))
        places = joined(found)
        i, j = left.order[places.left], right.order[places.right]
        if self.y is None:
            i, j = np.minimum(i, j), np.maximum(i, j)
        return PairBlock(left=i, right=j, similarity=places.similarity), num_candidates


def estimate_memory(n: int, d: int, *, m: int = 0, threads: int | None = None, memory_bytes: int = 4 * 2**30) -> int:
    """Upper estimate of the bytes that a join of n rows (and m others) of d numbers holds beside them."""
    threads = threads or os.cpu_count() or 1
    bounds = 8 * (n + m) * min(d, 768)  # twice, while they are put in order
    unit = min(4 * (n + m) * d, memory_bytes // 2)
    shape = tile_shape("bf16")
    tile, strip = shape.rows * shape.columns, shape.rows * shape.strip_columns
    worker = 5 * tile + tile * 80 + strip * 40 + 8 * tiles.CHECK_ROWS * d
    waiting = (2 * threads + 1) * strip * 20
    return bounds + unit + 20 * (n + m) + threads * max(worker, 2 * tiles.BLOCK_BYTES) + waiting


def _lay_out(
    x: FloatRows,
    rotation: Rotation,
    bounds: Bounds,
    pivots: torch.Tensor | None,
    *,
    seed: int,
    budget: int,
    is_exact: bool,
    threads: int,
) -> tuple[_Side, torch.Tensor]:
    """A set in search order: by the nearest of some of its rows, then as it was."""
    import torch

    n, d = x.shape
    if pivots is None:
        chosen = np.sort(np.random.default_rng([seed, 1]).choice(n, size=min(n, NUM_PIVOTS), replace=False))
        pivots = bounds.of(unit_rows(x[chosen]), rotation)[:, :-1].T.float()
    found = torch.empty((n, rotation.width), dtype=bounds.dtype)
    nearest = np.zeros(n, np.int64)
    norms = np.empty(n, np.float32)
    buffers = ThreadBuffers()

    def prepare(start: int) -> None:
        given = x[start : start + step]
        rows = widened(given, buffers["rows"].array(*given.shape))
        norms[start : start + step] = of_these = norms_of(rows)
        block = bounds.of(divided(rows, of_these), rotation)
        found[start : start + step] = block
        if pivots.shape[1]:
            nearest[start : start + step] = torch.mm(block[:, :-1].float(), pivots).argmax(dim=1).numpy()

    step = max(1, tiles.BLOCK_BYTES // (4 * d))
    for _ in in_order(range(0, n, step), prepare, threads):
        pass
    order = np.argsort(nearest, kind="stable")
    rows: RowReader = GivenRows(x, order, norms=None if is_exact else norms)
    if 4 * n * d <= budget:
        rows = HeldRows.of(x, order, is_exact=is_exact, threads=threads)
    return _Side(order=order, bounds=rows_at(found, order), rows=rows), pivots
