"""From classes of equal images to different files, and from pairs of files to pairs of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scanner.leak.matching import Matched
from scanner.leak.partners import Members, Pairs, spread
from scanner.leak.stored import ImageFacts
from scanner.search.collapse import Collapse, collapse
from scanner.sources.originals import FileRef


class FileSet:
    """The different files among images of one set, numbered in the order of their first image.

    Attributes:
        facts: of the images.
        images: image ids of each file.
        pixels: int64 (f,) width x height.
        side: goes before the names of datasets, as two runs may use one.
    """

    def __init__(self, facts: ImageFacts, *, side: str) -> None:
        classes = Collapse.from_labels(facts.file)
        self.facts, self.side = facts, side
        self._first, self._file = classes.first, classes.inverse
        self.images = Members.of(classes.inverse, facts.image_id, len(classes.first))
        self.pixels = facts.pixels[classes.first]

    def __len__(self) -> int:
        return len(self._first)

    def of(self, classes: Members) -> Members:
        """The files of each class of images."""
        group = np.repeat(np.arange(len(classes.sizes)), classes.sizes)
        return Members.of(group, self._file[self.facts.rows_of(classes.members)], len(classes.sizes))

    def refs(self, files: NDArray[np.int64]) -> list[FileRef]:
        """Where they lie."""
        return self.facts.files(self._first[files], side=self.side)

    def keys(self) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """What tells them apart, (f, 56) bytes, and (f,) whether it does: without a digest a file equals no other."""
        return self.facts.file_keys()[self._first], self.facts.has_digest[self._first]


def same_file(pairs: Pairs, left: FileSet, right: FileSet) -> NDArray[np.bool_]:
    """bool (k,) of pairs of files: whether both sets hold the very file."""
    keys, has = (np.concatenate(list(both)) for both in zip(left.keys(), right.keys(), strict=True))
    labels = collapse(keys, missing=~has).labels
    same: NDArray[np.bool_] = labels[pairs.left] == labels[len(left) + pairs.right]
    return same


def file_pairs(matched: Matched, left: FileSet, right: FileSet, most: int) -> tuple[Pairs, bool]:
    """Pairs of files of paired classes, each once with the best cosine it comes with; and whether some were left out."""
    pairs = matched.pairs
    found = spread(pairs.left, pairs.right, left.of(matched.left), right.of(matched.right), most)
    order = np.argsort(found.pair, kind="stable")
    _, first = np.unique(found.left[order] * len(right) + found.right[order], return_index=True)
    chosen = order[first]
    files = Pairs(left=found.left[chosen], right=found.right[chosen], similarity=pairs.similarity[found.pair[chosen]])
    return files, len(found) < found.num_possible or matched.num_pairs > len(pairs)


def image_pairs(
    order: NDArray[np.int64], pairs: Pairs, left: FileSet, right: FileSet, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], bool]:
    """Pairs of images of pairs of files, by ascending ids.

    Args:
        order: positions of the pairs of files that count, the strongest first.

    Returns:
        Image ids here and there, the pair of files that each comes from, and whether some were left out.
    """
    found = spread(pairs.left[order], pairs.right[order], left.images, right.images, most)
    by_id = np.lexsort((found.right, found.left))
    return found.left[by_id], found.right[by_id], order[found.pair[by_id]], len(found) < found.num_possible


def by_strength(ranks: Sequence[NDArray[np.generic]]) -> NDArray[np.int64]:
    """Positions by the first of several orders, ties by the next."""
    order: NDArray[np.int64] = np.lexsort(tuple(reversed(ranks)))
    return order
