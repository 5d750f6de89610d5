"""Which images of one scanned set are within a cosine of which of another: slab by slab, copies first, bounded partners.

The other set is held whole, in memory or on disk; this one passes in slabs of whole parts, as many as memory allows, so it may
have any size. In each slab copies collapse to a row, the rows are joined with those of the other set, and pairs stay by
``partners``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import ComputeConfig, RunConfig
from scanner.core.memory import allowed_bytes
from scanner.core.progress import Progress
from scanner.core.store import Part
from scanner.leak.journal import Journal
from scanner.leak.partners import BestPartners, Members, Pairs
from scanner.leak.stored import StoredSet
from scanner.search import searches
from scanner.search.audit import Recall, mean_recall
from scanner.search.collapse import Collapse
from scanner.search.copies import find_copies
from scanner.search.join import ThresholdJoin
from scanner.search.scratch import release, scratch_matrix

log = logging.getLogger("scanner.leak")

BLOCK_ROWS = 65_536
SLAB_SHARE = 4
"""A slab takes this part of the memory allowed, at most; what is joined with it and the join itself take the rest."""
ROW_BYTES = 128
"""Of a row of a slab beside its vector: digest, id, class; assumed."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Matched:
    """Classes of equal images of both sets and the pairs between them.

    Attributes:
        left, right: image ids of each class that has a pair.
        pairs: of classes, best first.
        num_pairs: pairs of classes within the threshold; more than ``pairs`` where some were left out.
        search: what found them; ``num_compared`` pairs of classes for it.
        recall: of a search in cells, None where all pairs were compared.
    """

    left: Members
    right: Members
    pairs: Pairs
    num_pairs: int
    search: str = ""
    num_compared: int = 0
    recall: Recall | None = None


class Gathered:
    """Pairs of one slab after another, with the classes of this set that have one.

    Args:
        most: partners kept of either end.
    """

    def __init__(self, most: int) -> None:
        self._best = BestPartners(most)
        self._class: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        self._members: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        self._num_classes = 0
        self.num_pairs = 0

    def add(self, slab: dict[str, NDArray[Any]]) -> None:
        """What ``slab_arrays`` made of a slab."""
        self._best.add(Pairs(left=slab["left"] + self._num_classes, right=slab["right"], similarity=slab["similarity"]))
        self._class.append(slab["member_class"] + self._num_classes)
        self._members.append(slab["member"])
        self._num_classes += int(slab["num_classes"])
        self.num_pairs += int(slab["num_pairs"])

    def finish(self) -> tuple[Members, Pairs]:
        """Members of the classes of this set, and the pairs that stay."""
        members = Members.of(np.concatenate(self._class), np.concatenate(self._members), self._num_classes)
        return members, self._best.finish()


def slab_arrays(image_id: NDArray[np.int64], classes: Collapse, best: BestPartners) -> dict[str, NDArray[Any]]:
    """Of a slab: its pairs, with those of its classes that have one numbered from 0, and what images those are."""
    pairs = best.finish()
    matched, left = np.unique(pairs.left, return_inverse=True)
    number = np.full(len(classes.first), -1, np.int64)
    number[matched] = np.arange(len(matched))
    member_class = number[classes.inverse]
    has = member_class >= 0
    return {
        "left": left.astype(np.int64), "right": pairs.right, "similarity": pairs.similarity, "member": image_id[has],
        "member_class": member_class[has], "num_classes": np.array(len(matched)), "num_pairs": np.array(best.num_added),
    }  # fmt: skip


def match(
    here: StoredSet, there: StoredSet, threshold: float, config: RunConfig, progress: Progress, journal: Journal
) -> Matched:
    """Pairs of images of two sets at or above ``threshold``, by classes of equal ones.

    Raises:
        ConfigError, StoreError: memory or scratch space is too small, or tables are damaged.
    """
    return _Pass(here, there, threshold, config, progress, journal).all_slabs()


class _Pass:
    """One call of ``match``. ``_rows`` is one matrix: the distinct rows of the other set first, then those of the slab."""

    def __init__(
        self, here: StoredSet, there: StoredSet, threshold: float, config: RunConfig, progress: Progress, journal: Journal
    ) -> None:
        self.here, self.threshold, self.config, self.progress, self.journal = here, threshold, config, progress, journal
        self.most = config.leak.max_partners
        self.name = searches.chosen_between(config.neighbors, here.num_embedded, there.num_embedded)
        compute, dim = config.compute, max(1, here.dim)
        self.slabs = here.slabs(max(1, allowed_bytes(compute.memory) // SLAB_SHARE // (2 * dim + ROW_BYTES)))
        theirs = _matrix(there.num_embedded, dim, compute)
        ids, classes = _read(there, there.manifests["embeddings"].parts, theirs, threshold, config)
        self.num_right = len(classes.first)
        self.right = Members.of(classes.inverse, ids, self.num_right)
        largest = max((sum(part.num_rows for part in slab) for slab in self.slabs), default=0)
        self._rows = _matrix(self.num_right + largest, dim, compute)
        _gather(self._rows, theirs, classes.first)
        sample = np.random.default_rng([config.neighbors.seed, 6]).permutation(self.num_right)[: config.neighbors.audit_rows]
        self._sample = np.sort(sample)
        self._place = np.full(self.num_right, -1, np.int64)
        self._place[self._sample] = np.arange(len(sample))
        log.info(
            "%d images here in %d slabs, %d there (%d after collapsing equal ones), %s; the search (%s) holds about %.1f GiB",
            here.num_embedded, len(self.slabs), there.num_embedded, self.num_right,
            "on disk" if isinstance(self._rows, np.memmap) else "in memory", self.name,
            (self._rows.nbytes + searches.memory(self.name, len(self._rows), dim, compute)) / 2**30,
        )  # fmt: skip

    def all_slabs(self) -> Matched:
        gathered, num_compared = Gathered(self.most), 0
        num_true, num_found = np.zeros(len(self._sample), np.int64), np.zeros(len(self._sample), np.int64)
        for slab in self.slabs if self.num_right else []:
            name = f"slab-{slab[0].index}-{slab[-1].index}"
            arrays = self.journal.read(name)
            if arrays is None:
                arrays = self._slab(slab)
                self.journal.write(name, **arrays)
            gathered.add(arrays)
            num_true += arrays["num_true"]
            num_found += arrays["num_found"]
            num_compared += int(arrays["num_compared"])
        left, pairs = gathered.finish()
        used, right = np.unique(pairs.right, return_inverse=True)
        has = num_true > 0
        return Matched(
            left=left, right=self.right.take(used), num_pairs=gathered.num_pairs, search=self.name, num_compared=num_compared,
            pairs=Pairs(left=pairs.left, right=right.astype(np.int64), similarity=pairs.similarity),
            recall=mean_recall(num_found[has] / num_true[has]) if self.name == "cells" else None,
        )  # fmt: skip

    def _slab(self, slab: Sequence[Part]) -> dict[str, NDArray[Any]]:
        ids, classes = _read(self.here, slab, self._rows[self.num_right :], self.threshold, self.config)
        # In place: the rows that stand for classes are ascending, so none is overwritten before it is read.
        _gather(self._rows[self.num_right :], self._rows[self.num_right :], classes.first)
        stop = self.num_right + len(classes.first)
        x, y = self._rows[self.num_right : stop], self._rows[: self.num_right]
        num_true, num_found, num_compared = np.zeros(len(self._sample), np.int64), np.zeros(len(self._sample), np.int64), 0
        if self.name == "cells":
            search = searches.between_in_cells(
                self._rows[:stop], self.num_right, self.threshold, self.config.neighbors, self.config.compute
            )
            num_true += self._sampled(x, y)
        else:
            search = searches.between(x, y, self.threshold, self.config.compute)
        best = BestPartners(self.most)
        with self.progress.bar("leak", total=search.total, unit=search.unit) as bar:

            def on_tile(num_pairs: int) -> None:
                nonlocal num_compared
                num_compared += num_pairs
                bar.advance(num_pairs)

            for block in search.blocks(on_tile):
                best.add(Pairs(left=block.left, right=block.right, similarity=block.similarity))
                num_found += self._counted(self._place[block.right])
        return slab_arrays(ids, classes, best) | {
            "num_true": num_true, "num_found": num_found, "num_compared": np.array(num_compared),
        }  # fmt: skip

    def _sampled(self, x: NDArray[np.float16], y: NDArray[np.float16]) -> NDArray[np.int64]:
        """Of each sampled row of the other set, how many rows here it has a pair with; for the audit."""
        seed = self.config.neighbors.seed + 1
        join = ThresholdJoin(x=x, y=np.asarray(y[self._sample]), threshold=self.threshold, is_exact=True, seed=seed)
        found = np.zeros(len(self._sample), np.int64)
        for block in join.blocks():
            found += self._counted(block.right)
        return found

    def _counted(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.bincount(places[places >= 0], minlength=len(self._sample))


def _matrix(num_rows: int, dim: int, compute: ComputeConfig) -> NDArray[np.float16]:
    """In memory, or on disk where it is a third of it."""
    if 3 * 2 * num_rows * dim > allowed_bytes(compute.memory):
        return scratch_matrix(compute.scratch, num_rows=num_rows, dim=dim)
    return np.empty((num_rows, dim), np.float16)


def _read(
    stored: StoredSet, parts: Sequence[Part], out: NDArray[np.float16], threshold: float, config: RunConfig
) -> tuple[NDArray[np.int64], Collapse]:
    """Vectors of some parts to the first rows of ``out``; their image ids, and the classes of equal ones."""
    start = 0
    ids, digests, has = [np.empty(0, np.int64)], [np.empty((0, 32), np.uint8)], [np.empty(0, bool)]
    for part in parts:
        rows = stored.read(part)
        out[start : start + len(rows.image_id)] = rows.vectors
        release(out)
        start += len(rows.image_id)
        ids.append(rows.image_id)
        digests.append(rows.sha256)
        has.append(rows.has_sha256 & config.neighbors.collapse_sha256)
    copies = find_copies(out[:start], np.concatenate(digests), np.concatenate(has), threshold=threshold)
    return np.concatenate(ids), copies.classes()


def _gather(out: NDArray[np.float16], x: NDArray[np.float16], rows: NDArray[np.int64]) -> None:
    """Rows of ``x`` to the first rows of ``out``, block by block."""
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        out[start : start + len(block)] = x[block]
        release(x)
        release(out)
