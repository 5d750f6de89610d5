"""Groups that a scan found against the truth of a planted set: which copies were found, which strangers were joined."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Z_95 = 1.959964


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """``num_hits`` of ``num_trials``. The interval takes trials as independent; copies of one picture are not quite."""

    num_hits: int
    num_trials: int

    @property
    def value(self) -> float:
        """NaN where nothing was tried."""
        return self.num_hits / self.num_trials if self.num_trials else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson score interval at 95 % (Wilson 1927; Brown, Cai and DasGupta 2001, eq. 4); (0, 1) where nothing was tried."""
        n, p, z = self.num_trials, self.value, Z_95
        if not n:
            return 0.0, 1.0
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.num_hits:,}/{self.num_trials:,} = {self.value:.3f} [{low:.3f}, {high:.3f}]"


@dataclass(frozen=True, kw_only=True, slots=True)
class KindScore:
    """How one kind of row fared.

    Attributes:
        kind: as in truth.parquet.
        recall: of the copies of this kind, those in the group of their source file. Nothing was tried for kinds that have no
            source (``unique``, ``blank``, ``broken``); a source itself is no trial of ``exact``.
        precision: of the pairs that the scan joined and that hold a row of this kind, those of one picture.
    """

    kind: str
    recall: Share
    precision: Share


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupScore:
    """All pairs of a planted set, judged. Pairs of two blanks are in no count: they are alike, and nobody's duplicates.

    Attributes:
        num_pairs: pairs of one picture, by the truth.
        num_joined: pairs that share a group of the scan.
        num_right: pairs that both say.
        num_mixed_groups: groups of the scan that hold more than one picture.
        by_kind: one score a kind of the truth, in order of name.
    """

    num_pairs: int
    num_joined: int
    num_right: int
    num_mixed_groups: int
    by_kind: Mapping[str, KindScore]

    @property
    def recall(self) -> Share:
        return Share(num_hits=self.num_right, num_trials=self.num_pairs)

    @property
    def precision(self) -> Share:
        return Share(num_hits=self.num_right, num_trials=self.num_joined)

    @property
    def f1(self) -> float:
        total = self.num_pairs + self.num_joined
        return 2 * self.num_right / total if total else math.nan

    def lines(self) -> list[str]:
        """The score as text, a line a kind that has copies."""
        kinds = [score for score in self.by_kind.values() if score.recall.num_trials]
        return [
            "Against the truth (95 % intervals):",
            f"  pairs of one picture found        {self.recall}",
            f"  pairs found that are one picture  {self.precision}; {self.num_mixed_groups:,} groups mix pictures",
            *(f"  {score.kind + ' copies with their source':<33} {score.recall}" for score in kinds),
        ]


def score_groups(images: pa.Table, groups: pa.Table, truth: pa.Table) -> GroupScore:
    """Scores the groups of a scan.

    Args:
        images: columns ``image_id`` and ``key`` of the run's table.
        groups: columns ``image_id`` and ``group_id`` of the run's table; images in no group are absent.
        truth: a planted set's truth.parquet.

    Raises:
        ValueError: a key occurs twice, or is not in the truth: another set was scanned.
    """
    keys: list[str] = truth["key"].to_pylist()
    row_of = {key: row for row, key in enumerate(keys)}
    key_of: dict[int, str] = dict(zip(images["image_id"].to_pylist(), images["key"].to_pylist(), strict=True))
    strangers = [key for key in key_of.values() if key not in row_of]
    if strangers or len(set(key_of.values())) != len(key_of):
        raise ValueError(f"{len(strangers)} keys are not in the truth" if strangers else "a key occurs twice among the images")
    found = [key_of[image_id] for image_id in groups["image_id"].to_pylist()]
    # Images in no group are groups of one, so that every row has a number.
    group = -1 - np.arange(len(keys), dtype=np.int64)
    group[[row_of[key] for key in found]] = np.asarray(groups["group_id"].to_pylist(), dtype=np.int64)
    group = _dense(group)
    picture = _dense(np.asarray(truth["planted_id"].to_pylist(), dtype=np.int64))
    kinds = np.asarray(truth["kind"].to_pylist(), dtype=object)
    source = np.asarray([row_of[key] for key in truth["source_image"].to_pylist()], dtype=np.int64)
    both = _dense(group * (picture.max(initial=0) + 1) + picture)
    blank = kinds == "blank"

    def num_touching(labels: NDArray[np.int64], rows: NDArray[np.bool_]) -> int:
        """Pairs of equal label with at least one of ``rows``, pairs of two blanks left out."""
        return _pairs(labels) - _pairs(labels[~rows]) - (_pairs(labels[blank]) - _pairs(labels[blank & ~rows]))

    all_rows = np.ones(len(keys), dtype=bool)
    is_copy = source != np.arange(len(keys))
    by_kind = {}
    for kind in sorted(set(kinds.tolist())):
        rows = kinds == kind
        copies = np.flatnonzero(is_copy & rows)
        by_kind[kind] = KindScore(
            kind=kind,
            recall=Share(num_hits=int((group[copies] == group[source[copies]]).sum()), num_trials=len(copies)),
            precision=Share(num_hits=num_touching(both, rows), num_trials=num_touching(group, rows)),
        )
    pictures_in_group = np.bincount(np.unique(np.stack([group, picture]), axis=1)[0])
    return GroupScore(
        num_pairs=num_touching(picture, all_rows),
        num_joined=num_touching(group, all_rows),
        num_right=num_touching(both, all_rows),
        num_mixed_groups=int((pictures_in_group > 1).sum()),
        by_kind=by_kind,
    )


def _dense(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _pairs(labels: NDArray[np.int64]) -> int:
    """Unordered pairs of equal label."""
    counts = np.bincount(labels) if len(labels) else np.zeros(0, np.int64)
    return int((counts * (counts - 1) // 2).sum())
