"""One pass over all pairs above the lowest threshold asked for, and what it leaves for the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import NeighborsConfig
from scanner.core.progress import Progress
from scanner.neighbors.earlier import Earlier
from scanner.search import join, threshold
from scanner.search.collapse import Collapse
from scanner.search.counts import NeighborCounts
from scanner.search.exact import exact_blocks, searched_threshold
from scanner.search.forest import PairHistogram, SpanningForest
from scanner.search.threshold import PairBlock

SEARCHES = {"join": join.join_pairs, "faiss-flat": threshold.threshold_pairs}
"""Of ``neighbors.search``. All give the same pairs, but for those within 1e-6 of the threshold."""


@dataclass(kw_only=True)
class PassResult:
    """Everything that the pairs are needed for, so that they are never all in memory.

    ``forest`` answers for every threshold, ``histogram`` counts pairs at each, ``counts`` holds neighbours at the main one;
    ``blocks`` are the pairs of classes within the main threshold, kept only where every pair was asked for, up to max_pairs.
    ``num_compared`` counts pairs of classes that were compared. After an incremental pass ``blocks`` are the pairs with a new
    image alone, and ``earlier`` holds the others.
    """

    thresholds: list[float]
    forest: SpanningForest
    histogram: PairHistogram
    counts: NeighborCounts
    blocks: list[PairBlock]
    is_truncated: bool = False
    num_compared: int = 0
    earlier: Earlier | None = None
    replaced: PairHistogram | None = None
    """Of pairs that ``earlier`` counted and ``histogram`` counts again, because one of the two has more copies now."""

    def num_pairs(self) -> NDArray[np.int64]:
        """Pairs of images at or above each threshold, copies counted; int64, in the order of ``thresholds``."""
        num_pairs = self.histogram.num_pairs()
        if self.earlier is not None and self.replaced is not None:
            num_pairs = num_pairs + self.earlier.num_pairs - self.replaced.num_pairs()
        return num_pairs


def search_memory(num_rows: int, dim: int, settings: NeighborsConfig) -> int:
    """Upper estimate of the bytes that the search holds beside the embeddings."""
    return join.estimate_memory(num_rows, dim) if settings.search == "join" else threshold.estimate_memory(num_rows, dim)


def pairs_within(
    x: NDArray[np.float16], lowest: float, settings: NeighborsConfig, on_tile: Callable[[int], None]
) -> Iterator[PairBlock]:
    """Every pair of rows of ``x`` at or above ``lowest``, each once, with exact cosines."""
    blocks = SEARCHES[settings.search](x, searched_threshold(lowest), on_tile=on_tile)
    return exact_blocks(blocks, x, x, lowest)


def pairs_between(
    x: NDArray[np.float16], y: NDArray[np.float16], lowest: float, on_tile: Callable[[int], None]
) -> Iterator[PairBlock]:
    """Every row of ``x`` (left) with every row of ``y`` (right) at or above ``lowest``, with exact cosines."""
    blocks = join.ThresholdJoin(x=x, y=y, threshold=searched_threshold(lowest)).blocks(on_tile=on_tile)
    return exact_blocks(blocks, x, y, lowest)


def search_pass(
    unique: NDArray[np.float16],
    classes: Collapse,
    settings: NeighborsConfig,
    progress: Progress,
    earlier: Earlier | None = None,
) -> PassResult:
    """One pass at the lowest threshold asked for: links for all of them, counts at the main one.

    With ``earlier`` only what is new is compared: new classes with one another, and new classes and those that gained copies with
    the old ones. The result is that of a pass over all.
    """
    thresholds = sorted({settings.cosine, *settings.report_thresholds})
    found = PassResult(
        thresholds=thresholds,
        forest=SpanningForest(len(unique)),
        histogram=PairHistogram(thresholds, counts=classes.counts),
        counts=NeighborCounts(classes.counts),
        blocks=[],
    )
    num_old, grown = 0, np.empty(0, np.int64)
    if earlier is not None:
        num_old = len(earlier.classes.first)
        grown = np.flatnonzero(classes.counts[:num_old] > earlier.classes.counts)
        _start_from(found, earlier, classes)
    num_new = len(unique) - num_old
    total = num_new * (num_new - 1) // 2 + (num_new + len(grown)) * num_old
    keep = _Keep(found, settings)
    with progress.bar("neighbors", total=total, unit="pairs compared") as bar:

        def on_tile(num_pairs: int) -> None:
            found.num_compared += num_pairs
            bar.advance(num_pairs)

        if earlier is not None and num_old and num_new + len(grown):
            nodes = np.concatenate([grown, np.arange(num_old, len(unique))])
            for block in pairs_between(unique[:num_old], unique[nodes], thresholds[0], on_tile):
                pairs = PairBlock(left=block.left, right=nodes[block.right], similarity=block.similarity)
                is_new = pairs.right >= num_old
                keep.add(_take(pairs, is_new))
                _add_grown(found, keep, _take(pairs, ~is_new), earlier, classes)
        for block in pairs_within(unique[num_old:], thresholds[0], settings, on_tile):
            keep.add(PairBlock(left=block.left + num_old, right=block.right + num_old, similarity=block.similarity))
    return found


class _Keep:
    """Gives pairs of classes to all that gathers them."""

    def __init__(self, found: PassResult, settings: NeighborsConfig) -> None:
        self._found, self._keeps_all = found, settings.pairs == "all"
        self.cut = np.float32(settings.cosine)
        self._room = settings.max_pairs - (len(found.earlier.pairs[0]) if found.earlier is not None else 0)

    def add(self, block: PairBlock) -> None:
        """Pairs that nobody has counted yet."""
        self._found.forest.add(block.left, block.right, block.similarity)
        self._found.histogram.add(block.left, block.right, block.similarity)
        near = _take(block, block.similarity >= self.cut)
        self._found.counts.add(near.left, near.right, near.similarity)
        self.list(near)

    def list(self, near: PairBlock) -> None:
        """Pairs within the main threshold, for table ``pairs``."""
        if not self._keeps_all or not len(near):
            return
        self._found.is_truncated |= len(near) > self._room
        self._found.blocks.append(_take(near, slice(self._room)))
        self._room -= len(self._found.blocks[-1])


def _start_from(found: PassResult, earlier: Earlier, classes: Collapse) -> None:
    found.earlier = earlier
    old = np.zeros(len(classes.first), np.int64)
    old[: len(earlier.classes.counts)] = earlier.classes.counts
    found.replaced = PairHistogram(found.thresholds, counts=old)
    found.forest.add(earlier.links.left, earlier.links.right, earlier.links.similarity)
    found.counts.start_from(earlier.num_others, earlier.nearest, earlier.similarity)


def _add_grown(found: PassResult, keep: _Keep, pairs: PairBlock, earlier: Earlier, classes: Collapse) -> None:
    """Pairs of old classes, right one that gained copies: known as a link and as nearest, but counting more images now."""
    assert found.replaced is not None
    pairs = _take(pairs, pairs.left != pairs.right)
    near = _take(pairs, pairs.similarity >= keep.cut)
    gained = classes.counts[: len(earlier.classes.counts)] - earlier.classes.counts
    found.counts.add_copies(near.left, gained[near.right])
    # Where both gained copies, the pair comes from either side.
    once = _take(pairs, (gained[pairs.left] == 0) | (pairs.left < pairs.right))
    left, right = np.minimum(once.left, once.right), np.maximum(once.left, once.right)
    found.histogram.add(left, right, once.similarity)
    found.replaced.add(left, right, once.similarity)
    is_near = once.similarity >= keep.cut
    keep.list(PairBlock(left=left[is_near], right=right[is_near], similarity=once.similarity[is_near]))


def _take(block: PairBlock, which: NDArray[np.bool_] | slice) -> PairBlock:
    return PairBlock(left=block.left[which], right=block.right[which], similarity=block.similarity[which])
