"""The tables of this slice, from the arrays of the pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import NeighborsConfig
from scanner.core.schemas import TABLES, arrow_schema
from scanner.neighbors.groups import Groups
from scanner.neighbors.rows import Rows
from scanner.neighbors.search_pass import PassResult
from scanner.neighbors.shape import diameters
from scanner.search.audit import AuditBand
from scanner.search.collapse import Collapse
from scanner.search.exact import row_similarities
from scanner.search.expand import image_pairs, spanning_links
from scanner.search.forest import components
from scanner.search.kmeans import cell_centres, choose_num_cells, outlier_scores

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_A_CENTRE = 64
"""Rows for each of the cell centres behind outlier_score that they are fitted on."""


def pairs_table(rows: Rows, classes: Collapse, found: PassResult, settings: NeighborsConfig) -> tuple[pa.Table, bool]:
    """Table ``pairs``, and whether max_pairs cut it. The links that span groups are always there."""
    left, right = spanning_links(classes, found.forest.links(), settings.cosine)
    is_truncated, num_spanning = found.is_truncated, len(left)
    if settings.pairs == "all":
        (known_left, known_right), num_known = ((left[:0], right[:0]), 0)
        if found.earlier is not None:
            (known_left, known_right), num_known = found.earlier.pairs, found.earlier.num_rows
        limit = max(0, settings.max_pairs - len(known_left))
        (more_left, more_right), is_cut = image_pairs(found.blocks, classes, limit=limit, num_known=num_known)
        is_truncated |= is_cut
        left, right = np.concatenate([left, known_left, more_left]), np.concatenate([right, known_right, more_right])
    # A link is a pair too: of the two the first, which is the link, stays.
    _, first = np.unique(left * len(rows.image_id) + right, return_index=True)
    left, right, is_spanning = left[first], right[first], first < num_spanning
    content = {
        "left_id": rows.image_id[left],
        "right_id": rows.image_id[right],
        "similarity": row_similarities(rows.vectors, left, right),
        "is_spanning": is_spanning,
    }
    return _table("pairs", content), is_truncated


def links_table(rows: Rows, classes: Collapse, found: PassResult) -> pa.Table:
    """Table ``links``: the forest over classes, and from each class's first image to its copies."""
    links = found.forest.links()
    copies = np.flatnonzero(classes.labels != np.arange(len(classes.labels)))
    left = np.concatenate([classes.first[links.left], classes.labels[copies]])
    right = np.concatenate([classes.first[links.right], copies])
    similarity = np.concatenate([links.similarity, np.ones(len(copies), np.float32)])
    order = np.lexsort((right, left))
    left, right, similarity = rows.image_id[left[order]], rows.image_id[right[order]], similarity[order]
    return _table("links", {"left_id": left, "right_id": right, "similarity": similarity})


def candidate_shape_table(rows: Rows, groups: Groups) -> pa.Table:
    """Table ``candidate_shape``: how far apart two members of a group are."""
    found = diameters(rows.vectors, groups)
    return _table(
        "candidate_shape",
        {
            "group_id": rows.image_id[found.group],
            "diameter_similarity": found.similarity,
            "left_id": rows.image_id[found.left],
            "right_id": rows.image_id[found.right],
        },
    )


def candidates_table(rows: Rows, groups: Groups, *, threshold: float) -> pa.Table:
    """Table ``candidates``. A member is exact if its digest is the representative's and its embedding does not contradict it."""
    similarity = row_similarities(rows.vectors, groups.rows, groups.representative)
    same_file = (rows.sha256[groups.rows] == rows.sha256[groups.representative]).all(axis=1)
    is_exact = same_file & rows.has_sha256[groups.rows] & rows.has_sha256[groups.representative]
    is_exact &= similarity >= np.float32(threshold)
    is_exact |= groups.rows == groups.representative
    return _table(
        "candidates",
        {
            "image_id": rows.image_id[groups.rows],
            "group_id": rows.image_id[groups.group],
            "is_representative": groups.rows == groups.representative,
            "similarity_to_representative": similarity,
            "is_exact": is_exact,
        },
    )


def thresholds_table(classes: Collapse, found: PassResult) -> pa.Table:
    content: dict[str, list[Any]] = {name: [] for name in TABLES["thresholds"].column_names}
    links = found.forest.links()
    for threshold, num_pairs in zip(found.thresholds, found.num_pairs().tolist(), strict=True):
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


def neighbors_table(rows: Rows, unique: NDArray[np.float16], classes: Collapse, found: PassResult, *, seed: int) -> pa.Table:
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
        cells = choose_num_cells(len(unique), len(unique))
        sample_rows = min(len(unique), ROWS_A_CENTRE * cells)
        centres = cell_centres(unique, num_cells=cells, seed=seed, sample_rows=sample_rows)
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


def audit_table(bands: list[AuditBand]) -> pa.Table:
    """Table ``audit``; cosines in the names of bands have as many digits as tell their ends apart."""
    content: dict[str, list[Any]] = {name: [] for name in TABLES["audit"].column_names}
    for index, band in enumerate(bands):
        is_all = index == 0 or bands[index - 1].measure != band.measure
        high = None if math.isinf(band.high) else band.high
        content["measure"].append(band.measure)
        content["band"].append("all" if is_all else f"{band.low:.4f}-{1.0 if high is None else high:.4f}")
        content["similarity_low"].append(band.low)
        content["similarity_high"].append(high)
        content["num_rows_sampled"].append(band.num_sampled)
        content["num_rows"].append(band.recall.num_rows)
        content["num_pairs"].append(band.num_pairs)
        content["recall"].append(None if math.isnan(band.recall.value) else band.recall.value)
        content["recall_low"].append(band.recall.low)
        content["recall_high"].append(band.recall.high)
    return _table("audit", content)


def _table(name: str, content: dict[str, Any]) -> pa.Table:
    import pyarrow as pa

    schema = arrow_schema(name)
    return pa.table({c: pa.array(v, type=schema.field(c).type) if isinstance(v, list) else v for c, v in content.items()}).cast(
        schema
    )
