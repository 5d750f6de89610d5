"""The unit of every join by bounds: one tile of bounds multiplied, looked at, and what it does not settle computed in full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import ConfigError
from scanner.core.hardware import cpu_computes_bf16
from scanner.search.bits import rounded_down, sortable
from scanner.search.bounds import ROUNDING, Rotation
from scanner.search.buffers import Buffer, ThreadBuffers
from scanner.search.exact import cosines
from scanner.search.threshold import FloatRows, PairBlock, divided, unit_rows, widened
from scanner.search.workers import in_order

if TYPE_CHECKING:
    import torch

TILE_ROWS, TILE_COLUMNS = 1024, 1024
"""Products of 2 MiB in bf16, about what a core's cache holds. Square, for every product lays out its columns anew: with many rows
to a column that costs a fifth less than 512 x 2048 (a Xeon with AMX)."""
PADDED_ROWS, PADDED_COLUMNS = 64, 256
STRIP_TILES = 8
"""Tiles of one task, next to one another: what a thread does before it reports."""
SCREENED_ENTRIES = 16_384
"""Of a product in fp32, from which on bf16 tells first which rows need it: fewer are not worth a kernel's padding."""
DENSE = 24
"""Up to so many entries of a product a candidate all rows concerned are multiplied, else pairs are fetched: half a microsecond
a pair against 12 ns an entry (one AVX-512 core, d = 512)."""
SPLIT_ENTRIES = 32_768
"""Entries that are no candidates, from which on the rows of a tile are told apart by group: a third of a millisecond's work."""
ALIKE_ROWS = 8
"""Rows of one group in a tile that are computed on their own. Fewer are put together: a product of its own costs 50 us."""
DIAGONAL_ROWS = 128
"""Rows computed together of a tile on the diagonal, of whose square the half below is not wanted."""
FEW = 4
"""Where one row in so many may have a pair, only those are looked at."""
CHECK_ROWS = 512
"""Pairs computed at once: 2 MiB of rows at d = 512, which stay in a core's cache."""
BLOCK_BYTES = 1 << 22
"""Of unit rows in fp32, prepared at once by one thread: they stay in its cache, which takes a quarter of the time."""
BF16_ROUNDING = 2**-7
"""Of the inner product of two vectors of norm 1, their numbers and the result rounded to bf16: 2 x 2^-9, and 2^-9 of the
result, with as much again to spare."""

PRECISIONS = ("auto", "fp32", "bf16")


class RowReader(Protocol):
    """Rows in search order, wherever they lie."""

    def take(self, places: NDArray[np.int64], buffer: Buffer) -> NDArray[np.float32]:
        """float32 (m, d), in the buffer: rows at these places, in their order; of norm 1, or as they are for an exact recheck."""
        ...


class HeldRows:
    """Rows in memory, in search order: the fastest to read.

    Args:
        x: float32 (n, d), as they are to be read.
    """

    def __init__(self, x: NDArray[np.float32]) -> None:
        self._x = x

    @classmethod
    def of(cls, x: FloatRows, order: NDArray[np.int64], *, is_exact: bool, threads: int) -> HeldRows:
        """A copy of x (n, d) in an order (n,)."""
        held: NDArray[np.float32] = np.empty(x.shape, np.float32)
        convert = widened if is_exact else unit_rows
        step = max(1, BLOCK_BYTES // (4 * x.shape[1]))

        def widen(start: int) -> None:
            convert(x[order[start : start + step]], held[start : start + step])

        for _ in in_order(range(0, len(x), step), widen, threads):
            pass
        return cls(held)

    def take(self, places: NDArray[np.int64], buffer: Buffer) -> NDArray[np.float32]:
        # Places are within the set; numpy writes to where it should only if it need not check.
        return np.take(self._x, places, axis=0, out=buffer.array(len(places), self._x.shape[1]), mode="clip")


class GivenRows:
    """Rows where they were given, in memory or on disk; converted each time.

    Args:
        x: (n, d) float16 or float32.
        order: int64 (n,), the row at each place.
        norms: float32 (n,), of the rows of x (``norms_of``), by which they are divided; None for an exact recheck, which wants
            them as they are.
    """

    def __init__(self, x: FloatRows, order: NDArray[np.int64], *, norms: NDArray[np.float32] | None) -> None:
        self._x, self._order, self._norms = x, order, norms

    def take(self, places: NDArray[np.int64], buffer: Buffer) -> NDArray[np.float32]:
        at = self._order[places]
        rows = widened(self._x[at], buffer.array(len(places), self._x.shape[1]))
        return rows if self._norms is None else divided(rows, self._norms[at])


Take: TypeAlias = Callable[[NDArray[np.int64], Buffer], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TilePairs:
    """Pairs of one tile by their places in it: int64 (m,), int64 (m,), float32 (m,); and how many were computed in full."""

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    similarity: NDArray[np.float32]
    num_candidates: int

    @classmethod
    def none(cls) -> TilePairs:
        empty = np.empty(0, np.int64)
        return cls(row=empty, column=empty, similarity=np.empty(0, np.float32), num_candidates=0)


class Bounds:
    """What a join by bounds compares with: the type of the bounds, and the number below which a pair is settled.

    Args:
        threshold: cosine, as float32.
        precision: ``auto`` (bf16 where the CPU multiplies it natively, else fp32), ``fp32`` or ``bf16``.
        is_exact: what bounds do not settle is computed in float64 (``exact``), so that no cosine depends on how it was found;
            else in fp32.
    """

    def __init__(self, threshold: np.float32, precision: str, *, is_exact: bool = False) -> None:
        import torch

        if precision not in PRECISIONS:
            raise ConfigError(f"There is no precision {precision!r}.", next_step=f"Choose one of {', '.join(PRECISIONS)}.")
        self.precision = ("bf16" if cpu_computes_bf16() else "fp32") if precision == "auto" else precision
        self.dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self.rounding = BF16_ROUNDING if self.precision == "bf16" else ROUNDING
        self.radius = threshold
        self._full = _exact if is_exact else _in_fp32
        self._cut = sortable(rounded_down(float(threshold) - self.rounding, self.dtype), self.dtype)
        self._is_screened = self.precision == "bf16" and not is_exact
        self._buffers = ThreadBuffers()

    def of(self, rows: NDArray[np.float32], rotation: Rotation) -> torch.Tensor:
        """Bounds (m, width) of unit rows (m, d)."""
        import torch

        return torch.from_numpy(rotation.bounds(rows)).to(self.dtype)

    def pairs(
        self, rows: torch.Tensor, columns: torch.Tensor, take_rows: Take, take_columns: Take, *, offset: int | None = None
    ) -> TilePairs:
        """Pairs of two blocks of bounds that are at or above the threshold, each confirmed in full.

        Args:
            rows, columns: bounds (m, w) and (n, w).
            take_rows, take_columns: rows float32 (k, d) by their place in the block, as a RowReader gives them.
            offset: of the first column from the first row, where both are of one set: each pair is then seen once, row before
                column.
        """
        # A tensor's own len() takes ten times as long as its shape.
        num_rows, num_columns = rows.shape[0], columns.shape[0]
        shift = offset if offset is not None and offset < num_rows else None
        seen, mask = self._candidates(rows, columns, shift)
        num_candidates = int(np.count_nonzero(mask))
        if not num_candidates:
            return TilePairs.none()
        some_columns = np.flatnonzero(mask.any(axis=0))
        right, rank = take_columns(some_columns, self._buffers["right"]), _ranks(some_columns, num_columns)
        found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
        for rows_alike in _rows_alike(
            mask, len(some_columns), num_candidates, most_rows=DIAGONAL_ROWS if shift is not None else len(mask)
        ):
            part = mask[rows_alike] if len(rows_alike) < len(mask) else mask
            part_columns = np.flatnonzero(part.any(axis=0)) if len(rows_alike) < len(mask) else some_columns
            left = take_rows(seen[rows_alike], self._buffers["left"])
            if len(rows_alike) * len(part_columns) <= DENSE * int(np.count_nonzero(part)):
                # One product of all rows concerned. What no bound let through is below the threshold here too, but for the mask.
                among = right if len(part_columns) == len(right) else right[rank[part_columns]]
                if len(left) * len(among) >= SCREENED_ENTRIES and self._is_screened:
                    some, others = self._screen(left, among)
                    left, among, rows_alike, part_columns = left[some], among[others], rows_alike[some], part_columns[others]
                product = self._full(left, among, self._buffers["full"])
                i, j = np.divmod(np.flatnonzero(product.reshape(-1) >= self.radius), max(1, len(part_columns)))
                similarity = product[i, j]
                row, column = seen[rows_alike][i], part_columns[j]
                if shift is not None:
                    once = column + shift > row
                    row, column, similarity = row[once], column[once], similarity[once]
            else:
                i, column = np.divmod(np.flatnonzero(part.reshape(-1)), num_columns)
                similarity = np.empty(len(i), np.float32)
                for start in range(0, len(i), CHECK_ROWS):
                    block = slice(start, start + CHECK_ROWS)
                    similarity[block] = self._full(left[i[block]], right[rank[column[block]]], None)
                near = similarity >= self.radius
                row, column, similarity = seen[rows_alike][i[near]], column[near], similarity[near]
            found.append((row, column, similarity))
        row, column, similarity = (np.concatenate(part) for part in zip(*found, strict=True))
        return TilePairs(row=row, column=column, similarity=similarity, num_candidates=num_candidates)

    def _candidates(
        self, rows: torch.Tensor, columns: torch.Tensor, shift: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Places int64 (k,) of rows that may have a pair, and bool (k, n), in a buffer of this thread: which entries may be one.

        The highest bound of each row is had in half the time of comparing all of them, and settles most rows.
        """
        num_rows, num_columns = rows.shape[0], columns.shape[0]
        products = self.products(rows, columns)
        shown: NDArray[np.float32] | NDArray[np.int16] = products.numpy()[:num_rows, :num_columns]
        seen = np.flatnonzero(products.amax(dim=1).numpy()[:num_rows] >= self._cut)
        if len(seen) * FEW < num_rows:
            shown = shown[seen]
        else:
            seen = np.arange(num_rows)
        mask: NDArray[np.bool_] = self._buffers["mask"].array(*shown.shape, dtype=np.bool_)
        np.greater_equal(shown, self._cut, out=mask)
        if shift is not None:
            assert shift + num_columns < 2**15
            # Places in a tile fit into 16 bits, in which a million of them are compared in a fifth of the time.
            mask &= np.arange(shift, shift + num_columns, dtype=np.int16) > seen.astype(np.int16)[:, None]
        return seen, mask

    def _screen(self, left: NDArray[np.float32], right: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Places of unit rows (m, d) and (n, d) that come near the threshold in bf16, in a third of the time of fp32.

        All members of a group pass its bounds; where they lie further apart than the threshold, nothing of them is left here.
        """
        import torch

        low = self.products(torch.from_numpy(left).to(self.dtype), torch.from_numpy(right).to(self.dtype))
        low = low[: len(left), : len(right)]
        return tuple(np.flatnonzero(low.amax(dim=dim).numpy() >= self._cut) for dim in (1, 0))  # type: ignore[return-value]

    def products(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Products of two blocks, padded with zeros, in a buffer of this thread; of bf16 the bits (see ``as_sortable``)."""
        import torch

        rows, columns = self._padded(rows, PADDED_ROWS), self._padded(columns, PADDED_COLUMNS)
        bits = np.int16 if self.dtype == torch.bfloat16 else np.float32
        held = self._buffers["products"].array(rows.shape[0], columns.shape[0], dtype=bits)
        products = torch.from_numpy(held).view(self.dtype)
        torch.mm(rows, columns.T, out=products)
        return products.view(torch.int16) if self.dtype == torch.bfloat16 else products

    def _padded(self, block: torch.Tensor, step: int) -> torch.Tensor:
        """bf16: with rows up to a multiple of ``step``. A kernel is made and kept for every shape that it meets."""
        import torch

        num_rows = block.shape[0]
        size = -(-num_rows // step) * step
        if size == num_rows or block.dtype != torch.bfloat16:
            return block
        padded = torch.zeros((size, block.shape[1]), dtype=block.dtype)
        padded[:num_rows] = block
        return padded


def _rows_alike(mask: NDArray[np.bool_], num_columns: int, num_candidates: int, *, most_rows: int) -> list[NDArray[np.int64]]:
    """Rows of a tile that have a candidate, in sets to be computed together.

    In a group every member is a candidate of every other, so that its rows have the same last candidate. Groups computed one by
    one cost their own squares; together they would cost that of their sum.

    Args:
        mask: (m, n), candidates.
        num_columns: that have one.
        most_rows: of a set. On the diagonal later rows have fewer candidates, so that sets of few cost less than a square.
    """
    some = np.flatnonzero(mask.any(axis=1))
    if len(some) * num_columns - num_candidates <= SPLIT_ENTRIES:
        return [some]
    last = mask.shape[1] - 1 - mask[some, ::-1].argmax(axis=1)
    _, which, sizes = np.unique(last, return_inverse=True, return_counts=True)
    is_alone = (sizes >= ALIKE_ROWS)[which]
    alone = some[is_alone][np.argsort(which[is_alone], kind="stable")]
    pieces = np.split(alone, np.cumsum(sizes[sizes >= ALIKE_ROWS])[:-1]) if len(alone) else []
    pieces = [piece for piece in (*pieces, some[~is_alone]) if len(piece)]
    return [piece[i : i + most_rows] for piece in pieces for i in range(0, len(piece), most_rows)]


def _ranks(places: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """For each place below ``size`` which of the given, ascending ones it is."""
    rank = np.empty(size, np.int64)
    rank[places] = np.arange(len(places))
    return rank


def _in_fp32(a: NDArray[np.float32], b: NDArray[np.float32], buffer: Buffer | None) -> NDArray[np.float32]:
    """Cosines of unit rows: (m, n) of all, in a buffer; without one (m,) of each row of a with that of b."""
    import torch

    if buffer is None:
        paired: NDArray[np.float32] = np.vecdot(a, b)
        return paired
    # torch, whose workers have one thread each: numpy's BLAS would start its own.
    products: NDArray[np.float32] = buffer.array(len(a), len(b))
    torch.mm(torch.from_numpy(a), torch.from_numpy(b).T, out=torch.from_numpy(products))
    return products


def _exact(a: NDArray[np.float32], b: NDArray[np.float32], buffer: Buffer | None) -> NDArray[np.float32]:
    """As ``_in_fp32``, of rows of any norm, in float64."""
    import torch

    left, right = torch.from_numpy(a).double(), torch.from_numpy(b).double()
    with np.errstate(invalid="ignore", over="ignore"):
        norms = [np.vecdot(side.numpy(), side.numpy()) for side in (left, right)]
        if buffer is None:
            return cosines(np.vecdot(left.numpy(), right.numpy()), norms[0] * norms[1])
        return cosines(torch.mm(left, right.T).numpy(), np.outer(norms[0], norms[1]))


def joined(blocks: list[PairBlock]) -> PairBlock:
    """One block of several; empty of none."""
    return PairBlock(
        left=np.concatenate([np.empty(0, np.int64), *(b.left for b in blocks)]),
        right=np.concatenate([np.empty(0, np.int64), *(b.right for b in blocks)]),
        similarity=np.concatenate([np.empty(0, np.float32), *(b.similarity for b in blocks)]),
    )
