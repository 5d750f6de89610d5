"""One pass over all pairs above the lowest threshold asked for, and what it leaves for the tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import ComputeConfig, NeighborsConfig
from scanner.core.progress import Progress
from scanner.neighbors.earlier import Earlier
from scanner.search.audit import FoundPairs, SampledTruth
from scanner.search.collapse import Collapse
from scanner.search.counts import NeighborCounts
from scanner.search.forest import PairHistogram, SpanningForest
from scanner.search.searches import Search, between, chosen, within
from scanner.search.threshold import PairBlock


@dataclass(kw_only=True)
class PassResult:
    """Everything that the pairs are needed for, so that they are never all in memory.

    ``forest`` answers for every threshold, ``histogram`` counts pairs at each, ``counts`` holds neighbours at the main one;
    ``blocks`` are the pairs of classes within the main threshold, kept only where every pair was asked for, up to max_pairs.
    ``num_compared`` counts pairs of classes that were compared; ``search`` is the one that did it, ``facts`` how it went, and
    ``found`` the pairs of sampled classes. After an incremental pass ``blocks`` are the pairs with a new image alone, and
    ``earlier`` holds the others.
    """

    thresholds: list[float]
    forest: SpanningForest
    histogram: PairHistogram
    counts: NeighborCounts
    blocks: list[PairBlock]
    is_truncated: bool = False
    num_compared: int = 0
    search: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    found: FoundPairs | None = None
    earlier: Earlier | None = None
    replaced: PairHistogram | None = None
    """Of pairs that ``earlier`` counted and ``histogram`` counts again, because one of the two has more copies now."""

    def num_pairs(self) -> NDArray[np.int64]:
        """Pairs of images at or above each threshold, copies counted; int64, in the order of ``thresholds``."""
        num_pairs = self.histogram.num_pairs()
        if self.earlier is not None and self.replaced is not None:
            num_pairs = num_pairs + self.earlier.num_pairs - self.replaced.num_pairs()
        return num_pairs


def search_pass(
    unique: NDArray[np.float16],
    classes: Collapse,
    settings: NeighborsConfig,
    compute: ComputeConfig,
    progress: Progress,
    earlier: Earlier | None = None,
    truth: SampledTruth | None = None,
) -> PassResult:
    """One pass at the lowest threshold asked for: links for all of them, counts at the main one.

    With ``earlier`` only what is new is compared: new classes with one another, and new classes and those that gained copies with
    the old ones. The result is that of a pass over all, as far as the search is one that finds all.

    Args:
        truth: sampled classes whose pairs are collected for the audit.
    """
    thresholds = sorted({settings.cosine, *settings.report_thresholds})
    found = PassResult(
        thresholds=thresholds,
        forest=SpanningForest(len(unique)),
        histogram=PairHistogram(thresholds, counts=classes.counts),
        counts=NeighborCounts(classes.counts),
        blocks=[],
        search=chosen(settings, len(unique)),
        found=FoundPairs(len(unique), truth.rows) if truth is not None else None,
    )
    if earlier is None:
        keep = _Keep(found, settings)
        for block in _blocks(found, within(found.search, unique, thresholds[0], settings, compute), progress):
            keep.add(block)
        return found

    num_old = len(earlier.classes.first)
    grown = np.flatnonzero(classes.counts[:num_old] > earlier.classes.counts)
    _start_from(found, earlier, classes)
    keep = _Keep(found, settings)
    if found.search == "cells":
        is_active = np.ones(len(unique), bool)
        is_active[:num_old] = False
        is_active[grown] = True
        for block in _blocks(found, within("cells", unique, thresholds[0], settings, compute, is_active), progress):
            is_new = block.right >= num_old
            keep.add(_take(block, is_new))
            old = _take(block, ~is_new)
            # Each end that gained copies brings the pair once, as the right one.
            for left, right in ((old.left, old.right), (old.right, old.left)):
                mine = is_active[right]
                _add_grown(
                    found, keep, PairBlock(left=left[mine], right=right[mine], similarity=old.similarity[mine]), earlier, classes
                )
        return found
    nodes = np.concatenate([grown, np.arange(num_old, len(unique))])
    if num_old and len(nodes):
        for block in _blocks(found, between(unique[:num_old], unique[nodes], thresholds[0], compute), progress):
            pairs = PairBlock(left=block.left, right=nodes[block.right], similarity=block.similarity)
            is_new = pairs.right >= num_old
            keep.add(_take(pairs, is_new))
            _add_grown(found, keep, _take(pairs, ~is_new), earlier, classes)
    for block in _blocks(found, within(found.search, unique[num_old:], thresholds[0], settings, compute), progress):
        keep.add(PairBlock(left=block.left + num_old, right=block.right + num_old, similarity=block.similarity))
    return found


def _blocks(found: PassResult, search: Search, progress: Progress) -> Iterator[PairBlock]:
    """The pairs of a search under a bar of their own."""
    with progress.bar("neighbors", total=search.total, unit=search.unit) as bar:

        def on_tile(num_pairs: int) -> None:
            found.num_compared += num_pairs
            bar.advance(num_pairs)

        yield from search.blocks(on_tile)
    found.facts = search.facts()


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
        if self._found.found is not None:
            self._found.found.add(near.left, near.right)
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
