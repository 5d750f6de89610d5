"""The ranking of a run's prompts against the truth: are the captions that one picture carries most often tried first?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.shares import Share, json_number
from scanner.lab.truth_rows import NO_PICTURE_KINDS, typed

if TYPE_CHECKING:
    import pyarrow as pa

MIN_REPEATS = 8
"""Images of one picture with one caption from which on the truth calls a caption repeated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankingScore:
    """How the run's order of captions compares with the true one.

    The true number of a caption is the number of images of one picture that carry that exact text, the largest where several
    pictures do. Blanks, placeholders, broken files and mirrored copies are no such images, so a caption of theirs alone has 0.

    Attributes:
        num_prompts: different texts among the run's ranked prompts.
        num_unknown: of them those that no row of the truth carries; they are in no correlation, and no hit.
        rank_correlation: Spearman's, with average ranks for ties, between closeness to the top of the run's ranking and the
            true number; 1 is best, NaN where fewer than two prompts are known or all have one true number.
        best_rank_correlation: what a ranking by the true number itself would reach. It is below 1, because the truth has ties
            and a ranking has none.
        precision_at_n: of the first n prompts, the repeated ones; n = repeated captions of the truth, at most num_prompts.
        repeated_found: of the repeated captions of the truth, those among the run's prompts.
    """

    num_prompts: int
    num_unknown: int
    rank_correlation: float
    best_rank_correlation: float
    precision_at_n: Share
    repeated_found: Share

    def lines(self) -> list[str]:
        """The score as text, a line a figure."""
        best = "" if math.isnan(self.best_rank_correlation) else f" (a perfect ranking: {self.best_rank_correlation:.3f})"
        unknown = f", {self.num_unknown:,} that the truth does not know" if self.num_unknown else ""
        repeated = f"captions that >= {MIN_REPEATS} images of one picture carry"
        return [
            f"Ranking against the truth, {self.num_prompts:,} prompts{unknown}:",
            f"  {'rank correlation (Spearman)':<40} {self.rank_correlation:.3f}{best}",
            f"  {f'first {self.precision_at_n.num_trials:,} prompts that are repeated':<40} {self.precision_at_n}",
            f"  {'repeated captions among the prompts':<40} {self.repeated_found}",
            f"  (repeated: {repeated})",
        ]

    def to_dict(self) -> dict[str, Any]:
        """For JSON; None where a figure is not defined."""
        return {
            "num_prompts": self.num_prompts,
            "num_unknown": self.num_unknown,
            "min_repeats": MIN_REPEATS,
            "rank_correlation": json_number(self.rank_correlation),
            "best_rank_correlation": json_number(self.best_rank_correlation),
            "precision_at_n": self.precision_at_n.to_dict(),
            "repeated_found": self.repeated_found.to_dict(),
        }


def score_ranking(prompts: pa.Table, truth: pa.Table) -> RankingScore:
    """Scores the ranked prompts of a run.

    Args:
        prompts: columns ``prompt`` and ``risk_rank`` of the run's table. Rows without a rank are left out, and of a text that
            is there more than once (in two lanes) the best rank counts.
        truth: a planted set's truth.parquet: columns ``planted_id``, ``kind`` and ``caption``.

    Raises:
        ConfigError: the truth lacks one of these columns.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    captions, true_num = true_numbers(truth)
    ranked = prompts.select(["prompt", "risk_rank"]).filter(pc.is_valid(prompts["risk_rank"])).sort_by("risk_rank")
    texts = ranked["prompt"].combine_chunks().dictionary_encode().indices.to_numpy()
    ranked = ranked.take(pa.array(np.sort(np.unique(texts, return_index=True)[1])))
    position = pc.index_in(ranked["prompt"], value_set=captions)
    is_known: NDArray[np.bool_] = position.is_valid().to_numpy()
    num = np.zeros(len(position), dtype=np.int64)
    num[is_known] = true_num[position.drop_null().to_numpy()]
    is_repeated = num >= MIN_REPEATS
    num_repeated = int((true_num >= MIN_REPEATS).sum())
    n = min(num_repeated, len(num))
    known = num[is_known]
    return RankingScore(
        num_prompts=len(num),
        num_unknown=int((~is_known).sum()),
        rank_correlation=_spearman(known),
        best_rank_correlation=_spearman(np.sort(known)[::-1]),
        precision_at_n=Share(num_hits=int(is_repeated[:n].sum()), num_trials=n),
        repeated_found=Share(num_hits=int(is_repeated.sum()), num_trials=num_repeated),
    )


def true_numbers(truth: pa.Table) -> tuple[pa.Array, NDArray[np.int64]]:
    """The different captions of a truth (m,), and (m,) images of one picture that carry each; see ``RankingScore``.

    Raises:
        ConfigError: the truth lacks ``planted_id``, ``kind`` or ``caption``.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    truth = typed(truth, ("planted_id", "kind", "caption"))
    truth = truth.filter(pc.is_valid(truth["caption"]))
    outside = pc.is_in(truth["kind"], value_set=pa.array([*NO_PICTURE_KINDS, "mirror"]))
    rows = truth.select(["planted_id", "caption"]).append_column("is_image", pc.invert(outside).cast(pa.int64()))
    of_picture = rows.group_by(["caption", "planted_id"]).aggregate([("is_image", "sum")])
    largest = of_picture.group_by("caption").aggregate([("is_image_sum", "max")])
    return largest["caption"].combine_chunks(), largest["is_image_sum_max"].to_numpy()


def _spearman(num: NDArray[np.int64]) -> float:
    """Rank correlation of ``num`` (n,), in the order of the run, with closeness to the top."""
    if len(num) < 2 or (num == num[0]).all():
        return math.nan
    from scipy.stats import spearmanr

    return float(spearmanr(np.arange(len(num), 0, -1), num).statistic)
