"""Groups that a scan found against the truth of a planted set: which copies were found, which strangers were joined, and why.

A pair is two rows in one group of the run. It is right where both are images of one picture, and wrong otherwise. In no count
at all are pairs of two blanks, pairs of two placeholders (alike, and nobody's duplicates), pairs of a mirrored
copy with a row of its own picture (whether mirrored is the same is for the user to say), and whatever holds a broken file.
Pairs are never listed: they follow from counts of rows by group, picture, family and kind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.shares import Mean as Mean
from scanner.core.shares import Share as Share
from scanner.core.shares import json_number
from scanner.lab.truth_rows import NO_PICTURE_KINDS, TruthRows, dense, join_truth

if TYPE_CHECKING:
    import pyarrow as pa

CAUSES = {
    "template": "two members of one template family",
    "shared_caption": "different pictures under one caption",
    "blank_or_placeholder": "a blank or a placeholder with something else",
    "other": "none of these",
}
"""Why a pair is wrong, the first that applies, and what that means."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KindScore:
    """How one kind of row fared.

    Attributes:
        kind: as in truth.parquet.
        recall: of the copies of this kind, those in the group of their source file. Nothing was tried for kinds without a
            source; a source itself is no trial of ``exact``. For ``mirror`` being found is neither right nor wrong.
        precision: of the counted pairs that were joined and hold a row of this kind, those right; nothing can be right for
            kinds that occur once.
    """

    kind: str
    recall: Share
    precision: Share

    @property
    def num_wrong(self) -> int:
        """Wrong pairs that hold a row of this kind."""
        return self.precision.num_trials - self.precision.num_hits

    def to_dict(self) -> dict[str, Any]:
        return {"recall": self.recall.to_dict(), "precision": self.precision.to_dict()}


@dataclass(frozen=True, kw_only=True, slots=True)
class CopiesScore:
    """How the pictures that occur ``k`` times fared: pairs found, the mean over pictures of the share of theirs, and of the
    counted pairs that were joined and hold an image of one of them, those right."""

    k: int
    recall: Share
    macro_recall: Mean
    precision: Share

    def to_dict(self) -> dict[str, Any]:
        return {
            "recall": self.recall.to_dict(),
            "macro_recall": self.macro_recall.to_dict(),
            "precision": self.precision.to_dict(),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupScore:
    """All pairs of a planted set, judged; the module says which are in no count.

    Attributes:
        num_images: rows of the truth.
        num_unscanned: of them those that the run has no image of; their pairs count as not found.
        num_pairs: pairs of one picture, by the truth.
        num_joined: counted pairs that share a group of the run.
        num_right: pairs that both say.
        num_groups: groups of the run with at least one counted pair.
        num_mixed_groups: of them those with a wrong pair.
        macro_recall: mean over pictures with a pair of the share of their pairs that is found.
        macro_precision: mean over the ``num_groups`` groups of the share of their counted pairs that is right.
        errors: of the counted pairs that were joined, those wrong for each cause, in the order of ``CAUSES``.
        by_kind: one score a kind of the truth, in order of name.
        by_k: one score a number of copies, for pictures that have a pair, ascending.
    """

    num_images: int
    num_unscanned: int
    num_pairs: int
    num_joined: int
    num_right: int
    num_groups: int
    num_mixed_groups: int
    macro_recall: Mean
    macro_precision: Mean
    errors: Mapping[str, Share]
    by_kind: Mapping[str, KindScore]
    by_k: Mapping[int, CopiesScore]

    @property
    def recall(self) -> Share:
        """Of all pairs of one picture, those found: large pictures weigh most."""
        return Share(num_hits=self.num_right, num_trials=self.num_pairs)

    @property
    def precision(self) -> Share:
        """Of all counted pairs that were joined, those right: large groups weigh most."""
        return Share(num_hits=self.num_right, num_trials=self.num_joined)

    @property
    def num_wrong(self) -> int:
        return self.num_joined - self.num_right

    @property
    def f1(self) -> float:
        """Of pair recall and pair precision; NaN where there is no pair at all."""
        total = self.num_pairs + self.num_joined
        return 2 * self.num_right / total if total else math.nan

    def lines(self) -> list[str]:
        """The score as text: pairs, means, errors, then a line a kind that has copies and a line a number of copies."""
        kinds = [score for score in self.by_kind.values() if score.recall.num_trials]
        figures: list[tuple[str, object]] = [
            ("pairs of one picture found", self.recall),
            (f"  mean of {self.macro_recall.num_items:,} pictures", self.macro_recall),
            ("pairs found that are one picture", self.precision),
            (f"  mean of {self.macro_precision.num_items:,} groups", self.macro_precision),
            ("wrong pairs", f"{self.num_wrong:,}; groups that mix pictures: {self.num_mixed_groups:,}"),
            *((f"  {cause.replace('_', ' ')}", share) for cause, share in self.errors.items() if self.num_wrong),
            *(
                (f"{score.kind} copies with their source", f"{score.recall}; precision {score.precision.value:.4f}")
                for score in kinds
            ),
        ]
        for score in self.by_k.values():
            mean = f"mean of {score.macro_recall.num_items:,} pictures {score.macro_recall}"
            figures.append(
                (
                    f"pairs of pictures that occur {score.k:,} times",
                    f"{score.recall}; {mean}; precision {score.precision.value:.4f}",
                )
            )
        unscanned = f"; {self.num_unscanned:,} of {self.num_images:,} images are not in the run" if self.num_unscanned else ""
        return [
            f"Groups against the truth (95 % intervals){unscanned}:",
            *(f"  {label:<40} {figure}" for label, figure in figures),
        ]

    def to_dict(self) -> dict[str, Any]:
        """For JSON; None where a figure is not defined."""
        return {
            "num_images": self.num_images,
            "num_unscanned": self.num_unscanned,
            "num_groups": self.num_groups,
            "num_mixed_groups": self.num_mixed_groups,
            "pair_recall": self.recall.to_dict(),
            "pair_precision": self.precision.to_dict(),
            "pair_f1": json_number(self.f1),
            "macro_recall": self.macro_recall.to_dict(),
            "macro_precision": self.macro_precision.to_dict(),
            "errors": {cause: share.to_dict() for cause, share in self.errors.items()},
            "by_kind": {kind: score.to_dict() for kind, score in self.by_kind.items()},
            "by_k": {str(k): score.to_dict() for k, score in self.by_k.items()},
        }


def score_groups(images: pa.Table, groups: pa.Table, truth: pa.Table) -> GroupScore:
    """Scores the groups of a run.

    Args:
        images: columns ``image_id`` and ``key`` of the run's table; ``caption``, if there, is compared with the truth's.
        groups: columns ``image_id`` and ``group_id`` of the run's table; images in no group are absent.
        truth: a planted set's truth.parquet.

    Raises:
        ConfigError: the truth is of another set or damaged, or a key occurs twice among the images.
        StoreError: ``groups`` holds an image that ``images`` lacks.
    """
    rows = join_truth(images, groups, truth)
    # Rows that a true pair can be made of, and rows that a run can be blamed for.
    is_image = ~rows.is_kind(*NO_PICTURE_KINDS, "mirror")
    is_joined = (rows.group >= 0) & ~rows.is_kind("broken")
    group, picture = rows.group[is_joined], rows.picture[is_joined]
    num_groups = int(rows.group.max(initial=-1)) + 1

    right = _pairs_by(rows.group, rows.picture, rows=is_image & is_joined, size=num_groups)
    wrong = _pairs(np.bincount(group, minlength=num_groups)) - _pairs_by(group, picture, size=num_groups)
    counted = right + wrong
    has_pair = counted > 0

    num_pictures = int(rows.picture.max(initial=-1)) + 1
    true = _pairs(np.bincount(rows.picture[is_image], minlength=num_pictures))
    found = _pairs_by(rows.picture, rows.group, rows=is_image & is_joined, size=num_pictures)
    num_joined = int(counted.sum())
    return GroupScore(
        num_images=len(rows.group),
        num_unscanned=rows.num_unscanned,
        num_pairs=int(true.sum()),
        num_joined=num_joined,
        num_right=int(right.sum()),
        num_groups=int(has_pair.sum()),
        num_mixed_groups=int((wrong > 0).sum()),
        macro_recall=Mean.of(found[true > 0] / true[true > 0]),
        macro_precision=Mean.of(right[has_pair] / counted[has_pair]),
        errors={cause: Share(num_hits=n, num_trials=num_joined) for cause, n in _errors(rows, is_joined).items()},
        by_kind=_by_kind(rows, is_joined, is_image),
        by_k=_by_k(rows, is_joined, true, found),
    )


def _errors(rows: TruthRows, is_joined: NDArray[np.bool_]) -> dict[str, int]:
    """Wrong pairs by the first cause that applies, in the order of ``CAUSES``."""

    def num_wrong(among: NDArray[np.bool_]) -> int:
        group, picture = rows.group[among], rows.picture[among]
        return int(_pairs(np.bincount(group)).sum() - _pairs_by(group, picture).sum())

    def num_template(among: NDArray[np.bool_]) -> int:
        among = among & (rows.family >= 0)
        family = _cells(rows.group[among], rows.family[among])
        return int(_pairs(np.bincount(family)).sum() - _pairs_by(family, rows.picture[among]).sum())

    def num_trap(among: NDArray[np.bool_]) -> int:
        """Both under a shared caption, and not of one family."""
        return num_wrong(among & rows.is_trap) - num_template(among & rows.is_trap)

    def num_left(among: NDArray[np.bool_]) -> int:
        return num_wrong(among) - num_template(among) - num_trap(among)

    other = num_left(is_joined & ~rows.is_alike)
    counts = num_template(is_joined), num_trap(is_joined), num_left(is_joined) - other, other
    return dict(zip(CAUSES, counts, strict=True))


def _by_kind(rows: TruthRows, is_joined: NDArray[np.bool_], is_image: NDArray[np.bool_]) -> dict[str, KindScore]:
    is_copy = (rows.source != np.arange(len(rows.source))) & ~rows.is_kind(*NO_PICTURE_KINDS)
    copies = np.flatnonzero(is_copy)
    is_found = (rows.group[copies] >= 0) & (rows.group[copies] == rows.group[rows.source[copies]])
    num_kinds = len(rows.kinds)
    num_copies = np.bincount(rows.kind[copies], minlength=num_kinds)
    num_found = np.bincount(rows.kind[copies[is_found]], minlength=num_kinds)
    wrong = _wrong_touching(rows, is_joined, rows.kind, num_kinds)
    counted = is_joined & is_image
    right = _pairs_touching(_cells(rows.group[counted], rows.picture[counted]), rows.kind[counted], num_kinds)
    return {
        name: KindScore(
            kind=name,
            recall=Share(num_hits=int(num_found[i]), num_trials=int(num_copies[i])),
            precision=Share(num_hits=int(right[i]), num_trials=int(right[i] + wrong[i])),
        )
        for i, name in enumerate(rows.kinds)
    }


def _wrong_touching(
    rows: TruthRows, is_joined: NDArray[np.bool_], label: NDArray[np.int64], num_labels: int
) -> NDArray[np.int64]:
    """(num_labels,) joined pairs of two pictures with at least one row of that label."""
    group, label = rows.group[is_joined], label[is_joined]
    in_group = _pairs_touching(group, label, num_labels)
    return in_group - _pairs_touching(_cells(group, rows.picture[is_joined]), label, num_labels)


def _by_k(
    rows: TruthRows, is_joined: NDArray[np.bool_], true: NDArray[np.int64], found: NDArray[np.int64]
) -> dict[int, CopiesScore]:
    """Of (pictures,) true pairs and those found; k of a picture is that of any of its rows."""
    k_of = np.zeros(len(true), dtype=np.int64)
    k_of[rows.picture] = rows.k
    k_of[true == 0] = 0
    scores = {}
    levels = np.unique(k_of)
    wrong = _wrong_touching(rows, is_joined, np.searchsorted(levels, k_of[rows.picture]), len(levels))
    for k in np.unique(k_of[true > 0]).tolist():
        num, hits = true[k_of == k], found[k_of == k]
        right, num_wrong = int(hits.sum()), int(wrong[np.searchsorted(levels, k)])
        scores[k] = CopiesScore(
            k=k,
            recall=Share(num_hits=right, num_trials=int(num.sum())),
            macro_recall=Mean.of(hits / num),
            precision=Share(num_hits=right, num_trials=right + num_wrong),
        )
    return scores


def _pairs(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Unordered pairs among each of ``counts`` rows."""
    counts = counts.astype(np.int64)
    return counts * (counts - 1) // 2


def _pairs_by(
    outer: NDArray[np.int64], inner: NDArray[np.int64], *, rows: NDArray[np.bool_] | None = None, size: int = 0
) -> NDArray[np.int64]:
    """(size,) pairs of rows that share both labels, by the outer one; ``rows`` (n,) says which of the n are looked at."""
    if rows is not None:
        outer, inner = outer[rows], inner[rows]
    width = int(inner.max(initial=0)) + 1
    cells, counts = np.unique(outer * width + inner, return_counts=True)
    sums = np.zeros(max(size, int(outer.max(initial=-1)) + 1), dtype=np.int64)
    np.add.at(sums, cells // width, _pairs(counts))
    return sums


def _cells(outer: NDArray[np.int64], inner: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) numbers from 0, equal where both labels are."""
    return dense(outer * (int(inner.max(initial=0)) + 1) + inner)


def _pairs_touching(label: NDArray[np.int64], kind: NDArray[np.int64], num_kinds: int) -> NDArray[np.int64]:
    """(num_kinds,) pairs of equal label that hold at least one row of the kind."""
    cells, counts = np.unique(label * num_kinds + kind, return_counts=True)
    all_counts = np.bincount(label)[cells // num_kinds]
    sums = np.zeros(num_kinds, dtype=np.int64)
    np.add.at(sums, cells % num_kinds, counts * (all_counts - counts) + _pairs(counts))
    return sums
