"""The threshold join for arrays: neighbours of every row, and the pairs or the links behind them. For those who have no run.

Rows that are equal bytes are one row of the search and keep their multiplicity: a hundred thousand copies of a vector cost what
one does, and a group is told by as many links as it has members, whatever the number of its pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import ConfigError
from scanner.search.cells_join import CellsJoin
from scanner.search.collapse import Collapse, collapse
from scanner.search.counts import NeighborCounts
from scanner.search.expand import image_pairs, spanning_links
from scanner.search.forest import SpanningForest
from scanner.search.join import ThresholdJoin
from scanner.search.threshold import FloatRows, PairBlock, has_direction


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Neighbors:
    """What a join found.

    Attributes:
        num_neighbors: int64 (n,), rows within the threshold of each row of x, itself excluded; a lower bound by cells.
        nearest: int64 (n,), the nearest of them, a copy before all others, then the lowest of equally near ones; -1: none.
        left, right: int64 (m,), of x with itself left < right: links that span every group, or every pair. Between two sets every
            pair, a row of x and one of y.
        is_truncated: there were more pairs than were asked for.
        num_compared: pairs of distinct rows that were compared.
    """

    num_neighbors: NDArray[np.int64]
    nearest: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    is_truncated: bool
    num_compared: int


def threshold_join(
    x: FloatRows,
    y: FloatRows | None = None,
    *,
    threshold: float,
    search: Literal["join", "cells"] = "join",
    recall: float = 0.99,
    pairs: Literal["links", "all"] = "links",
    max_pairs: int = 10_000_000,
    memory_bytes: int = 4 * 2**30,
    scratch: str = "",
    threads: int | None = None,
    seed: int = 0,
) -> Neighbors:
    """Every pair of rows of x, or of a row of x and one of y, at or above a cosine.

    Args:
        x: (n, d) float16 or float32.
        y: (m, d), another set; its pairs are listed in full, up to ``max_pairs``.
        search: ``join`` finds all; ``cells`` (x with itself only) nearly all, see :class:`CellsJoin`, which ``recall``,
            ``memory_bytes`` and ``scratch`` go to.
        pairs: ``links``: n - 1 at most that join what belongs together; ``all``: every pair, up to ``max_pairs``.

    Raises:
        ConfigError: a threshold outside (0, 1], a recall outside (0, 1), cells between two sets.
        StoreError: no room for scratch.
    """
    if y is not None:
        if search == "cells":
            raise ConfigError("The join in cells is of one set with itself.", next_step="Take search='join' for two sets.")
        return _between(x, y, threshold, max_pairs, memory_bytes=memory_bytes, threads=threads, seed=seed)
    classes = collapse(x, missing=~has_direction(x))
    unique = x if len(classes.first) == len(x) else x[classes.first]
    if search == "cells":
        run: ThresholdJoin | CellsJoin = CellsJoin(
            x=unique, threshold=threshold, recall=recall, memory_bytes=memory_bytes, scratch=scratch, threads=threads, seed=seed
        )
    else:
        run = ThresholdJoin(x=unique, threshold=threshold, memory_bytes=memory_bytes, threads=threads, seed=seed)
    counts, forest = NeighborCounts(classes.counts), SpanningForest(len(unique))
    kept: list[PairBlock] = []
    room, is_truncated = max_pairs, False
    for block in run.blocks():
        counts.add(block.left, block.right, block.similarity)
        if pairs == "links":
            forest.add(block.left, block.right, block.similarity)
        else:
            is_truncated |= len(block) > room
            kept.append(PairBlock(left=block.left[:room], right=block.right[:room], similarity=block.similarity[:room]))
            room -= len(kept[-1])
    if pairs == "links":
        left, right = spanning_links(classes, forest.links(), threshold)
    else:
        (left, right), is_cut = image_pairs(kept, classes, limit=max_pairs)
        is_truncated |= is_cut
    return Neighbors(
        num_neighbors=counts.num_neighbors()[classes.inverse],
        nearest=_nearest(counts.nearest, classes),
        left=left,
        right=right,
        is_truncated=is_truncated,
        num_compared=run.stats.num_compared,
    )


def _nearest(nearest: NDArray[np.int64], classes: Collapse) -> NDArray[np.int64]:
    """Of each row: another copy where it has one, the class's first or for that one its second."""
    out = np.where(nearest >= 0, classes.first[nearest], -1)[classes.inverse]
    labels, own = classes.labels, np.arange(len(classes.inverse))
    copies = np.flatnonzero(labels != own)
    out[copies] = labels[copies]
    out[labels[copies][::-1]] = copies[::-1]
    return out


def _between(
    x: FloatRows, y: FloatRows, threshold: float, max_pairs: int, *, memory_bytes: int, threads: int | None, seed: int
) -> Neighbors:
    run = ThresholdJoin(x=x, y=y, threshold=threshold, memory_bytes=memory_bytes, threads=threads, seed=seed)
    # Rows of y are nodes after those of x, that count in one direction.
    counts = NeighborCounts(np.ones(len(x) + len(y), np.int64))
    lefts, rights = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    room, is_truncated = max_pairs, False
    for block in run.blocks():
        counts.add(block.left, block.right + len(x), block.similarity)
        is_truncated |= len(block) > room
        lefts.append(block.left[:room])
        rights.append(block.right[:room])
        room -= len(lefts[-1])
    nearest = counts.nearest[: len(x)]
    return Neighbors(
        num_neighbors=counts.num_neighbors()[: len(x)],
        nearest=np.where(nearest >= 0, nearest - len(x), -1),
        left=np.concatenate(lefts),
        right=np.concatenate(rights),
        is_truncated=is_truncated,
        num_compared=run.stats.num_compared,
    )
