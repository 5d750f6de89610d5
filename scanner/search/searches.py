"""Which search finds the pairs, and each of them behind one face: pairs with exact cosines, and how the work went."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import ComputeConfig, NeighborsConfig
from scanner.core.errors import ConfigError
from scanner.core.memory import allowed_bytes
from scanner.search import cells_join, ivf, join, threshold
from scanner.search.cells_join import CellsJoin
from scanner.search.exact import exact_blocks, searched_threshold
from scanner.search.gpu_join import GpuThresholdJoin, gpu_join_available
from scanner.search.ivf import ivf_pairs
from scanner.search.join import ThresholdJoin
from scanner.search.threshold import PairBlock

OnTile = Callable[[int], None]

JOIN_ROWS = 250_000
"""Up to so many rows ``auto`` compares all pairs: 200,000 take 9 to 27 s on two cores with bf16 (benchmarks)."""
PROCESS_BYTES = 900 << 20
"""Of a process with torch and faiss loaded, and what their threads keep: 0.7 GB before any work. A search of a million rows that
was given 2 GB peaked at 1.85 (benchmarks/neighbors_memory.py)."""
LINKS_BYTES = 250 << 20
"""Of pairs that wait to be merged into the forest; assumed, from eight times 20 bytes for each of a million links."""
BYTES_A_ROW = 160
"""Of an image in everything that is gathered: ids, digests, counts, links; assumed."""
APPROXIMATE = ("cells", "faiss-ivf")


@dataclass(kw_only=True)
class Search:
    """A search that is set up and can be run once.

    Attributes:
        name: as in ``neighbors.search``, never ``auto``.
        total: what ``on_tile`` adds up to, in ``unit``.
        blocks: of pairs, left < right, each once.
        facts: how the work went, complete once the blocks are.
    """

    name: str
    total: int
    unit: str = "pairs compared"
    blocks: Callable[[OnTile], Iterator[PairBlock]]
    facts: Callable[[], dict[str, Any]]


def chosen(settings: NeighborsConfig, num_rows: int) -> str:
    """The search that ``auto`` means for so many rows; any other as it is."""
    if settings.search != "auto":
        return settings.search
    return "join" if num_rows <= JOIN_ROWS else "cells"


def memory(name: str, num_rows: int, dim: int, compute: ComputeConfig) -> int:
    """Upper estimate of the bytes that a search holds beside the embeddings."""
    allowed = allowed_bytes(compute.memory)
    return {
        "join": lambda: join.estimate_memory(num_rows, dim, memory_bytes=allowed // 2),
        "cells": lambda: min(allowed, cells_join.estimate_memory(num_rows, dim) + num_rows * (4 * dim + 512)),
        "faiss-flat": lambda: threshold.estimate_memory(num_rows, dim),
        "faiss-ivf": lambda: ivf.estimate_memory(num_rows, dim),
    }[name]()


def within(
    name: str,
    x: NDArray[np.float16],
    lowest: float,
    settings: NeighborsConfig,
    compute: ComputeConfig,
    is_active: NDArray[np.bool_] | None = None,
) -> Search:
    """Pairs of rows of ``x`` (n, d) at or above ``lowest``; all of them unless the search is one of ``APPROXIMATE``.

    Args:
        is_active: (n,), for cells alone: pairs of two rows that are not active are left out.

    Raises:
        ConfigError, StoreError: see the searches.
    """
    n = len(x)
    total = n * (n - 1) // 2
    if name == "cells":
        _check_room(x, compute)
        cells = CellsJoin(
            x=x, threshold=lowest, recall=settings.recall, memory_bytes=_room(x, compute), scratch=compute.scratch,
            is_exact=True, is_active=is_active, seed=settings.seed,
        )  # fmt: skip
        return Search(
            name=name,
            total=cells.stats.num_total,
            blocks=lambda on_tile: cells.blocks(on_tile=on_tile),
            facts=lambda: asdict(cells.stats),
        )
    if name == "join":
        return _exact_join(x, None, lowest, total, compute)
    if name == "faiss-flat":
        return Search(
            name=name,
            total=total,
            blocks=lambda on_tile: exact_blocks(
                threshold.threshold_pairs(x, searched_threshold(lowest), on_tile=on_tile), x, x, lowest
            ),
            facts=dict,
        )
    return Search(
        name=name,
        total=n,
        unit="images looked for",
        blocks=lambda on_tile: exact_blocks(
            ivf_pairs(x, searched_threshold(lowest), recall=settings.recall, seed=settings.seed, on_tile=on_tile), x, x, lowest
        ),
        facts=dict,
    )


def between(x: NDArray[np.float16], y: NDArray[np.float16], lowest: float, compute: ComputeConfig) -> Search:
    """Every row of ``x`` (left) with every row of ``y`` (right) at or above ``lowest``."""
    return _exact_join(x, y, lowest, len(x) * len(y), compute)


def chosen_between(settings: NeighborsConfig, num_left: int, num_right: int) -> str:
    """The search that ``auto`` means between two sets: all pairs up to as many as it compares within one; else cells."""
    if settings.search == "auto":
        return "join" if num_left * num_right <= JOIN_ROWS * (JOIN_ROWS - 1) // 2 else "cells"
    return "cells" if settings.search in APPROXIMATE else "join"


def between_in_cells(
    rows: NDArray[np.float16], num_right: int, lowest: float, settings: NeighborsConfig, compute: ComputeConfig
) -> Search:
    """Nearly every pair of a row of the second set (left) with one of the first (right), which lie together in ``rows`` (n, d).

    The smaller set is the active one: its rows are compared with one another too, and those pairs left out here.

    Args:
        num_right: rows of the first set; the second begins there. Pairs are numbered from 0 in each.

    Raises:
        ConfigError, StoreError: see ``within``.
    """
    is_active = np.arange(len(rows)) < num_right
    if 2 * num_right > len(rows):
        is_active = ~is_active
    inner = within("cells", rows, lowest, settings, compute, is_active)

    def blocks(on_tile: OnTile) -> Iterator[PairBlock]:
        for block in inner.blocks(on_tile):
            is_between = (block.left < num_right) & (block.right >= num_right)
            if is_between.any():
                yield PairBlock(
                    left=block.right[is_between] - num_right, right=block.left[is_between],
                    similarity=block.similarity[is_between],
                )  # fmt: skip

    return Search(name="cells", total=inner.total, blocks=blocks, facts=inner.facts)


def _check_room(x: NDArray[np.float16], compute: ComputeConfig) -> None:
    missing = cells_join.estimate_memory(*x.shape) - _room(x, compute)
    if missing > 0:
        allowed = allowed_bytes(compute.memory)
        raise ConfigError(
            f"The search in cells of {len(x):,} rows needs {(allowed + missing) / 1e9:.1f} GB, {allowed / 1e9:.1f} are allowed.",
            next_step=f"Give --memory {math.ceil((allowed + missing) / 1e9)}GB or more.",
        )


def _room(x: NDArray[np.float16], compute: ComputeConfig, y: NDArray[np.float16] | None = None) -> int:
    """What is left of the memory allowed: beside the process, the rows where they are held, and what is gathered of pairs."""
    held = sum(rows.nbytes for rows in (x, y) if rows is not None and not isinstance(rows, np.memmap))
    return allowed_bytes(compute.memory) - PROCESS_BYTES - held - LINKS_BYTES - len(x) * BYTES_A_ROW


def _exact_join(
    x: NDArray[np.float16], y: NDArray[np.float16] | None, lowest: float, total: int, compute: ComputeConfig
) -> Search:
    stats: dict[str, Any] = {}

    def on_gpu(on_tile: OnTile) -> Iterator[PairBlock]:
        gpu = GpuThresholdJoin(x=x, y=y, threshold=searched_threshold(lowest))
        yield from exact_blocks(gpu.blocks(on_tile=on_tile), x, x if y is None else y, lowest)
        stats.update(asdict(gpu.stats), device="cuda")

    def on_cpu(on_tile: OnTile) -> Iterator[PairBlock]:
        cpu = ThresholdJoin(x=x, y=y, threshold=lowest, is_exact=True, memory_bytes=max(0, _room(x, compute, y)))
        yield from cpu.blocks(on_tile=on_tile)
        stats.update(asdict(cpu.stats), device="cpu")

    use_gpu = compute.device == "cuda" or (compute.device == "auto" and gpu_join_available())
    return Search(name="join", total=total, blocks=on_gpu if use_gpu else on_cpu, facts=lambda: stats)
