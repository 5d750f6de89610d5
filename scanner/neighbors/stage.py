"""Neighbours and groups from the embeddings: every pair above the threshold, exactly; after the first scan, only what is new."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import NeighborsConfig, RunConfig, fingerprint
from scanner.core.progress import Progress
from scanner.core.schemas import TABLES
from scanner.core.store import Store
from scanner.neighbors.earlier import covered, read_earlier, search_key
from scanner.neighbors.groups import make_groups
from scanner.neighbors.linkage import leader_labels
from scanner.neighbors.rows import Rows, find_copies, read_rows, take_rows
from scanner.neighbors.search_pass import PassResult, search_pass
from scanner.neighbors.shape import is_chain
from scanner.neighbors.tables import (
    audit_table,
    candidate_shape_table,
    candidates_table,
    links_table,
    neighbors_table,
    pairs_table,
    thresholds_table,
)
from scanner.search import searches
from scanner.search.audit import AuditBand, SampledTruth, audit, sampled_truth
from scanner.search.collapse import Collapse

log = logging.getLogger("scanner.neighbors")

OUTPUTS = ("links", "pairs", "candidates", "candidate_shape", "thresholds", "neighbors", "audit")


@dataclass(frozen=True, kw_only=True, slots=True)
class NeighborsResult:
    """What the search found. ``is_recomputed`` is False where the committed tables already answered.

    ``searched`` says how the tables were made: ``all``, or ``incremental`` from those of an earlier scan; ``num_compared`` counts
    the pairs that were compared for it. ``search`` did it and ``facts`` say how; ``recall`` is that of the audit, of neighbours,
    with its interval, NaN where no sampled image has one.
    """

    is_recomputed: bool
    threshold: float
    num_images: int
    num_groups: int
    num_grouped: int
    largest_group: int
    seconds: float
    searched: str = "all"
    num_compared: int = 0
    search: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    recall: float = math.nan
    recall_low: float = 0.0
    recall_high: float = 1.0
    recall_asked: float = 1.0

    @property
    def is_below_recall(self) -> bool:
        """Whether the audit found fewer neighbours than were asked for; not where it found no pair to judge by."""
        return self.recall < self.recall_asked

    def search_facts(self) -> dict[str, Any]:
        """For run.yaml: the search that was chosen, how it went, and what its audit says; None where there was no pair."""
        audited = None if math.isnan(self.recall) else {"recall": self.recall, "low": self.recall_low, "high": self.recall_high}
        return {"name": self.search, "searched": self.searched, **self.facts, "recall_asked": self.recall_asked, "audit": audited}

    @property
    def images_per_s(self) -> float:
        return self.num_images / self.seconds if self.seconds else 0.0


def run(store: Store, config: RunConfig, progress: Progress) -> NeighborsResult:
    """Brings the tables up to date and commits them.

    Raises:
        StoreError: the embeddings are not there.
    """
    start, settings = time.perf_counter(), config.neighbors
    inputs = [manifest.fingerprints for table in ("images", "embeddings") if (manifest := store.manifest(table))]
    whole = fingerprint([TABLES[t].version for t in OUTPUTS], inputs, settings)
    manifests = [store.manifest(table) for table in OUTPUTS]
    if all(manifest and manifest.metadata.get("fingerprint") == whole for manifest in manifests):
        num_images = store.manifest("embeddings").num_rows  # type: ignore[union-attr]
        return _result(store, settings, num_images=num_images, is_recomputed=False, start=start)

    rows = read_rows(store, config.compute)
    classes, unique, found, truth = _search(store, rows, config, progress)
    labels = classes.first[found.forest.components(settings.cosine)][classes.inverse]
    if settings.linkage == "leader":
        labels = leader_labels(rows.vectors, labels, rows.resolution, rows.caption_length, settings.cosine)
    groups = make_groups(labels, rows.resolution, rows.caption_length)

    pairs, is_truncated = pairs_table(rows, classes, found, settings)
    tables = {
        "links": links_table(rows, classes, found),
        "pairs": pairs,
        "candidates": candidates_table(rows, groups, threshold=settings.cosine),
        "candidate_shape": candidate_shape_table(rows, groups),
        "thresholds": thresholds_table(classes, found),
        "neighbors": neighbors_table(rows, unique, classes, found, seed=settings.seed),
        "audit": audit_table(_audit(truth, found, settings)),
    }
    _tell_chains(tables["candidate_shape"]["diameter_similarity"].to_numpy(), settings)
    facts: dict[str, object] = {
        "fingerprint": whole,
        "threshold": settings.cosine,
        "search": found.search,
        "facts": found.facts,
        "linkage": settings.linkage,
        "searched": "all" if found.earlier is None else "incremental",
        "num_compared": found.num_compared,
    }
    more: dict[str, dict[str, object]] = {
        "links": {"search_key": search_key(settings), "covers": covered(store)},
        "pairs": {"is_truncated": is_truncated},
    }
    for table, content in tables.items():
        metadata = {**facts, **more.get(table, {})}
        store.write_table(table, content, fingerprint=whole, part_rows=config.store.part_rows, metadata=metadata)
    return _result(store, settings, num_images=len(rows.image_id), is_recomputed=True, start=start)


def _search(
    store: Store, rows: Rows, config: RunConfig, progress: Progress
) -> tuple[Collapse, NDArray[np.float16], PassResult, SampledTruth]:
    """Classes of copies, the vector of each, what a search found, and the truth of sampled classes.

    Only what is new is searched where earlier tables answer for the rest.
    """
    settings = config.neighbors
    copies = find_copies(rows, settings)
    classes = copies.classes()
    unique = rows.vectors if len(classes.first) == len(rows.vectors) else take_rows(rows.vectors, classes.first, config.compute)
    earlier, reason = read_earlier(store, rows, copies, settings) if config.compute.incremental else (None, "")
    name = searches.chosen(settings, len(classes.first))
    log.info(
        "%d images, %d of them new, %d after collapsing equal ones; the search (%s) holds about %.1f GiB",
        len(rows.image_id),
        len(rows.image_id) - (earlier.num_rows if earlier else 0),
        len(classes.first),
        name,
        (rows.vectors.nbytes + searches.memory(name, len(classes.first), rows.vectors.shape[1], config.compute)) / 2**30,
    )
    truth = sampled_truth(unique, settings.cosine, seed=settings.seed, num_rows=settings.audit_rows)
    if earlier is not None:
        found = search_pass(unique, classes, settings, config.compute, progress, earlier, truth)
        if settings.pairs == "spanning" or not _is_truncated(found, settings):
            return classes, unique, found, truth
        # Which pairs are kept depends on the order of the search, and two searches have another.
        reason = "there are more pairs than max_pairs"
    if reason:
        log.warning("neighbors: the earlier tables are not added to (%s); everything is searched anew", reason)
    return classes, unique, search_pass(unique, classes, settings, config.compute, progress, None, truth), truth


def _audit(truth: SampledTruth, found: PassResult, settings: NeighborsConfig) -> list[AuditBand]:
    """Of the pairs that this search compared: after an incremental one, those with a new image."""
    assert found.found is not None, "every search is audited"
    num_old = len(found.earlier.classes.first) if found.earlier is not None else 0
    compared = (truth.left >= num_old) | (truth.right >= num_old)
    seen = SampledTruth(
        rows=truth.rows, left=truth.left[compared], right=truth.right[compared], similarity=truth.similarity[compared]
    )
    return audit(seen, found.found, found.forest.components(settings.cosine), threshold=settings.cosine)


def _is_truncated(found: PassResult, settings: NeighborsConfig) -> bool:
    return bool(found.num_pairs()[found.thresholds.index(settings.cosine)] > settings.max_pairs)


def _tell_chains(diameter_similarity: NDArray[np.float32], settings: NeighborsConfig) -> None:
    num_chains = int(is_chain(diameter_similarity, settings.cosine).sum())
    if num_chains:
        log.info(
            "%d of %d groups are chains: they hold two images that no third is near to; `--linkage leader` splits them, "
            "`scanner query RUN groups/chained_groups` lists them",
            num_chains,
            len(diameter_similarity),
        )


def _result(store: Store, settings: NeighborsConfig, *, num_images: int, is_recomputed: bool, start: float) -> NeighborsResult:
    import pyarrow.compute as pc

    sizes = pc.value_counts(store.read("candidates", ["group_id"])["group_id"]).field("counts")
    audited = next(r for r in store.read("audit").to_pylist() if (r["measure"], r["band"]) == ("neighbors", "all"))
    manifest = store.manifest("links")
    assert manifest is not None, "it was committed or compared just now"
    return NeighborsResult(
        is_recomputed=is_recomputed,
        threshold=settings.cosine,
        num_images=num_images,
        num_groups=len(sizes),
        num_grouped=pc.sum(sizes).as_py() or 0,
        largest_group=pc.max(sizes).as_py() or 0,
        seconds=time.perf_counter() - start,
        searched=manifest.metadata["searched"],
        num_compared=manifest.metadata["num_compared"],
        search=manifest.metadata["search"],
        facts=manifest.metadata["facts"],
        recall=math.nan if audited["recall"] is None else audited["recall"],
        recall_low=audited["recall_low"],
        recall_high=audited["recall_high"],
        recall_asked=settings.recall if manifest.metadata["search"] in searches.APPROXIMATE else 1.0,
    )
