"""Nearly every pair of rows at or above a cosine, for sets too large to compare all of them: a join within k-means cells.

What is found is exact: every pair is confirmed in fp32 and comes once. What is missed are pairs of which neither row visits the
other's cell (``cells``); how many is asked for (``recall``), aimed at by a pilot, and measured by an audit of whoever runs it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import ConfigError
from scanner.core.memory import trim
from scanner.search import tiles
from scanner.search.bits import rows_at
from scanner.search.bounds import Rotation, fit_rotation
from scanner.search.buffers import ThreadBuffers
from scanner.search.cells import Scores, choose_num_cells, find_guests, find_homes, fit_centres, sample_rows
from scanner.search.pilot import Pilot, Piloting
from scanner.search.scratch import ScratchRows, release, scratch_matrix
from scanner.search.strips import Strip, strips_of
from scanner.search.threshold import FloatRows, PairBlock, check_threshold, divided, norms_of, unit_rows, widened
from scanner.search.tiles import Bounds, GivenRows, RowReader, joined
from scanner.search.workers import in_order

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("scanner")

TASK_PAIRS, LEAST_TASK_PAIRS = 1 << 22, 1 << 19
"""Comparisons of one task, about: small cells are put together. Fewer where memory is short, for all of them may be pairs."""
ORDER_ROWS, WRITE_ROWS = 16_384, 131_072
"""Rows put in order at once, and after which pages of what lies on disk are given back."""
RELEASE_PAIRS = 1 << 24
"""Comparisons after which pages of what lies on disk are given back: they stay cached where there is room. The system maps
sixteen pages where one is read, so four times as many comparisons had a gigabyte of them mapped."""
TRIM_PAIRS = 1 << 26
"""Comparisons after which freed memory is given back, which takes longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CellsStats:
    """How the work went.

    Attributes:
        num_cells: k-means cells.
        reach: how much further than its nearest centre a row visits others (inner product).
        guests_a_row: cells that a row visits beside its own, in the mean.
        num_pilot_rows: rows that the reach was chosen on, of which ``num_pilot_found`` have a neighbour.
        num_total: comparisons in all cells; ``num_compared`` so far.
        num_candidates: pairs computed in full.
        scratch_bytes: written to disk.
    """

    num_cells: int
    reach: float
    guests_a_row: float
    num_pilot_rows: int
    num_pilot_found: int
    width: int
    precision: str
    num_total: int
    scratch_bytes: int
    num_compared: int = 0
    num_candidates: int = 0
    num_pairs: int = 0


@dataclass(kw_only=True)
class CellsJoin:
    """A join that is set up and can be run once: ``blocks`` yields the pairs, ``stats`` says how it went.

    Args:
        x: (n, d) float16 or float32, for instance memory-mapped. Rows are scaled to norm 1; those that are zero or not finite
            match nothing. Exact copies should be one row: a cell of them costs their square.
        threshold: smallest cosine similarity, in (0, 1].
        recall: share of its neighbours that a row finds in the mean, aimed at; in (0, 1).
        memory_bytes: for everything beside x; rows that do not fit are put in order on disk.
        scratch: folder for them; empty: the system's.
        precision, threads, seed, width, is_exact: see :class:`scanner.search.join.ThresholdJoin`.
        is_active: (n,) bool, rows that are compared with all others: two that are not are not compared. None: all rows. For sets
            that grow.
        num_cells: None: about sqrt(1.25 n) to sqrt(3.25 n).
        reach: None leaves it to the pilot.

    Raises:
        ConfigError: a threshold or recall out of range, memory that holds not even the bounds, faiss absent.
        StoreError: no room for the scratch file.
    """

    x: FloatRows
    threshold: float
    recall: float = 0.99
    memory_bytes: int = 4 * 2**30
    scratch: str = ""
    precision: str = "auto"
    threads: int | None = None
    seed: int = 0
    width: int | None = None
    is_exact: bool = False
    is_active: NDArray[np.bool_] | None = None
    num_cells: int | None = None
    reach: float | None = None
    stats: CellsStats = field(init=False)

    def __post_init__(self) -> None:
        if not 0 < self.recall < 1:
            raise ConfigError(
                f"The recall asked for is {self.recall}.",
                next_step="Give a number between 0 and 1 such as 0.99; for all pairs choose the search `join`.",
            )
        self.threads = self.threads or os.cpu_count() or 1
        self._bounds = Bounds(check_threshold(self.threshold), self.precision, is_exact=self.is_exact)
        n, d = self.x.shape
        rotation = fit_rotation(
            self.x, self.threshold, seed=self.seed, width=self.width, precision=self._bounds.precision,
            rounding=self._bounds.rounding, threads=self.threads,
        )  # fmt: skip
        needed = estimate_memory(n, d, threads=self.threads)
        if needed > self.memory_bytes:
            raise ConfigError(
                f"{n:,} rows need {needed / 2**30:.2f} GiB for their cells; {self.memory_bytes / 2**30:.2f} are allowed.",
                next_step="Give more with --memory.",
            )
        room = self.memory_bytes - needed
        tight = (2 * self.threads + 1) * 20
        self._task_pairs = max(LEAST_TASK_PAIRS, min(TASK_PAIRS, LEAST_TASK_PAIRS + room // (4 * tight)))
        room -= (self._task_pairs - LEAST_TASK_PAIRS) * tight
        size = n * rotation.width * self._bounds.dtype.itemsize
        # Twice, while they are put in order.
        is_held = 2 * size <= room
        self._mapped: list[NDArray[np.float16]] = []
        room -= 2 * size if is_held else 0
        bounds = self._all_bounds(rotation, is_held=is_held)
        scores, num_cells = self._fit(rotation)
        homes = find_homes(bounds, scores, num_cells, threads=self.threads, is_active=self.is_active)
        self._in_order = self._bounds_in_order(bounds, homes.order, is_held=is_held)
        del bounds
        trim()
        self._rows, scratch_bytes = self._put_in_order(homes.order, room + (size if is_held else 0))
        scratch_bytes += 0 if is_held else 2 * size
        pilot = Pilot(reach=self.reach or 0.0, num_rows=0, num_found=0)
        if self.reach is None:
            pilot = Piloting(
                limits=self._bounds, bounds=self._in_order, rows=self._rows, homes=homes, scores=scores, seed=self.seed,
                threads=self.threads,
            ).run(self.recall)  # fmt: skip
            self._release()
        self._cells = find_guests(self._in_order, scores, homes, reach=pilot.reach, threads=self.threads)
        self._release()
        trim()
        self.stats = CellsStats(
            num_cells=num_cells, reach=pilot.reach, guests_a_row=len(self._cells.guests) / max(1, n),
            num_pilot_rows=pilot.num_rows, num_pilot_found=pilot.num_found, width=rotation.width,
            precision=self._bounds.precision, num_total=self._cells.num_comparisons, scratch_bytes=scratch_bytes,
        )  # fmt: skip
        logger.info(
            "join in cells: %s rows of %d, similarity >= %g, %d cells, each row in %.2f (reach %.4f: recall %g on %d rows with "
            "neighbours of %d), %s bounds of %d numbers, %.1f GiB on disk, %d threads",
            f"{n:,}", d, self.threshold, num_cells, 1 + self.stats.guests_a_row, pilot.reach, self.recall, pilot.num_found,
            pilot.num_rows, self._bounds.precision, rotation.width, scratch_bytes / 2**30, self.threads,
        )  # fmt: skip

    def blocks(self, *, on_tile: Callable[[int], None] | None = None) -> Iterator[PairBlock]:
        """Pairs at or above the threshold, each once, ``left < right``, in blocks of 1 to a few million in a fixed order.

        Args:
            on_tile: called with the number of pairs just compared; the calls add up to ``stats.num_total``.
        """
        for task, (block, num_candidates) in in_order(self._tasks(), self._work, self.threads or 1):
            num_compared = sum(strip.num_pairs for strip in task)
            if self.stats.num_compared % RELEASE_PAIRS + num_compared >= RELEASE_PAIRS:
                self._release()
            if self.stats.num_compared % TRIM_PAIRS + num_compared >= TRIM_PAIRS:
                trim()
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

    def _bounds_matrix(self, width: int, *, is_held: bool) -> torch.Tensor:
        """(n, width), in memory or in scratch."""
        import torch

        if is_held:
            return torch.empty((len(self.x), width), dtype=self._bounds.dtype)
        halves = self._bounds.dtype.itemsize // 2
        self._mapped.append(scratch_matrix(self.scratch, num_rows=len(self.x), dim=width * halves))
        return torch.from_numpy(self._mapped[-1]).view(self._bounds.dtype)

    def _release(self) -> None:
        """Gives back the pages of everything that lies on disk."""
        for rows in (self.x, *self._mapped):
            release(rows)

    def _bounds_in_order(self, bounds: torch.Tensor, order: NDArray[np.int64], *, is_held: bool) -> torch.Tensor:
        out = self._bounds_matrix(bounds.shape[1], is_held=is_held)

        def work(start: int) -> None:
            out[start : start + ORDER_ROWS] = rows_at(bounds, order[start : start + ORDER_ROWS])

        for start, _ in in_order(range(0, len(order), ORDER_ROWS), work, self.threads or 1):
            if start % WRITE_ROWS == 0:
                self._release()
        return out

    def _all_bounds(self, rotation: Rotation, *, is_held: bool) -> torch.Tensor:
        n, d = self.x.shape
        found = self._bounds_matrix(rotation.width, is_held=is_held)
        self._norms = np.empty(n, np.float32)
        step = max(1, tiles.BLOCK_BYTES // (4 * d))
        buffers = ThreadBuffers()

        def work(start: int) -> None:
            given = self.x[start : start + step]
            rows = widened(given, buffers["rows"].array(*given.shape))
            self._norms[start : start + step] = norms = norms_of(rows)
            found[start : start + step] = self._bounds.of(divided(rows, norms), rotation)
            self._release()

        for _ in in_order(range(0, n, step), work, self.threads or 1):
            pass
        return found

    def _fit(self, rotation: Rotation) -> tuple[Scores, int]:
        n = len(self.x)
        num_cells = self.num_cells or choose_num_cells(n, rotation.width)
        chosen = np.sort(np.random.default_rng([self.seed, 2]).choice(n, size=sample_rows(n, num_cells), replace=False))
        step = max(1, tiles.BLOCK_BYTES // (4 * self.x.shape[1]))
        prefix = np.empty((len(chosen), max(1, rotation.width - 1)), np.float32)

        def work(start: int) -> None:
            prefix[start : start + step] = rotation.bounds(unit_rows(self.x[chosen[start : start + step]]))[:, :-1]

        for _ in in_order(range(0, len(chosen), step), work, self.threads or 1):
            pass
        release(self.x)
        centres = fit_centres(prefix, num_cells, seed=self.seed, threads=self.threads or 1)
        return Scores(centres, self._bounds.dtype), len(centres)

    def _put_in_order(self, order: NDArray[np.int64], room: int) -> tuple[RowReader, int]:
        """The rows in cell order: where they are if they are in memory or fit into it, else sorted on disk.

        A copy in memory would cost more than it saves: a row is read in a few tiles only.
        """
        n, d = self.x.shape
        if not isinstance(self.x, np.memmap) or 2 * n * d <= room:
            return GivenRows(self.x, order, norms=None if self.is_exact else self._norms), 0
        place = np.empty(n, np.int64)
        place[order] = np.arange(n)
        rows = ScratchRows(self.scratch, num_rows=n, dim=d, is_exact=self.is_exact)
        for start in range(0, n, WRITE_ROWS):
            places = place[start : start + WRITE_ROWS]
            by_place = np.argsort(places)
            rows.write(places[by_place], self.x[start : start + WRITE_ROWS][by_place])
            release(self.x)
        return rows, rows.num_bytes

    def _tasks(self) -> Iterator[list[Strip]]:
        task: list[Strip] = []
        size = 0
        for cell in range(self._cells.num_cells):
            for strip in strips_of(self._cells, cell):
                task.append(strip)
                size += strip.num_pairs
                if size >= self._task_pairs:
                    yield task
                    task, size = [], 0
        if task:
            yield task

    def _work(self, task: list[Strip]) -> tuple[PairBlock, int]:
        found: list[PairBlock] = []
        num_candidates = 0
        for strip in task:
            blocks, num = self._pairs(strip)
            found += blocks
            num_candidates += num
        places = joined(found)
        i, j = self._cells.order[places.left], self._cells.order[places.right]
        return PairBlock(left=np.minimum(i, j), right=np.maximum(i, j), similarity=places.similarity), num_candidates

    def _pairs(self, strip: Strip) -> tuple[list[PairBlock], int]:
        """Pairs by place, and how many were computed in full."""
        cells, bounds = self._cells, self._in_order
        stop = int(cells.starts[strip.cell + 1])
        num_own = stop - strip.own
        rows = bounds[strip.row : strip.row + strip.num_rows]
        guests = cells.guests[strip.guest : cells.guest_starts[strip.cell + 1]]
        found: list[PairBlock] = []
        num_candidates = 0
        for a in range(strip.first, strip.last, tiles.TILE_COLUMNS):
            b = min(a + tiles.TILE_COLUMNS, strip.last)
            first = strip.own + a
            guest = guests[max(0, a - num_own) : max(0, b - num_own)]
            places = np.concatenate([np.arange(first, min(strip.own + b, stop)), guest.astype(np.int64)])
            tile = self._bounds.pairs(
                rows,
                rows_at(bounds, places) if len(guest) else bounds[places[0] : places[0] + len(places)],
                lambda at, buffer: self._rows.take(at + strip.row, buffer),
                lambda at, buffer, places=places: self._rows.take(places[at], buffer),  # type: ignore[misc]
                offset=first - strip.row,
            )
            num_candidates += tile.num_candidates
            if not len(tile.row):
                continue
            i, j, similarity = tile.row + strip.row, places[tile.column], tile.similarity
            if len(guest):
                once = ~self._is_found_before(strip, stop, i, j)
                i, j, similarity = i[once], j[once], similarity[once]
            if len(i):
                found.append(PairBlock(left=i, right=j, similarity=similarity))
        return found, num_candidates

    def _is_found_before(self, strip: Strip, stop: int, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of pairs of a row at home in a cell and another: whether the other's cell has a lower number and finds them too."""
        cells, cell = self._cells, strip.cell
        outside = np.flatnonzero((j < cells.starts[cell]) | (j >= stop))
        found = np.zeros(len(i), bool)
        home = cells.home(j[outside])
        lower = home < cell
        outside, home = outside[lower], home[lower]
        if not len(outside):
            return found
        starts = cells.visit_starts[strip.row : strip.row + strip.num_rows + 1]
        # Visits of the strip's rows, in order of row and cell; one of them is looked for.
        visitor = np.repeat(np.arange(strip.num_rows), np.diff(starts))
        visits = visitor * cells.num_cells + cells.visits[starts[0] : starts[-1]]
        wanted = (i[outside] - strip.row) * cells.num_cells + home
        at = np.searchsorted(visits, wanted)
        found[outside] = visits[np.minimum(at, len(visits) - 1)] == wanted if len(visits) else False
        return found


def estimate_memory(n: int, d: int, *, guests_a_row: float = 8.0, threads: int | None = None) -> int:
    """Upper estimate of the least that a join in cells holds beside its rows and bounds, which may lie on disk."""
    threads = threads or os.cpu_count() or 1
    cells = int(n * (44 + guests_a_row * 20))
    tile = tiles.TILE_ROWS * tiles.TILE_COLUMNS
    worker = 45 * tile + 28 * tiles.CHECK_ROWS * d + 16 * (tiles.TILE_ROWS + tiles.TILE_COLUMNS) * d
    return cells + threads * max(worker, 3 * tiles.BLOCK_BYTES) + (2 * threads + 1) * LEAST_TASK_PAIRS * 20
