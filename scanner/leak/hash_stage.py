"""A run compared with a list of perceptual hashes: every image with every line, by the bits that differ."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from scanner.core.config import RunConfig
from scanner.core.progress import Progress
from scanner.core.schemas import arrow_schema
from scanner.core.store import Store
from scanner.leak.hash_list import HashList
from scanner.leak.hashes import PDQ_VERSION, HashedPart, Hashes
from scanner.leak.matching import Gathered, slab_arrays
from scanner.leak.partners import BestPartners, Members, Pairs, Spread, spread
from scanner.leak.records import Comparison, Other, commit, covered, key_of, known
from scanner.leak.result import LeakFacts, LeakResult, count_kinds
from scanner.leak.stored import manifest_of, read_facts
from scanner.search.collapse import Collapse, collapse
from scanner.search.hamming import hamming_blocks
from scanner.sources.base import Source

if TYPE_CHECKING:
    import pyarrow as pa


NUM_RECORDED = 100
"""Unusable lines that the table's metadata name, at most."""


def run(
    store: Store, config: RunConfig, sources: Mapping[str, Source], other: Other, listed: HashList, progress: Progress
) -> LeakResult:
    """Compares the images of a run with ``listed`` and commits what was found, of kind ``unverified``.

    Args:
        sources: those of the run that are at hand; a list of PDQ needs them.

    Raises:
        StoreError: the run has no images, or they are needed again and not at hand.
    """
    start = time.perf_counter()
    settings = config.leak
    is_pdq = listed.kind == "pdq"
    max_distance = settings.max_pdq_distance if is_pdq else settings.max_phash_distance
    content = [listed.kind, listed.line.tolist(), listed.text, [[one.line, one.reason] for one in listed.unusable]]
    how = [settings.min_pdq_quality, PDQ_VERSION] if is_pdq else []
    key = key_of(covered(store, "hashes"), content, max_distance, settings.max_partners, how)
    earlier = known(store, other, key)
    if earlier is not None:
        return earlier
    classes = collapse(listed.words)
    gathered, num_left, num_left_out = Gathered(settings.max_partners), 0, 0
    num_images = manifest_of(store, "images").num_rows
    with Hashes(store, config, sources, listed.kind) as hashes, progress.bar("leak", total=num_images, unit="images") as bar:
        for part in hashes.parts(bar):
            _compare(part, listed, classes, max_distance, gathered, settings.max_partners)
            num_left += len(part.image_id)
            num_left_out += part.num_left_out
    left, pairs = gathered.finish()
    right = Members.of(classes.inverse, np.arange(len(classes.inverse)), len(classes.first))
    found = spread(pairs.left, pairs.right, left, right, settings.max_partners)
    rows = _rows(store, found, pairs, listed, other)
    facts = LeakFacts(
        by_kind=count_kinds(rows),
        num_left_found=len(np.unique(rows["left_id"].to_numpy())),
        num_right_found=len(np.unique(rows["right_id"].to_numpy())),
        num_pairs=gathered.num_pairs,
        num_left_unusable=num_left_out,
        num_failed=hashes.num_failed,
        is_truncated=len(found) < found.num_possible or gathered.num_pairs > len(pairs),
        notes=tuple(_notes(hashes, num_left_out, listed)),
    )
    of = Comparison(
        form="hashes", num_left=num_left, num_right=len(listed.line), num_right_unusable=len(listed.unusable),
        max_hash_distance=max_distance,
    )  # fmt: skip
    return commit(store, other, of, rows, facts, key=key, part_rows=config.store.part_rows, seconds=time.perf_counter() - start)


def _compare(part: HashedPart, listed: HashList, classes: Collapse, max_distance: int, gathered: Gathered, most: int) -> None:
    """Adds the pairs of a part: equal hashes of either side are compared once."""
    own = collapse(part.words)
    best = BestPartners(most)
    for block in hamming_blocks(part.words[own.first], listed.words[classes.first], max_distance):
        best.add(Pairs(left=block.left, right=block.right, similarity=-block.distance.astype(np.float32)))
    gathered.add(slab_arrays(part.image_id, own, best))


def _rows(store: Store, found: Spread, pairs: Pairs, listed: HashList, other: Other) -> pa.Table:
    """Table ``leaks``, by ascending image and line."""
    import pyarrow as pa

    order = np.lexsort((found.right, found.left))
    left_id, place, pair = found.left[order], found.right[order], found.pair[order]
    images = read_facts(store, left_id)
    columns = {
        "left_dataset": images.column("dataset").take(pa.array(images.rows_of(left_id))),
        "left_id": left_id,
        "right_dataset": pa.array([other.name] * len(pair), pa.string()),
        "right_id": listed.line[place],
        "right_key": pa.array(listed.text, pa.string()).take(pa.array(place)),
        "role": pa.array([other.role] * len(pair), pa.string()),
        "similarity": pa.nulls(len(pair), pa.float32()),
        "hash_distance": (-pairs.similarity[pair]).astype(np.int64),
        "kind": pa.array(["unverified"] * len(pair), pa.string()),
        "confidence": pa.nulls(len(pair), pa.float32()),
    }
    return pa.table(columns).cast(arrow_schema("leaks"))


def _notes(hashes: Hashes, num_left_out: int, listed: HashList) -> list[str]:
    found = []
    if num_left_out:
        why = "of low quality, or not to be read again" if listed.kind == "pdq" else "blank, or without a hash"
        found.append(f"{num_left_out:,} images here did not take part: {why}")
    if hashes.num_failed:
        found.append(f"{hashes.num_failed:,} files could not be read again, for example: {hashes.last_failure}")
    if listed.unusable:
        lines = ", ".join(str(one.line) for one in listed.unusable[:NUM_RECORDED])
        more = len(listed.unusable) - NUM_RECORDED
        found.append(f"unusable lines of the list: {lines}{f' and {more:,} more' if more > 0 else ''}")
    return found
