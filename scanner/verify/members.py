"""The candidate groups of a run as a stream: members, the different files among them, and where those lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.sql import connect, fetch_blocks, find_query
from scanner.core.store import Store
from scanner.sources.originals import FileRef

BATCH_ROWS = 16_384


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CandidateGroup:
    """A component of the search.

    Attributes:
        group_id: as in table ``candidates``.
        image_id: int64 (m,), ascending.
        similarity: float32 (m,) to the representative.
        is_blank: bool (m,).
        file: int64 (m,) position of the image's file in ``files``.
        files: the different ones in the order in which they may stand for the group: the representative's, then most pixels,
            longest caption, lowest id.
        captions: of the images that have one.
        representative: position of the representative among the images.
    """

    group_id: int
    image_id: NDArray[np.int64]
    similarity: NDArray[np.float32]
    is_blank: NDArray[np.bool_]
    file: NDArray[np.int64]
    files: list[FileRef]
    captions: list[str | None]
    representative: int

    @property
    def weight(self) -> NDArray[np.int64]:
        """(files,) images that are this file."""
        return np.bincount(self.file, minlength=len(self.files)).astype(np.int64)


def read_groups(store: Store) -> Iterator[CandidateGroup]:
    """Every candidate group by ascending id; DuckDB sorts, on disk where memory is short, and hands over blocks of rows."""
    query = find_query("groups/candidate_members")
    with connect(store) as connection:
        rows: list[dict[str, Any]] = []
        for batch in fetch_blocks(connection, query.sql, rows=BATCH_ROWS, name=query.name):
            for row in batch.to_pylist():
                if rows and row["group_id"] != rows[0]["group_id"]:
                    yield make_group(rows)
                    rows = []
                rows.append(row)
        if rows:
            yield make_group(rows)


def make_group(rows: list[dict[str, Any]]) -> CandidateGroup:
    """A group of its rows of ``groups/candidate_members``, by ascending image_id."""
    representative = next(i for i, row in enumerate(rows) if row["is_representative"])
    first_of: dict[object, int] = {"representative": representative}
    keys: list[object] = []
    for i, row in enumerate(rows):
        # A digest may be a claim of the source, so what the scan saw of the pixels must agree with it.
        seen = (row["sha256"], row["phash"], row["width"], row["height"])
        key: object = "representative" if row["is_exact"] else seen if row["sha256"] is not None else i
        keys.append(key)
        first_of.setdefault(key, i)

    def may_lead(key: object) -> tuple[bool, int, int, int]:
        row = rows[first_of[key]]
        return (
            key != "representative", -(row["width"] or 0) * (row["height"] or 0), -len(row["caption"] or ""), row["image_id"],
        )  # fmt: skip

    order = sorted(first_of, key=may_lead)
    place = {key: position for position, key in enumerate(order)}
    return CandidateGroup(
        group_id=rows[0]["group_id"],
        image_id=np.array([row["image_id"] for row in rows], np.int64),
        similarity=np.array([row["similarity_to_representative"] for row in rows], np.float32),
        is_blank=np.array([bool(row["is_blank"]) for row in rows]),
        file=np.array([place[key] for key in keys], np.int64),
        files=[FileRef.of_row(rows[first_of[key]]) for key in order],
        captions=[row["caption"] for row in rows],
        representative=representative,
    )
