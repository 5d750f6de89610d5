"""What a comparison found, as it is told at its end and kept in the metadata of table ``comparisons``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

TABLE_KINDS = ("exact", "near", "semantic", "unverified")
"""As column ``kind`` of table ``leaks`` has them, the strongest first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KindCount:
    """Rows of one kind, and how many images here and there they are about."""

    num_pairs: int
    num_left: int
    num_right: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LeakFacts:
    """What is kept of a comparison besides its rows.

    Attributes:
        by_kind: of the kinds that occur, the strongest first.
        num_left_found, num_right_found: images here, and images or lines there, with a row of any kind.
        num_pairs: pairs of distinct images, or of distinct hashes, within the threshold.
        num_refuted: of the pairs of files that were looked at, those that are other pictures: in no table.
        num_left_unusable: images here that could not take part, beyond those that the scan could not use.
        num_failed: files that could not be read again; their pairs stay unverified.
        is_truncated: some images have more partners than are listed.
        search: ``join``, ``cells`` or ``hamming``.
        recall, recall_low, recall_high: of cells, by their audit; None where all pairs were compared, or none was sampled.
        recall_asked: of the search; 1 where it finds all.
        notes: what a reader must know, a sentence each.
    """

    by_kind: dict[str, KindCount]
    num_left_found: int
    num_right_found: int
    num_pairs: int
    num_refuted: int = 0
    num_left_unusable: int = 0
    num_failed: int = 0
    is_truncated: bool = False
    search: str = "hamming"
    recall: float | None = None
    recall_low: float = 0.0
    recall_high: float = 1.0
    recall_asked: float = 1.0
    notes: tuple[str, ...] = ()

    @property
    def is_below_recall(self) -> bool:
        """Whether a search in cells found fewer pairs than were asked for, by its own audit."""
        return self.recall is not None and self.recall < self.recall_asked

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LeakFacts:
        values = dict(data)
        values["by_kind"] = {kind: KindCount(**count) for kind, count in values["by_kind"].items()}
        values["notes"] = tuple(values["notes"])
        return cls(**values)


def count_kinds(rows: pa.Table) -> dict[str, KindCount]:
    """Of rows of table ``leaks``."""
    kinds = np.array(rows["kind"].to_pylist(), dtype=object)
    left, right = rows["left_id"].to_numpy(), rows["right_id"].to_numpy()
    found = {}
    for kind in TABLE_KINDS:
        of_kind = np.flatnonzero(kinds == kind)
        if len(of_kind):
            found[kind] = KindCount(
                num_pairs=len(of_kind), num_left=len(np.unique(left[of_kind])), num_right=len(np.unique(right[of_kind]))
            )
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class LeakResult:
    """A comparison. ``is_recomputed`` is False where the tables already answered.

    Attributes:
        name, role, form, url, num_left, num_right, num_right_unusable, threshold, max_hash_distance: its row of
            ``comparisons``.
    """

    name: str
    role: str
    form: str
    url: str
    num_left: int
    num_right: int
    num_right_unusable: int
    threshold: float | None
    max_hash_distance: int | None
    facts: LeakFacts
    is_recomputed: bool
    seconds: float

    def lines(self) -> list[str]:
        """As a person reads it."""
        facts = self.facts
        what = "images" if self.form == "run" else "hashes"
        how = f"cosine at least {self.threshold:g}" if self.threshold is not None else f"within {self.max_hash_distance} bits"
        unusable = f" ({self.num_right_unusable:,} more could not be used)" if self.num_right_unusable else ""
        lines = [
            f"{self.name} ({self.role}): {self.num_left:,} images here against {self.num_right:,} {what} there{unusable}; {how}, "
            f"search {facts.search}"
        ]
        for kind, count in facts.by_kind.items():
            lines.append(
                f"  {kind:<10} {count.num_pairs:>10,} pairs  {count.num_left:>9,} images here  {count.num_right:>9,} {what} there"
            )
        lines.append(
            f"  {'all kinds' if facts.by_kind else 'nothing found':<21}"
            f"        {facts.num_left_found:>9,} images here  {facts.num_right_found:>9,} {what} there"
        )
        if facts.num_refuted:
            lines.append(f"  {facts.num_refuted:,} pairs that the search found are other pictures, by their pixels")
        if facts.is_truncated:
            lines.append("  some images have more partners than are listed (leak.max_partners); every image with one is listed")
        if facts.recall is not None and not math.isnan(facts.recall):
            below = f"; {facts.recall_asked:g} WAS ASKED FOR" if facts.is_below_recall else ""
            interval = f"[{facts.recall_low:.4f}, {facts.recall_high:.4f}]"
            lines.append(f"  search in cells: a sampled image there finds {facts.recall:.4f} {interval} of its pairs{below}")
        lines += [f"  {note}" for note in facts.notes]
        lines.append(f"  {self.seconds:.1f} s{'' if self.is_recomputed else ', known before'}")
        return lines
