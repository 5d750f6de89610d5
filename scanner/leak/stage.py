"""A run compared with another run: pairs by their vectors, a second opinion by their pixels, rows of ``leaks``.

1. Images of both sets within the threshold, copies collapsed, partners bounded. 2. The different files among them, in pairs.
3. Each pair decoded and laid over one another: a kind, or refuted. 4. Pairs of images again, strongest first where they are many.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scanner.core.config import RunConfig
from scanner.core.progress import Progress
from scanner.core.schemas import arrow_schema
from scanner.core.store import Store
from scanner.images.looks import Reader
from scanner.leak.files import FileSet, by_strength, file_pairs, image_pairs
from scanner.leak.journal import Journal
from scanner.leak.matching import Matched, match
from scanner.leak.partners import Pairs
from scanner.leak.records import Comparison, Other, commit, key_of, known
from scanner.leak.result import LeakFacts, LeakResult, count_kinds
from scanner.leak.stored import StoredSet, check_encoders, read_facts
from scanner.leak.verdicts import ALTERED, KINDS, REFUTED, Verdicts, judge
from scanner.sources.base import Source
from scanner.sources.originals import FileRef, Originals

if TYPE_CHECKING:
    import pyarrow as pa

HERE, THERE = "this set: ", "other set: "
"""Before the names of datasets: two runs may use one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherRun:
    """The run that is compared with: its store, and those of its sources that are at hand."""

    other: Other
    store: Store
    sources: Mapping[str, Source]


def run(store: Store, config: RunConfig, sources: Mapping[str, Source], against: OtherRun, progress: Progress) -> LeakResult:
    """Compares the run with ``against`` and commits what was found.

    Args:
        sources: those of the run that are at hand.

    Raises:
        StoreError: a table of one of the scans is not there.
        EncoderError: the vectors of the two are not of one encoder.
        ConfigError: memory is too small.
    """
    start = time.perf_counter()
    here, there = StoredSet(store), StoredSet(against.store)
    warning = check_encoders(here, there)
    settings = config.leak
    looks_again = config.verify.enabled and _has_images(sources) and _has_images(against.sources)
    threshold = _threshold(config, looks_again=looks_again)
    search = [config.neighbors.search, config.neighbors.recall, config.neighbors.collapse_sha256, config.neighbors.seed]
    how = [config.verify.model_dump(mode="json"), config.images.model_dump(mode="json")] if looks_again else "not looked at"
    key = key_of(here.fingerprints, there.fingerprints, threshold, settings.max_partners, search, how)
    earlier = known(store, against.other, key)
    if earlier is not None:
        return earlier
    if warning:
        progress.say(f"leak: {warning}")
    journal = Journal(store, against.other.name, key)
    matched = match(here, there, threshold, config, progress, journal)
    left = FileSet(read_facts(store, matched.left.members), side=HERE)
    right = FileSet(read_facts(against.store, matched.right.members), side=THERE)
    pairs, is_truncated = file_pairs(matched, left, right, settings.max_partners)
    originals = Originals({HERE + n: s for n, s in sources.items()} | {THERE + n: s for n, s in against.sources.items()})
    reader: Reader[FileRef] = Reader(originals, config.images, config.compute)
    with reader, progress.bar("compare", total=len(pairs), unit="pairs of files") as bar:
        verdicts = judge(pairs, left, right, reader if looks_again else None, config.verify, journal, bar)
    rows, is_cut = leak_rows(pairs, verdicts, left, right, against.other, settings.max_partners)
    notes = [warning] if warning else []
    if len(pairs) and not looks_again:
        notes.append(_why_unlooked(config, sources, against))
    if reader.num_failed:
        notes.append(f"{reader.num_failed:,} files could not be read again, for example: {reader.last_failure}")
    facts = _facts(
        rows, matched, verdicts, config, num_failed=reader.num_failed, is_truncated=is_truncated or is_cut, notes=tuple(notes)
    )
    of = Comparison(
        form="run", num_left=here.num_embedded, num_right=there.num_embedded,
        num_right_unusable=there.num_images - there.num_embedded, threshold=threshold,
    )  # fmt: skip
    result = commit(
        store, against.other, of, rows, facts, key=key, part_rows=config.store.part_rows, seconds=time.perf_counter() - start
    )
    journal.remove()
    return result


def leak_rows(pairs: Pairs, verdicts: Verdicts, left: FileSet, right: FileSet, other: Other, most: int) -> tuple[pa.Table, bool]:
    """Table ``leaks`` of judged pairs of files, by ascending ids; and whether some partners are not listed."""
    import pyarrow as pa

    stays = np.flatnonzero(verdicts.kind != REFUTED)
    doubt = np.where(verdicts.kind == ALTERED, 1 - verdicts.confidence, 0)[stays]
    order = stays[by_strength([verdicts.kind[stays], doubt, -pairs.similarity[stays], pairs.left[stays], pairs.right[stays]])]
    left_id, right_id, pair, is_cut = image_pairs(order, pairs, left, right, most)
    sure = np.where(verdicts.kind == ALTERED, verdicts.confidence, np.float32(np.nan))[pair]
    columns = {
        "left_dataset": left.facts.column("dataset").take(pa.array(left.facts.rows_of(left_id))),
        "left_id": left_id,
        "right_dataset": pa.array([other.name] * len(pair), pa.string()),
        "right_id": right_id,
        "right_key": right.facts.column("key").take(pa.array(right.facts.rows_of(right_id))),
        "role": pa.array([other.role] * len(pair), pa.string()),
        "similarity": pairs.similarity[pair],
        "hash_distance": pa.nulls(len(pair), pa.int64()),
        "kind": pa.array([KINDS[kind] for kind in verdicts.kind[pair].tolist()], pa.string()),
        "confidence": pa.array(sure, pa.float32(), mask=np.isnan(sure)),
    }
    return pa.table(columns).cast(arrow_schema("leaks")), is_cut


def _facts(
    rows: pa.Table,
    matched: Matched,
    verdicts: Verdicts,
    config: RunConfig,
    *,
    num_failed: int,
    is_truncated: bool,
    notes: tuple[str, ...],
) -> LeakFacts:
    recall = matched.recall
    has_recall = recall is not None and recall.num_rows > 0
    if recall is not None and not has_recall:
        notes = (*notes, "the search in cells could not be audited: no sampled image of the other set has a pair")
    return LeakFacts(
        by_kind=count_kinds(rows),
        num_left_found=len(np.unique(rows["left_id"].to_numpy())),
        num_right_found=len(np.unique(rows["right_id"].to_numpy())),
        num_pairs=matched.num_pairs,
        num_refuted=int((verdicts.kind == REFUTED).sum()),
        num_failed=num_failed,
        is_truncated=is_truncated,
        search=matched.search,
        recall=recall.value if recall is not None and has_recall else None,
        recall_low=recall.low if recall is not None else 0.0,
        recall_high=recall.high if recall is not None else 1.0,
        recall_asked=config.neighbors.recall if recall is not None else 1.0,
        notes=notes,
    )


def _threshold(config: RunConfig, *, looks_again: bool) -> float:
    """Within a set pairs are chained to groups, and one wrong pair joins two. Here each stands alone and is looked at, so the
    search may go further."""
    if config.leak.threshold != "by_run":
        return config.leak.threshold
    return min(config.neighbors.cosine, *(config.neighbors.report_thresholds if looks_again else ()), 1.0)


def _has_images(sources: Mapping[str, Source]) -> bool:
    return any(source.embedding_dim is None for source in sources.values())


def _why_unlooked(config: RunConfig, sources: Mapping[str, Source], against: OtherRun) -> str:
    if not config.verify.enabled:
        return "pixels were not compared (verify.enabled is off): pairs of different files are unverified"
    side = "this set" if not _has_images(sources) else f"{against.other.name}"
    return f"the images of {side} are not at hand, so no pixels were compared: pairs of different files are unverified"
