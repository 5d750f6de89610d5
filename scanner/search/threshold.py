"""Exact threshold search: every pair of rows at or above a similarity, in blocks of bounded size.

A top-k search loses pairs as soon as an image has more than k copies, which are the images that matter most here. A
threshold search loses none. All rows are compared once, in tiles (as ``faiss.contrib.exhaustive_search`` does), and only
the half of the matrix with ``left < right``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import ConfigError

if TYPE_CHECKING:
    from types import ModuleType

logger = logging.getLogger("scanner")

FloatRows: TypeAlias = NDArray[np.float16] | NDArray[np.float32]

TILE_ROWS = 4096
MAX_BLOCK_PAIRS = 4_194_304


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PairBlock:
    """Pairs of rows, one an element, ``left < right``.

    Attributes:
        left: int64 (m,), row of the first image.
        right: int64 (m,), row of the second image.
        similarity: float32 (m,), cosine; higher is closer.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    similarity: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.left)


def load_faiss() -> ModuleType:
    """The faiss module.

    Raises:
        ConfigError: faiss is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(
            f"The search needs faiss, which cannot be imported ({error}).",
            next_step="Install it with pip install 'trainscan[cpu]' (or 'trainscan[gpu]' on a CUDA machine).",
        ) from error
    return faiss


def unit_rows(x: FloatRows, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """A float32 copy of ``x`` (n, d) with rows of norm 1, in ``out`` (n, d) if that is given.

    Half-precision storage moves a norm by up to 5e-4, more than the gap between two thresholds that matter, so rows are
    scaled after they are widened. A row that is zero or not finite has no direction: it becomes zero and matches nothing.
    """
    rows = widened(x, out)
    return divided(rows, norms_of(rows))


def norms_of(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 (n,), of rows (n, d); infinite where a row has no direction."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms: NDArray[np.float32] = np.sqrt(np.vecdot(rows, rows))
    norms[~(np.isfinite(norms) & (norms > 0))] = np.inf
    return norms


def divided(rows: NDArray[np.float32], norms: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows (n, d) themselves, each by its norm (``norms_of``)."""
    with np.errstate(invalid="ignore"):
        rows /= norms[:, None]
    aimless = np.isinf(norms)
    if aimless.any():
        rows[aimless] = 0
    return rows


def widened(x: FloatRows, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """A float32 copy, in ``out`` (n, d) if that is given."""
    if out is None:
        out = np.empty(x.shape, np.float32)
    if x.dtype == np.float16:
        import torch

        # torch takes a seventh of numpy's time for it. It would warn of an array that it may not write.
        torch.from_numpy(out).copy_(torch.from_numpy(x if x.flags.writeable and x.flags.c_contiguous else np.array(x, order="C")))
    else:
        out[...] = x
    return out


def has_direction(x: FloatRows, *, block_rows: int = 65_536) -> NDArray[np.bool_]:
    """bool (n,): rows that are neither zero nor not finite, the others match nothing."""
    out = np.empty(len(x), bool)
    for start in range(0, len(x), block_rows):
        out[start : start + block_rows] = unit_rows(x[start : start + block_rows]).any(axis=1)
    return out


def check_threshold(threshold: float) -> np.float32:
    """The threshold as float32, the precision in which similarities are compared everywhere in this room.

    Raises:
        ConfigError: not in (0, 1]. At 0 and below every pair of unrelated images would match.
    """
    if not 0 < threshold <= 1:
        raise ConfigError(
            f"The similarity threshold is {threshold}.",
            next_step="Give a cosine similarity above 0 and at most 1, such as 0.95.",
        )
    return np.float32(threshold)


def estimate_memory(n: int, d: int, tile_rows: int = TILE_ROWS, *, max_block_pairs: int = MAX_BLOCK_PAIRS) -> int:
    """Upper estimate of the bytes that :func:`threshold_pairs` holds beside ``x``, whatever the similarities are."""
    tile = min(n, tile_rows)
    strip = min(n, max(1, max_block_pairs // tile_rows))
    vectors = 4 * d * (tile + 2 * strip)
    # A pair lies in faiss's buffers (12 bytes, in chunks), in its result and numpy's copy of it (24), and in ours (20 + mask).
    pairs = 60 * strip * tile
    return vectors + pairs


def threshold_pairs(
    x: FloatRows,
    threshold: float,
    *,
    tile_rows: int = TILE_ROWS,
    max_block_pairs: int = MAX_BLOCK_PAIRS,
    on_tile: Callable[[int], None] | None = None,
) -> Iterator[PairBlock]:
    """Every pair of rows with cosine similarity >= ``threshold``, each once; exact.

    The rows of a tile are searched by strips of ``max_block_pairs // tile_rows`` rows, so that even a tile in which all
    rows are equal cannot yield more than ``max_block_pairs`` pairs at once. Similarities are float32 inner products and
    are compared with the threshold in float32. The order of pairs within a block is not part of the contract.

    Args:
        x: (n, d) float16 or float32, for instance memory-mapped; only slices of rows are read. Rows are scaled to norm 1
            a tile at a time; rows that are zero or not finite match nothing.
        threshold: smallest cosine similarity, in (0, 1].
        tile_rows: rows held by the index at once.
        max_block_pairs: bound on the pairs yielded at once, at least ``tile_rows``.
        on_tile: called with the number of row pairs just compared; the calls add up to ``n * (n - 1) / 2``.

    Yields:
        Blocks of at least one pair.

    Raises:
        ConfigError: a threshold outside (0, 1], tile sizes that do not fit, or faiss is absent. Raised at the call, not
            at the first block.
    """
    radius = check_threshold(threshold)
    if tile_rows < 1 or max_block_pairs < tile_rows:
        raise ConfigError(
            f"A tile has {tile_rows} rows and a block {max_block_pairs} pairs.",
            next_step="Give tiles of at least 1 row, and blocks of at least as many pairs as a tile has rows.",
        )
    load_faiss()
    n, d = x.shape
    logger.info(
        "threshold search: %d rows of %d, similarity >= %g, at most %.0f MiB beside the rows",
        n, d, threshold, estimate_memory(n, d, tile_rows, max_block_pairs=max_block_pairs) / 2**20,
    )  # fmt: skip
    # faiss keeps similarity > radius.
    radius = np.nextafter(radius, np.float32(-np.inf))
    return _search_tiles(x, float(radius), tile_rows, max_block_pairs // tile_rows, on_tile or _ignore)


def _ignore(_: int) -> None:
    pass


def _search_tiles(
    x: FloatRows, radius: float, tile_rows: int, strip_rows: int, on_tile: Callable[[int], None]
) -> Iterator[PairBlock]:
    faiss = load_faiss()
    n, d = x.shape
    for tile_start in range(0, n, tile_rows):
        tile = unit_rows(x[tile_start : tile_start + tile_rows])
        index = faiss.IndexFlatIP(d)
        # On the diagonal the index grows with the strips: a strip meets only the rows up to its own end.
        for offset in range(0, len(tile), strip_rows):
            strip = tile[offset : offset + strip_rows]
            index.add(strip)
            row, found, similarity = _range_search(index, strip, radius)
            row += tile_start + offset
            found += tile_start
            once = found < row
            if once.any():
                yield PairBlock(left=found[once], right=row[once], similarity=similarity[once])
            on_tile(len(strip) * offset + len(strip) * (len(strip) - 1) // 2)
        num_indexed = len(tile)
        del tile
        for start in range(0, tile_start, strip_rows):
            strip = unit_rows(x[start : min(start + strip_rows, tile_start)])
            row, found, similarity = _range_search(index, strip, radius)
            row += start
            found += tile_start
            if len(row):
                yield PairBlock(left=row, right=found, similarity=similarity)
            on_tile(len(strip) * num_indexed)


def _range_search(
    index: object, queries: NDArray[np.float32], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Query row, found row (both from 0) and inner product of every match above ``radius``."""
    limits, similarity, found = index.range_search(queries, radius)  # type: ignore[attr-defined]
    row = np.repeat(np.arange(len(queries), dtype=np.int64), np.diff(limits.astype(np.int64)))
    return row, found, similarity
