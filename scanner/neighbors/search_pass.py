"""One pass over all pairs above the lowest threshold asked for, and what it leaves for the tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import NeighborsConfig
from scanner.core.progress import Progress
from scanner.neighbors.counts import NeighborCounts
from scanner.search import join, threshold
from scanner.search.collapse import Collapse
from scanner.search.forest import PairHistogram, SpanningForest
from scanner.search.threshold import PairBlock

SEARCHES = {"join": join.join_pairs, "faiss-flat": threshold.threshold_pairs}
"""Of ``neighbors.search``. All give the same pairs, but for those within 1e-6 of the threshold."""


@dataclass(kw_only=True)
class PassResult:
    """Everything that the pairs are needed for, so that they are never all in memory.

    ``forest`` answers for every threshold, ``histogram`` counts pairs at each, ``counts`` holds neighbours at the main one;
    ``blocks`` are the pairs of classes within the main threshold, kept only where every pair was asked for, up to max_pairs.
    """

    forest: SpanningForest
    histogram: PairHistogram
    counts: NeighborCounts
    blocks: list[PairBlock]
    is_truncated: bool = False


def search_memory(num_rows: int, dim: int, settings: NeighborsConfig) -> int:
    """Upper estimate of the bytes that the search holds beside the embeddings."""
    return join.estimate_memory(num_rows, dim) if settings.search == "join" else threshold.estimate_memory(num_rows, dim)


def search_pass(unique: NDArray[np.float16], classes: Collapse, settings: NeighborsConfig, progress: Progress) -> PassResult:
    """One pass at the lowest threshold asked for: links for all of them, counts at the main one."""
    thresholds = sorted({settings.cosine, *settings.report_thresholds})
    cut = np.float32(settings.cosine)
    found = PassResult(
        forest=SpanningForest(len(unique)),
        histogram=PairHistogram(thresholds, counts=classes.counts),
        counts=NeighborCounts(classes.counts),
        blocks=[],
    )
    room, num_compared = settings.max_pairs, len(unique) * (len(unique) - 1) // 2
    with progress.bar("neighbors", total=num_compared, unit="pairs compared") as bar:
        for block in SEARCHES[settings.search](unique, thresholds[0], on_tile=bar.advance):
            found.forest.add(block.left, block.right, block.similarity)
            found.histogram.add(block.left, block.right, block.similarity)
            near = block.similarity >= cut
            within = PairBlock(left=block.left[near], right=block.right[near], similarity=block.similarity[near])
            if not len(within):
                continue
            found.counts.add(within.left, within.right, within.similarity)
            if settings.pairs == "all":
                found.is_truncated |= len(within) > room
                kept = PairBlock(left=within.left[:room], right=within.right[:room], similarity=within.similarity[:room])
                room -= len(kept)
                found.blocks.append(kept)
    return found
