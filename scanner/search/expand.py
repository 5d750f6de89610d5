"""From pairs of classes to pairs of images. Left is the smaller position, always."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from scanner.search.collapse import Collapse
from scanner.search.threshold import PairBlock

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def spanning_links(classes: Collapse, links: PairBlock, threshold: float) -> Pairs:
    """Links that span every group: those of the forest at ``threshold``, and from each class's first image to its copies."""
    kept = links.similarity >= np.float32(threshold)
    copies = np.flatnonzero(classes.labels != np.arange(len(classes.labels)))
    left = np.concatenate([classes.first[links.left[kept]], classes.labels[copies]])
    right = np.concatenate([classes.first[links.right[kept]], copies])
    return left, right


def image_pairs(blocks: Iterable[PairBlock], classes: Collapse, *, limit: int, num_known: int = 0) -> tuple[Pairs, bool]:
    """Every pair of images behind pairs of classes, and of copies within a class, up to ``limit``.

    Pairs among the first ``num_known`` images are known already and are left out.

    Returns:
        The pairs: two int64 (m,), m <= limit.
        Whether there were more. Counted before anything is expanded: the copies of one image are a square of pairs.
    """
    lefts, rights = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    room = limit
    for left, right in _pieces(blocks, classes):
        if num_known:
            is_new = np.maximum(left, right) >= num_known
            left, right = left[is_new], right[is_new]
        lefts.append(np.minimum(left, right)[:room])
        rights.append(np.maximum(left, right)[:room])
        if len(left) > room:
            return (np.concatenate(lefts), np.concatenate(rights)), True
        room -= len(left)
    return (np.concatenate(lefts), np.concatenate(rights)), False


def _pieces(blocks: Iterable[PairBlock], classes: Collapse) -> Iterator[Pairs]:
    """Pairs of images in pieces of which none is larger than a block or a row of copies."""
    members = np.argsort(classes.inverse, kind="stable")
    starts = np.concatenate([[0], np.cumsum(classes.counts)])
    for block in blocks:
        is_single = (classes.counts[block.left] == 1) & (classes.counts[block.right] == 1)
        yield classes.first[block.left[is_single]], classes.first[block.right[is_single]]
        for i, j in zip(block.left[~is_single].tolist(), block.right[~is_single].tolist(), strict=True):
            others = members[starts[j] : starts[j + 1]]
            for image in members[starts[i] : starts[i + 1]].tolist():
                yield np.full(len(others), image), others
    for c in np.flatnonzero(classes.counts > 1).tolist():
        copies = members[starts[c] : starts[c + 1]]
        for position, image in enumerate(copies[:-1].tolist(), start=1):
            yield np.full(len(copies) - position, image), copies[position:]
