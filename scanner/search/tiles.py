"""The unit of every join by bounds: one tile of bounds multiplied, looked at, and what it does not settle computed in full.

Tiles are worked on by threads that each multiply on one core; their results come back in the order of the tasks, so the output of
a join does not depend on the number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import local
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import ConfigError
from scanner.core.hardware import cpu_computes_bf16
from scanner.search.bounds import ROUNDING, Rotation
from scanner.search.threshold import FloatRows, PairBlock, unit_rows

if TYPE_CHECKING:
    import torch

TILE_ROWS, TILE_COLUMNS = 512, 2048
"""Their bounds and products stay in a core's cache: 4 MiB with the mask."""
STRIP_TILES = 4
"""Tiles of one task, next to one another: what a thread does before it reports."""
DENSE = 24
"""Up to so many entries of a product a candidate all rows concerned are multiplied, else pairs are fetched: half a microsecond
a pair against 12 ns an entry (one AVX-512 core, d = 512)."""
CHECK_ROWS = 8192
"""Pairs fetched at once: 32 MiB of rows at d = 512."""
BF16_ROUNDING = 2**-7
"""Of the inner product of two vectors of norm 1, their numbers and the result rounded to bf16: 2 x 2^-9, and 2^-9 of the
result, with as much again to spare."""

PRECISIONS = ("auto", "fp32", "bf16")

T = TypeVar("T")
R = TypeVar("R")


class RowReader(Protocol):
    """Rows in search order, wherever they lie."""

    def take(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 (m, d): unit rows at these places, in their order."""
        ...


class UnitRows:
    """Rows in memory, scaled to norm 1 and in search order: the fastest to read.

    Args:
        x: float32 (n, d).
    """

    def __init__(self, x: NDArray[np.float32]) -> None:
        self._x = x

    def take(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._x[places]


class GivenRows:
    """Rows where they were given, in memory or on disk; scaled each time.

    Args:
        x: (n, d) float16 or float32.
        order: int64 (n,), the row at each place.
    """

    def __init__(self, x: FloatRows, order: NDArray[np.int64]) -> None:
        self._x, self._order = x, order

    def take(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        return unit_rows(self._x[self._order[places]])


class Bounds:
    """What a join by bounds compares with: the type of the bounds, and the number below which a pair is settled.

    Args:
        threshold: cosine, as float32.
        precision: ``auto`` (bf16 where the CPU multiplies it natively, else fp32), ``fp32`` or ``bf16``.
    """

    def __init__(self, threshold: np.float32, precision: str) -> None:
        import torch

        if precision not in PRECISIONS:
            raise ConfigError(f"There is no precision {precision!r}.", next_step=f"Choose one of {', '.join(PRECISIONS)}.")
        self.precision = ("bf16" if cpu_computes_bf16() else "fp32") if precision == "auto" else precision
        self.dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self.rounding = BF16_ROUNDING if self.precision == "bf16" else ROUNDING
        self.radius = threshold
        self._cut = rounded_down(float(threshold) - self.rounding, self.dtype)
        self._state = local()

    def of(self, rows: NDArray[np.float32], rotation: Rotation) -> torch.Tensor:
        """Bounds (m, width) of unit rows (m, d)."""
        import torch

        return torch.from_numpy(rotation.bounds(rows)).to(self.dtype)

    def candidates(self, rows: torch.Tensor, columns: torch.Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs (row, column) of two blocks of bounds that are not settled, in order of row, then column."""
        products = self.products(rows, columns)
        mask = self._mask[: products.size]
        np.greater_equal(products.reshape(-1), sortable(self._cut, self.dtype), out=mask)
        row, column = np.divmod(np.flatnonzero(mask), len(columns))
        return row, column

    def products(self, rows: torch.Tensor, columns: torch.Tensor) -> NDArray[np.float32] | NDArray[np.int16]:
        """Products (m, n) of two blocks, in a buffer of this thread. Of bf16 the bits are given: see ``sortable``."""
        import torch

        size = len(rows) * len(columns)
        if not hasattr(self._state, "products") or len(self._state.products) < size:
            self._state.products = torch.empty(max(size, TILE_ROWS * TILE_COLUMNS), dtype=self.dtype)
            self._state.mask = np.empty(len(self._state.products), bool)
        products: torch.Tensor = self._state.products[:size].view(len(rows), len(columns))
        torch.mm(rows, columns.T, out=products)
        return as_sortable(products)

    @property
    def _mask(self) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = self._state.mask
        return mask


def as_sortable(values: torch.Tensor) -> NDArray[np.float32] | NDArray[np.int16]:
    """fp32 numbers as they are; bf16 ones as their 16 bits.

    Positive bf16 numbers are in the order of their bits; negative ones have the sign bit and lie below. So they compare rightly with
    a positive number, in a twentieth of the time that bf16 takes.
    """
    import torch

    plain: NDArray[np.float32] | NDArray[np.int16] = (
        values.view(torch.int16) if values.dtype == torch.bfloat16 else values
    ).numpy()
    return plain


def sortable(value: float, dtype: torch.dtype) -> np.float32 | np.int16:
    """A positive number in the form that ``as_sortable`` compares."""
    import torch

    assert value > 0
    return np.float32(value) if dtype == torch.float32 else np.int16(torch.tensor(value, dtype=dtype).view(torch.int16))


def similarities(left: RowReader, right: RowReader, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float32]:
    """Cosines of rows at places i with those at places j, in fp32."""
    import torch

    rows, i_of = distinct(i)
    columns, j_of = distinct(j)
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


def distinct(places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorted distinct places of one tile, and for each place which of them it is. Faster than ``np.unique``: no sort."""
    if not len(places):
        return places, places
    first, last = int(places.min()), int(places.max())
    if last - first > 64 * len(places) + TILE_COLUMNS:
        return np.unique(places, return_inverse=True)
    is_there = np.zeros(last - first + 1, bool)
    is_there[places - first] = True
    return np.flatnonzero(is_there) + first, (np.cumsum(is_there) - 1)[places - first]


def joined(blocks: list[PairBlock]) -> PairBlock:
    """One block of several; empty of none."""
    return PairBlock(
        left=np.concatenate([np.empty(0, np.int64), *(b.left for b in blocks)]),
        right=np.concatenate([np.empty(0, np.int64), *(b.right for b in blocks)]),
        similarity=np.concatenate([np.empty(0, np.float32), *(b.similarity for b in blocks)]),
    )


def in_order(tasks: Iterable[T], work: Callable[[T], R], threads: int) -> Iterator[tuple[T, R]]:
    """Each task with its result, in the order of the tasks; never more than two results a thread wait to be fetched."""
    waiting: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(threads, initializer=_one_thread, thread_name_prefix="join") as pool:
        try:
            for task in tasks:
                waiting.append((task, pool.submit(work, task)))
                if len(waiting) > 2 * threads:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def rounded_down(value: float, dtype: torch.dtype) -> float:
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
