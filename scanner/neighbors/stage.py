"""Tables ``neighbors``, ``pairs``, ``candidates`` and ``thresholds`` from the embeddings: every pair above the threshold."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from scanner.core.config import NeighborsConfig, RunConfig, fingerprint
from scanner.core.progress import Progress
from scanner.core.schemas import TABLES
from scanner.core.store import Store
from scanner.neighbors.groups import make_groups
from scanner.neighbors.rows import collapse_copies, read_rows
from scanner.neighbors.search_pass import search_memory, search_pass
from scanner.neighbors.tables import candidates_table, neighbors_table, pairs_table, thresholds_table

log = logging.getLogger("scanner.neighbors")

OUTPUTS = ("pairs", "candidates", "thresholds", "neighbors")


@dataclass(frozen=True, kw_only=True, slots=True)
class NeighborsResult:
    """What the search found. ``is_recomputed`` is False where the committed tables already answered."""

    is_recomputed: bool
    threshold: float
    num_images: int
    num_groups: int
    num_grouped: int
    largest_group: int
    seconds: float

    @property
    def images_per_s(self) -> float:
        return self.num_images / self.seconds if self.seconds else 0.0


def run(store: Store, config: RunConfig, progress: Progress) -> NeighborsResult:
    """Brings the four tables up to date and commits them.

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

    rows = read_rows(store)
    classes = collapse_copies(rows, settings)
    log.info(
        "%d images, %d after collapsing equal ones; the search holds about %.1f GiB",
        len(rows.image_id),
        len(classes.first),
        (rows.vectors.nbytes + search_memory(len(classes.first), rows.vectors.shape[1], settings)) / 2**30,
    )
    unique = rows.vectors if len(classes.first) == len(rows.vectors) else rows.vectors[classes.first]
    found = search_pass(unique, classes, settings, progress)
    labels = classes.first[found.forest.components(settings.cosine)][classes.inverse]
    groups = make_groups(labels, rows.resolution, rows.caption_length)

    pairs, is_truncated = pairs_table(rows, classes, found, settings)
    tables = {
        "pairs": pairs,
        "candidates": candidates_table(rows, groups, threshold=settings.cosine),
        "thresholds": thresholds_table(classes, found),
        "neighbors": neighbors_table(rows, unique, classes, found, seed=settings.seed),
    }
    for table, content in tables.items():
        metadata = {"fingerprint": whole, "threshold": settings.cosine, "search": settings.search}
        if table == "pairs":
            metadata["is_truncated"] = is_truncated
        store.write_table(table, content, fingerprint=whole, part_rows=config.store.part_rows, metadata=metadata)
    return _result(store, settings, num_images=len(rows.image_id), is_recomputed=True, start=start)


def _result(store: Store, settings: NeighborsConfig, *, num_images: int, is_recomputed: bool, start: float) -> NeighborsResult:
    import pyarrow.compute as pc

    sweep = store.read("thresholds")
    row = sweep.filter(pc.equal(sweep["threshold"], settings.cosine)).to_pylist()[0]
    return NeighborsResult(
        is_recomputed=is_recomputed,
        threshold=row["threshold"],
        num_images=num_images,
        num_groups=row["num_groups"],
        num_grouped=row["num_grouped"],
        largest_group=row["largest_group"],
        seconds=time.perf_counter() - start,
    )
