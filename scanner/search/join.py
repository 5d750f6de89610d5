"""The exact threshold join: every pair of rows at or above a cosine, found by bounds and confirmed in fp32.

Most pairs of a large set are far below the threshold, and a bound of a few dozen numbers settles them (``bounds``). What is left
is computed in full. The result is that of an fp32 brute force; no pair is ever lost, only more or fewer are computed.

Rows are put in an order in which like ones lie together, so that the pairs of a large group fall into few tiles, where a product
of the rows concerned costs far less than fetching them pair by pair.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import local
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scanner.core.hardware import cpu_computes_bf16
from scanner.search.bounds import ROUNDING, Rotation, fit_rotation
from scanner.search.threshold import FloatRows, PairBlock, check_threshold, unit_rows

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("scanner")

TILE_ROWS, TILE_COLUMNS = 512, 2048
"""Their bounds and products stay in a core's cache: 4 MiB with the mask."""
STRIP_TILES = 4
"""Tiles of one task, next to one another: what a thread does before it reports."""
NUM_PIVOTS = 256
DENSE = 24
"""Up to so many entries of a product a candidate all rows concerned are multiplied, else pairs are fetched; assumed."""
CHECK_ROWS = 8192
"""Pairs fetched at once: 32 MiB of rows at d = 512."""
BF16_ROUNDING = 2**-7
"""Of the inner product of two vectors of norm 1, their numbers and the result rounded to bf16: 2 x 2^-9, and 2^-9 of the
result, with as much again to spare."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinStats:
    """How the work went: of ``num_compared`` pairs ``num_candidates`` were computed in full, by bounds of ``width`` numbers."""

    width: int
    precision: str
    num_compared: int = 0
    num_candidates: int = 0
    num_pairs: int = 0


@dataclass(kw_only=True)
class _Side:
    """Rows in search order.

    Attributes:
        order: int64 (n,), the row at each place.
        bounds: float32 or bf16 tensor (n, k).
        x: the rows as they were given, for what is computed in full.
        unit: float32 (n, d) in search order, where memory allows it.
    """

    order: NDArray[np.int64]
    bounds: torch.Tensor
    x: FloatRows
    unit: NDArray[np.float32] | None

    def take(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Unit rows at these places."""
        return self.unit[places] if self.unit is not None else unit_rows(self.x[self.order[places]])


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

    Raises:
        ConfigError: a threshold outside (0, 1].
    """

    x: FloatRows
    threshold: float
    y: FloatRows | None = None
    precision: str = "auto"
    threads: int | None = None
    memory_bytes: int = 4 * 2**30
    seed: int = 0
    width: int | None = None
    stats: JoinStats = field(init=False)

    def __post_init__(self) -> None:
        import torch

        self._radius = check_threshold(self.threshold)
        self.threads = self.threads or os.cpu_count() or 1
        self.precision = ("bf16" if cpu_computes_bf16() else "fp32") if self.precision == "auto" else self.precision
        sets = [self.x] if self.y is None else [self.x, self.y]
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        rounding = BF16_ROUNDING if self.precision == "bf16" else ROUNDING
        self._rotation = fit_rotation(
            max(sets, key=len), self.threshold, seed=self.seed, width=self.width, precision=self.precision, rounding=rounding
        )
        self.stats = JoinStats(width=self._rotation.width, precision=self.precision)
        self._cut = _rounded_down(float(self._radius) - rounding, dtype)
        pivots = None
        budget = self.memory_bytes // 2
        self._sides = []
        for rows in sets:
            side, pivots = _lay_out(rows, self._rotation, dtype, pivots, self.seed, budget)
            budget -= side.unit.nbytes if side.unit is not None else 0
            self._sides.append(side)
        logger.info(
            "exact join: %s rows of %d, similarity >= %g, %s bounds of %d numbers (%.2g of the pairs need more), %d threads",
            " x ".join(f"{len(rows):,}" for rows in sets), self.x.shape[1], self.threshold, self.precision, self._rotation.width,
            self._rotation.candidate_share, self.threads,
        )  # fmt: skip

    def blocks(self, *, on_tile: Callable[[int], None] | None = None) -> Iterator[PairBlock]:
        """Every pair at or above the threshold, each once, in blocks of 1 to 4,194,304 pairs in a fixed order.

        Joined with itself, ``left < right``; between two sets ``left`` is a row of x and ``right`` one of y.

        Args:
            on_tile: called with the number of pairs just compared; the calls add up to n (n - 1) / 2, or n m.
        """
        tasks = self._tasks()
        state = local()
        waiting: deque[tuple[int, Future[tuple[PairBlock, int]]]] = deque()
        with ThreadPoolExecutor(self.threads, initializer=_one_thread, thread_name_prefix="join") as pool:
            try:
                for row, start, stop in tasks:
                    waiting.append((self._num_pairs(row, start, stop), pool.submit(self._strip, state, row, start, stop)))
                    while len(waiting) > 2 * (self.threads or 1):
                        yield from self._report(waiting.popleft(), on_tile)
                while waiting:
                    yield from self._report(waiting.popleft(), on_tile)
            finally:
                for _, future in waiting:
                    future.cancel()

    def _report(
        self, done: tuple[int, Future[tuple[PairBlock, int]]], on_tile: Callable[[int], None] | None
    ) -> Iterator[PairBlock]:
        block, num_candidates = done[1].result()
        self.stats = replace(
            self.stats,
            num_compared=self.stats.num_compared + done[0],
            num_candidates=self.stats.num_candidates + num_candidates,
            num_pairs=self.stats.num_pairs + len(block),
        )
        if on_tile:
            on_tile(done[0])
        if len(block):
            yield block

    def _tasks(self) -> Iterator[tuple[int, int, int]]:
        """First row of a tile, and the columns it meets: from its own first column on where the sets are one."""
        step = STRIP_TILES * TILE_COLUMNS
        num_columns = len(self._sides[-1].order)
        for row in range(0, len(self._sides[0].order), TILE_ROWS):
            for start in range(row if self.y is None else 0, num_columns, step):
                yield row, start, min(start + step, num_columns)

    def _num_pairs(self, row: int, start: int, stop: int) -> int:
        rows = min(TILE_ROWS, len(self._sides[0].order) - row)
        if self.y is None and start == row:
            # Of the square on the diagonal half, without the diagonal itself.
            square = min(rows, stop - start)
            return square * (square - 1) // 2 + rows * (stop - start - square)
        return rows * (stop - start)

    def _strip(self, state: local, row: int, start: int, stop: int) -> tuple[PairBlock, int]:
        """Pairs of one tile's rows with columns ``start`` to ``stop``, and how many were computed in full."""
        left, right = self._sides[0], self._sides[-1]
        rows = left.bounds[row : row + TILE_ROWS]
        found: list[PairBlock] = []
        num_candidates = 0
        for first in range(start, stop, TILE_COLUMNS):
            columns = right.bounds[first : min(first + TILE_COLUMNS, stop)]
            places = _at_least(state, rows, columns, self._cut)
            if not len(places):
                continue
            i, j = np.divmod(places, len(columns))
            i, j = i + row, j + first
            if self.y is None and first < row + len(rows):
                above = i < j
                i, j = i[above], j[above]
            num_candidates += len(i)
            similarity = _similarities(left, right, i, j)
            near = similarity >= self._radius
            if near.any():
                found.append(PairBlock(left=i[near], right=j[near], similarity=similarity[near]))
        i, j = (np.concatenate([np.empty(0, np.int64), *(getattr(b, side) for b in found)]) for side in ("left", "right"))
        similarity = np.concatenate([np.empty(0, np.float32), *(b.similarity for b in found)])
        i, j = left.order[i], right.order[j]
        if self.y is None:
            i, j = np.minimum(i, j), np.maximum(i, j)
        return PairBlock(left=i, right=j, similarity=similarity), num_candidates


def join_pairs(x: FloatRows, threshold: float, *, on_tile: Callable[[int], None] | None = None) -> Iterator[PairBlock]:
    """Every pair of rows of ``x`` at or above ``threshold``: see :class:`ThresholdJoin`, whose defaults it takes."""
    return ThresholdJoin(x=x, threshold=threshold).blocks(on_tile=on_tile)


def estimate_memory(n: int, d: int, *, m: int = 0, threads: int | None = None, memory_bytes: int = 4 * 2**30) -> int:
    """Upper estimate of the bytes that a join of n rows (and m others) of d numbers holds beside them."""
    threads = threads or os.cpu_count() or 1
    bounds = 8 * (n + m) * min(d, 768)  # twice, while they are put in order
    unit = min(4 * (n + m) * d, memory_bytes // 2)
    tile = TILE_ROWS * TILE_COLUMNS
    worker = 5 * tile + tile * 80 + STRIP_TILES * tile * 40 + 8 * CHECK_ROWS * d
    waiting = (2 * threads + 1) * STRIP_TILES * tile * 20
    return bounds + unit + 16 * (n + m) + threads * worker + waiting


def _lay_out(
    x: FloatRows, rotation: Rotation, dtype: torch.dtype, pivots: NDArray[np.float32] | None, seed: int, budget: int
) -> tuple[_Side, NDArray[np.float32]]:
    """A set in search order: by the nearest of some of its rows, then as it was."""
    import torch

    n, d = x.shape
    step = max(1, 2**26 // (4 * d))
    if pivots is None:
        chosen = np.sort(np.random.default_rng([seed, 1]).choice(n, size=min(n, NUM_PIVOTS), replace=False))
        pivots = rotation.bounds(unit_rows(x[chosen]))
    bounds = np.empty((n, rotation.width), np.float32)
    nearest = np.zeros(n, np.int64)
    for start in range(0, n, step):
        block = rotation.bounds(unit_rows(x[start : start + step]))
        bounds[start : start + step] = block
        if len(pivots):
            nearest[start : start + step] = (block[:, :-1] @ pivots[:, :-1].T).argmax(axis=1)
    order = np.argsort(nearest, kind="stable")
    unit = None
    if 4 * n * d <= budget:
        unit = np.empty((n, d), np.float32)
        for start in range(0, n, step):
            unit[start : start + step] = unit_rows(x[order[start : start + step]])
    return _Side(order=order, bounds=torch.from_numpy(bounds[order]).to(dtype), x=x, unit=unit), pivots


def _at_least(state: local, rows: torch.Tensor, columns: torch.Tensor, cut: float) -> NDArray[np.int64]:
    """Flat places of the products of ``rows`` with ``columns`` that are at least ``cut``."""
    import torch

    if not hasattr(state, "products") or state.products.dtype != rows.dtype:
        state.products = torch.empty(TILE_ROWS * TILE_COLUMNS, dtype=rows.dtype)
        state.mask = np.empty(TILE_ROWS * TILE_COLUMNS, bool)
    size = len(rows) * len(columns)
    products = state.products[:size].view(len(rows), len(columns))
    torch.mm(rows, columns.T, out=products)
    mask = state.mask[:size]
    if rows.dtype == torch.float32:
        np.greater_equal(products.numpy().reshape(-1), np.float32(cut), out=mask)
    else:
        # The cut is positive, and positive bf16 numbers are in the order of their bits; negative ones have the sign bit and lie
        # below. Comparing integers takes a twentieth of the time.
        bits = products.view(torch.int16).numpy().reshape(-1)
        np.greater_equal(bits, np.int16(torch.tensor(cut, dtype=torch.bfloat16).view(torch.int16)), out=mask)
    return np.flatnonzero(mask)


def _similarities(left: _Side, right: _Side, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float32]:
    """Cosines of rows at places i with those at places j, in fp32."""
    import torch

    rows, i_of = _distinct(i)
    columns, j_of = _distinct(j)
    if len(rows) * len(columns) <= DENSE * len(i):
        # torch, whose workers have one thread each: numpy's BLAS would start its own.
        products = torch.mm(torch.from_numpy(left.take(rows)), torch.from_numpy(right.take(columns)).T).numpy()
        dense: NDArray[np.float32] = products[i_of, j_of]
        return dense
    out = np.empty(len(i), np.float32)
    for start in range(0, len(i), CHECK_ROWS):
        block = slice(start, start + CHECK_ROWS)
        np.einsum("nd,nd->n", left.take(i[block]), right.take(j[block]), out=out[block])
    return out


def _distinct(places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorted distinct places of one tile, and for each place which of them it is. Faster than ``np.unique``: no sort."""
    if not len(places):
        return places, places
    first = int(places.min())
    is_there = np.zeros(int(places.max()) - first + 1, bool)
    is_there[places - first] = True
    return np.flatnonzero(is_there) + first, (np.cumsum(is_there) - 1)[places - first]


def _rounded_down(value: float, dtype: torch.dtype) -> float:
    """The largest number of that type not above ``value``: rounding is monotone, so nothing at or above it falls below."""
    import torch

    rounded = torch.tensor(value, dtype=dtype)
    if float(rounded) > value:
        rounded = torch.nextafter(rounded, torch.tensor(-float("inf"), dtype=dtype))
    return float(rounded)


def _one_thread() -> None:
    """Each worker multiplies alone: two threads on one small product gain nothing."""
    import torch

    torch.set_num_threads(1)
