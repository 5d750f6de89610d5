"""A second opinion on pairs of files of two sets: decoded, laid over one another, and given a kind, as in verification."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import VerifyConfig
from scanner.core.progress import Bar
from scanner.images.looks import Reader
from scanner.images.relation import NEAR, TEMPLATE, Limits, compare_files, confidence
from scanner.leak.files import FileSet, same_file
from scanner.leak.journal import Journal
from scanner.leak.partners import Pairs
from scanner.search.forest import components
from scanner.sources.originals import FileRef

KINDS = ("exact", "near", "semantic", "unverified", "refuted")
"""The strongest first; what is refuted is another picture and goes into no table."""
EXACT, ALTERED, SEMANTIC, UNVERIFIED, REFUTED = range(5)
CHUNK_PAIRS = 32_768
"""Pairs after which a stopped comparison need not look again."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Verdicts:
    """Of pairs of files: int8 (k,) position in ``KINDS``, and float32 (k,) confidence, NaN but for kind near."""

    kind: NDArray[np.int8]
    confidence: NDArray[np.float32]


def judge(
    pairs: Pairs,
    left: FileSet,
    right: FileSet,
    reader: Reader[FileRef] | None,
    settings: VerifyConfig,
    journal: Journal,
    bar: Bar,
) -> Verdicts:
    """The kind of each pair of files. The very file is exact and not decoded; of a pair the one of more pixels leads.

    Args:
        reader: of both sets; None where no pixels are to be looked at.
    """
    kind = np.full(len(pairs), UNVERIFIED, np.int8)
    sure = np.full(len(pairs), np.nan, np.float32)
    is_same = same_file(pairs, left, right)
    kind[is_same] = EXACT
    bar.advance(int(is_same.sum()))
    if reader is None:
        bar.advance(int((~is_same).sum()))
        return Verdicts(kind=kind, confidence=sure)
    # Files that share a component lie together, so that nearly all are decoded once.
    component = components(len(left) + len(right), pairs.left, pairs.right + len(left))
    order = np.lexsort((pairs.left, pairs.right, component[pairs.left]))
    order = order[~is_same[order]]
    limits, step = Limits.of(settings), max(1, settings.block_images // 2)
    for start in range(0, len(order), CHUNK_PAIRS):
        chunk = order[start : start + CHUNK_PAIRS]
        known = journal.read(f"verdicts-{start}")
        if known is None:
            blocks = [
                _look(pairs.take(chunk[i : i + step]), left, right, reader, limits, bar) for i in range(0, len(chunk), step)
            ]
            known = {
                "kind": np.concatenate([block.kind for block in blocks]),
                "confidence": np.concatenate([block.confidence for block in blocks]),
            }
            journal.write(f"verdicts-{start}", **known)
        else:
            bar.advance(len(chunk))
        kind[chunk], sure[chunk] = known["kind"], known["confidence"]
    return Verdicts(kind=kind, confidence=sure)


def _look(pairs: Pairs, left: FileSet, right: FileSet, reader: Reader[FileRef], limits: Limits, bar: Bar) -> Verdicts:
    """Of a block: at most twice as many files as pairs."""
    here, a = np.unique(pairs.left, return_inverse=True)
    there, b = np.unique(pairs.right, return_inverse=True)
    files = [*left.refs(here), *right.refs(there)]
    looks = reader.looks(files, max_in_memory=len(files))
    b = b + len(here)
    kind = np.full(len(pairs), UNVERIFIED, np.int8)
    sure = np.full(len(pairs), np.nan, np.float32)
    is_read = looks.is_read[a] & looks.is_read[b]
    digests = looks.pixel_digest
    is_equal = np.array([digests[i] == digests[j] for i, j in zip(a.tolist(), b.tolist(), strict=True)], bool) & is_read
    kind[is_equal] = EXACT
    rest = np.flatnonzero(is_read & ~is_equal)
    is_larger = left.pixels[pairs.left[rest]] > right.pixels[pairs.right[rest]]
    members, leaders = np.where(is_larger, b[rest], a[rest]), np.where(is_larger, a[rest], b[rest])
    is_blank, aspect = np.array([file.is_blank for file in files]), np.array([file.aspect for file in files], np.float64)
    found = compare_files(looks.pixels, is_blank, aspect, members, leaders, limits)
    kind[rest] = np.select([found.relation == NEAR, found.relation == TEMPLATE], [ALTERED, SEMANTIC], REFUTED)
    is_near = found.relation == NEAR
    sure[rest[is_near]] = confidence(found.distance[is_near])
    bar.advance(len(pairs))
    return Verdicts(kind=kind, confidence=sure)
