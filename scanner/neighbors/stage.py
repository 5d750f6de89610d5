"""Tables ``neighbors``, ``pairs``, ``groups`` and ``thresholds`` from the embeddings: every pair above the threshold, exactly."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import NeighborsConfig, RunConfig, fingerprint
from scanner.core.progress import Progress
from scanner.core.schemas import TABLES
from scanner.core.store import Store
from scanner.core.vectors import to_matrix
from scanner.neighbors.counts import NeighborCounts
from scanner.neighbors.groups import Groups, make_groups, row_similarities
from scanner.search.collapse import Collapse, collapse, merge
from scanner.search.forest import PairHistogram, SpanningForest, components
from scanner.search.kmeans import cell_centres, choose_num_cells, outlier_scores
from scanner.search.threshold import PairBlock, estimate_memory, threshold_pairs

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("scanner.neighbors")

OUTPUTS = ("pairs", "groups", "thresholds", "neighbors")
SAMPLE_ROWS = 1_000_000


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

    @property
    def grouped_share(self) -> float:
        """Share of the images that are in a group."""
        return self.num_grouped / self.num_images if self.num_images else 0.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Rows:
    """The embedded images by position: what the search needs to know of each."""

    image_id: NDArray[np.int64]
    vectors: NDArray[np.float16]
    sha256: NDArray[np.uint8]
    has_sha256: NDArray[np.bool_]
    resolution: NDArray[np.int64]
    caption_length: NDArray[np.int64]


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

    rows = _read_rows(store)
    assert isinstance(settings.threshold, float), "resolve() puts a number here"
    classes = _collapse(rows, settings)
    log.info(
        "%d images, %d after collapsing equal ones; the search holds about %.1f GiB",
        len(rows.image_id),
        len(classes.first),
        (rows.vectors.nbytes + estimate_memory(len(classes.first), rows.vectors.shape[1])) / 2**30,
    )
    unique = rows.vectors if len(classes.first) == len(rows.vectors) else rows.vectors[classes.first]
    found = _search(unique, classes, settings, progress)
    labels = classes.first[found.forest.components(settings.threshold)][classes.inverse]
    groups = make_groups(labels, rows.resolution, rows.caption_length)

    tables = {
        "pairs": _pairs_table(rows, classes, found, settings),
        "groups": _groups_table(rows, groups),
        "thresholds": _thresholds_table(rows, classes, found),
        "neighbors": _neighbors_table(rows, unique, classes, found, settings),
    }
    for table, content in tables.items():
        metadata = {"fingerprint": whole, "threshold": settings.threshold, "search": settings.search}
        if table == "pairs":
            metadata["is_truncated"] = found.is_truncated
        store.write_table(table, content, fingerprint=whole, part_rows=config.store.part_rows, metadata=metadata)
    return _result(store, settings, num_images=len(rows.image_id), is_recomputed=True, start=start)


def _read_rows(store: Store) -> _Rows:
    import pyarrow.compute as pc

    columns = ["image_id", "sha256", "width", "height", "caption", "status"]
    images = store.read("images", columns)
    images = images.filter(pc.equal(images["status"], "ok")).sort_by("image_id")
    embeddings = store.read("embeddings")
    ids = embeddings["image_id"].to_numpy()
    order = np.argsort(ids, kind="stable")
    vectors = to_matrix(embeddings["embedding"])
    if not np.array_equal(order, np.arange(len(order))):
        vectors = vectors[order]
    assert np.array_equal(images["image_id"].to_numpy(), ids[order]), "every image with status ok has its embedding"
    has_sha256 = np.asarray(pc.is_valid(images["sha256"]))
    digests = np.frombuffer(b"".join(images["sha256"].fill_null(bytes(32)).to_pylist()), dtype=np.uint8).reshape(-1, 32)
    # Overflow is no matter: an image has at most 2^31 pixels a side.
    resolution = pc.multiply(images["width"].fill_null(0), images["height"].fill_null(0)).to_numpy()
    caption_length = pc.utf8_length(images["caption"].fill_null("")).to_numpy().astype(np.int64)
    return _Rows(
        image_id=ids[order],
        vectors=vectors,
        sha256=digests,
        has_sha256=has_sha256,
        resolution=resolution,
        caption_length=caption_length,
    )


def _collapse(rows: _Rows, settings: NeighborsConfig) -> Collapse:
    """Classes of equal copies: equal embeddings, and equal files unless switched off."""
    by_vector = collapse(rows.vectors)
    if not settings.collapse_sha256 or not rows.has_sha256.any():
        return by_vector
    labels = collapse(rows.sha256, missing=~rows.has_sha256).labels
    copies = np.flatnonzero(labels != np.arange(len(labels)))
    # A digest that the source recorded is a claim. Where the pixels contradict it, the search decides instead.
    refuted = row_similarities(rows.vectors, copies, labels[copies]) < np.float32(settings.threshold)
    if refuted.any():
        log.warning(
            "%d images have the recorded sha256 of another image but do not look like it; the digest is not used", refuted.sum()
        )
        labels[copies[refuted]] = copies[refuted]
    return Collapse.from_labels(merge(by_vector.labels, labels))


@dataclass(kw_only=True)
class _Found:
    """What one pass over the pairs leaves."""

    forest: SpanningForest
    histogram: PairHistogram
    counts: NeighborCounts
    all_pairs: list[PairBlock]
    is_truncated: bool = False


def _search(unique: NDArray[np.float16], classes: Collapse, settings: NeighborsConfig, progress: Progress) -> _Found:
    """One pass at the lowest threshold asked for: links for all of them, counts at the main one."""
    thresholds = sorted({settings.threshold, *settings.report_thresholds})
    cut = np.float32(settings.threshold)
    found = _Found(
        forest=SpanningForest(len(unique)),
        histogram=PairHistogram([float(t) for t in thresholds], counts=classes.counts),
        counts=NeighborCounts(classes.counts),
        all_pairs=[],
    )
    room, num_compared = settings.max_pairs, len(unique) * (len(unique) - 1) // 2
    with progress.bar("neighbors", total=num_compared, unit="pairs compared") as bar:
        for block in threshold_pairs(unique, float(thresholds[0]), on_tile=bar.advance):
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
                found.all_pairs.append(kept)
    return found


def _pairs_table(rows: _Rows, classes: Collapse, found: _Found, settings: NeighborsConfig) -> pa.Table:
    """Links that span the groups: those of the forest, and from each class of copies its first to every other."""
    links = found.forest.links()
    kept = links.similarity >= np.float32(settings.threshold)
    copies = np.flatnonzero(classes.labels != np.arange(len(classes.labels)))
    left = np.concatenate([classes.first[links.left[kept]], classes.labels[copies]])
    right = np.concatenate([classes.first[links.right[kept]], copies])
    similarity = np.concatenate([links.similarity[kept], row_similarities(rows.vectors, classes.labels[copies], copies)])
    is_spanning = np.ones(len(left), dtype=bool)
    if settings.pairs == "all":
        blocks = found.all_pairs
        others = [_expand(block, classes) for block in blocks] + [_within_classes(classes)]
        all_left = np.concatenate([left, *(pair[0] for pair in others)])
        all_right = np.concatenate([right, *(pair[1] for pair in others)])
        key = all_left * len(rows.image_id) + all_right
        _, first = np.unique(key, return_index=True)
        is_spanning = np.arange(len(key))[first] < len(left)
        left, right = all_left[first], all_right[first]
        room = max(settings.max_pairs, int(is_spanning.sum()))
        found.is_truncated |= len(left) > room
        keep = np.sort(np.argsort(~is_spanning, kind="stable")[:room])
        left, right, is_spanning = left[keep], right[keep], is_spanning[keep]
        similarity = row_similarities(rows.vectors, left, right)
    order = np.lexsort((right, left))
    return _table(
        "pairs",
        {
            "left_id": rows.image_id[left[order]],
            "right_id": rows.image_id[right[order]],
            "similarity": np.minimum(similarity[order], np.float32(1)),
            "is_spanning": is_spanning[order],
        },
    )


def _expand(block: PairBlock, classes: Collapse) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of images behind pairs of classes: every copy with every copy, smaller position first."""
    members, starts = np.argsort(classes.inverse, kind="stable"), np.concatenate([[0], np.cumsum(classes.counts)])
    lefts, rights = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for i, j in zip(block.left.tolist(), block.right.tolist(), strict=True):
        a, b = members[starts[i] : starts[i + 1]], members[starts[j] : starts[j + 1]]
        lefts.append(np.repeat(a, len(b)))
        rights.append(np.tile(b, len(a)))
    left, right = np.concatenate(lefts), np.concatenate(rights)
    return np.minimum(left, right), np.maximum(left, right)


def _within_classes(classes: Collapse) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    members, starts = np.argsort(classes.inverse, kind="stable"), np.concatenate([[0], np.cumsum(classes.counts)])
    lefts, rights = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for c in np.flatnonzero(classes.counts > 1).tolist():
        copies = members[starts[c] : starts[c + 1]]
        i, j = np.triu_indices(len(copies), k=1)
        lefts.append(copies[i])
        rights.append(copies[j])
    return np.concatenate(lefts), np.concatenate(rights)


def _groups_table(rows: _Rows, groups: Groups) -> pa.Table:
    same_file = (rows.sha256[groups.rows] == rows.sha256[groups.representative]).all(axis=1)
    is_exact = same_file & rows.has_sha256[groups.rows] & rows.has_sha256[groups.representative]
    is_exact |= groups.rows == groups.representative
    return _table(
        "groups",
        {
            "image_id": rows.image_id[groups.rows],
            "group_id": rows.image_id[groups.group],
            "is_representative": groups.rows == groups.representative,
            "similarity_to_representative": row_similarities(rows.vectors, groups.rows, groups.representative),
            "kind": np.where(is_exact, "exact", "unverified"),
            "confidence": [None] * len(groups.rows),
        },
    )


def _thresholds_table(rows: _Rows, classes: Collapse, found: _Found) -> pa.Table:
    content: dict[str, list[Any]] = {name: [] for name in TABLES["thresholds"].column_names}
    links = found.forest.links()
    for threshold, num_pairs in zip(found.histogram.thresholds, found.histogram.num_pairs().tolist(), strict=True):
        kept = links.similarity >= np.float32(threshold)
        nodes = components(len(classes.first), links.left[kept], links.right[kept])
        sizes = np.bincount(nodes, weights=classes.counts, minlength=len(nodes)).astype(np.int64)
        grouped = sizes[sizes > 1]
        content["threshold"].append(threshold)
        content["num_groups"].append(len(grouped))
        content["num_grouped"].append(int(grouped.sum()))
        content["largest_group"].append(int(grouped.max(initial=0)))
        content["num_pairs"].append(num_pairs)
    return _table("thresholds", content)


def _neighbors_table(
    rows: _Rows, unique: NDArray[np.float16], classes: Collapse, found: _Found, settings: NeighborsConfig
) -> pa.Table:
    n = len(rows.image_id)
    nearest = np.where(found.counts.nearest >= 0, classes.first[found.counts.nearest], -1)[classes.inverse]
    similarity = found.counts.similarity[classes.inverse]
    # A copy is nearer than anything the search found: the class's first, or its second for the first itself.
    labels, own = classes.labels, np.arange(n)
    copies = np.flatnonzero(labels != own)
    second = np.full(n, -1, dtype=np.int64)
    second[labels[copies][::-1]] = copies[::-1]
    copied = np.where(labels != own, labels, second)
    has_copy = copied >= 0
    nearest[has_copy] = copied[has_copy]
    similarity[has_copy] = row_similarities(rows.vectors, own[has_copy], copied[has_copy])
    has_nearest = nearest >= 0

    scores = np.zeros(len(unique), dtype=np.float32)
    if len(unique):
        sample_rows = min(len(unique), SAMPLE_ROWS)
        cells = choose_num_cells(len(unique), sample_rows)
        centres = cell_centres(unique, num_cells=cells, seed=settings.seed, sample_rows=sample_rows)
        scores = outlier_scores(unique, centres)
    import pyarrow as pa

    return _table(
        "neighbors",
        {
            "image_id": rows.image_id,
            "num_neighbors": found.counts.num_neighbors()[classes.inverse],
            "nearest_id": pa.array(np.where(has_nearest, rows.image_id[nearest], 0), mask=~has_nearest),
            "nearest_similarity": pa.array(np.minimum(similarity, np.float32(1)), mask=~has_nearest),
            "outlier_score": scores[classes.inverse],
        },
    )


def _table(name: str, content: dict[str, Any]) -> pa.Table:
    import pyarrow as pa

    from scanner.core.schemas import arrow_schema

    schema = arrow_schema(name)
    return pa.table({c: pa.array(v, type=schema.field(c).type) if isinstance(v, list) else v for c, v in content.items()}).cast(
        schema
    )


def _result(store: Store, settings: NeighborsConfig, *, num_images: int, is_recomputed: bool, start: float) -> NeighborsResult:
    import pyarrow.compute as pc

    sweep = store.read("thresholds")
    row = sweep.filter(pc.equal(sweep["threshold"], settings.threshold)).to_pylist()[0]
    return NeighborsResult(
        is_recomputed=is_recomputed,
        threshold=row["threshold"],
        num_images=num_images,
        num_groups=row["num_groups"],
        num_grouped=row["num_grouped"],
        largest_group=row["largest_group"],
        seconds=time.perf_counter() - start,
    )
