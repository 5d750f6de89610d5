"""Tables ``groups`` and ``group_evidence`` of judged groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.schemas import TABLES, arrow_schema
from scanner.verify.judge import JudgedGroup, varying_mask

if TYPE_CHECKING:
    import pyarrow as pa

Similarities = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""Cosines of images (n,) with images (n,), by id."""


def group_rows(judged: Sequence[JudgedGroup], similarities: Similarities) -> pa.Table:
    """Table ``groups``, by ascending group and image. ``similarities`` is asked for members of new representatives alone."""
    import pyarrow as pa

    schema = arrow_schema("groups")
    if not judged:
        return schema.empty_table()
    image_id = np.concatenate([one.candidate.image_id[one.rows] for one in judged])
    leader_id = np.concatenate([np.repeat(one.candidate.image_id[one.leader], len(one.rows)) for one in judged])
    similarity = np.concatenate([one.candidate.similarity[one.rows] for one in judged])
    is_new = np.concatenate([np.repeat(not one.keeps_leader, len(one.rows)) for one in judged])
    if is_new.any():
        similarity[is_new] = similarities(image_id[is_new], leader_id[is_new])
    confidence = np.concatenate([one.confidence for one in judged])
    columns = {
        "image_id": image_id,
        "group_id": np.concatenate([np.repeat(_group_id(one), len(one.rows)) for one in judged]),
        "is_representative": image_id == leader_id,
        "similarity_to_representative": similarity,
        "kind": np.concatenate([one.kind for one in judged]),
        "confidence": pa.array(confidence, mask=np.isnan(confidence)),
    }
    rows: pa.Table = pa.table(columns).cast(schema).sort_by([("group_id", "ascending"), ("image_id", "ascending")])
    return rows


def evidence_rows(judged: Iterable[JudgedGroup]) -> pa.Table:
    """Table ``group_evidence``, by ascending group."""
    import pyarrow as pa

    rows = sorted((_evidence(one) for one in judged), key=lambda row: int(row["group_id"]))
    assert all(list(row) == TABLES["group_evidence"].column_names for row in rows[:1]), "every column, in order"
    return pa.Table.from_pylist(rows, schema=arrow_schema("group_evidence"))


def _group_id(one: JudgedGroup) -> int:
    return int(one.candidate.image_id[one.rows[0]])


def _evidence(one: JudgedGroup) -> dict[str, Any]:
    share, mask = varying_mask(one)
    card = one.card
    return {
        "group_id": _group_id(one),
        "candidate_id": one.candidate.group_id,
        "class": one.class_,
        "is_protected": one.class_ != "picture",
        "num_images": len(one.rows),
        "num_files": len(np.unique(one.candidate.file[one.rows])),
        "num_semantic": int((one.kind == "semantic").sum()),
        "num_unverified": int((one.kind == "unverified").sum()),
        "num_refuted": one.num_refuted,
        "is_truncated": one.is_truncated,
        "max_distance": one.max_distance,
        "max_phash_distance": one.max_phash_distance,
        "varying_share": share,
        "varying_mask": mask,
        "ground_share": card.ground_share if card else None,
        "text_share": card.text_share if card else None,
        "num_text_lines": card.num_lines if card else None,
        "flat_share": card.flat_share if card else None,
        "num_colors": card.num_colors if card else None,
        "saturation": card.saturation if card else None,
        "caption_likeness": one.captions.likeness,
    }
