"""Rankings against worked-out numbers, and against counts and a correlation computed the long way."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from scanner.core.errors import ConfigError
from scanner.core.shares import Share
from scanner.lab.ranking import score_ranking, true_numbers


def truth_of(rows):
    """Rows of planted_id, kind and caption."""
    columns = list(zip(*rows, strict=True))
    types = {"planted_id": pa.int64(), "kind": pa.string(), "caption": pa.string()}
    return pa.table({name: pa.array(c, type_) for (name, type_), c in zip(types.items(), columns, strict=True)})


def prompts_of(texts, ranks=None):
    ranks = ranks or list(range(1, len(texts) + 1))
    return pa.table({"prompt": pa.array(texts, pa.string()), "risk_rank": pa.array(ranks, pa.int64())})


def copies(planted_id, caption, n, kind="exact"):
    return [(planted_id, kind, caption)] * n


TRUTH = truth_of(
    copies(0, "nine", 9) + copies(0, "nine", 4, "mirror") + copies(1, "eight", 8) + copies(2, "two", 2) + copies(3, "two", 1)
    + copies(4, "one", 1) + copies(5, "not available", 20, "placeholder")
    + copies(6, "seven", 7) + copies(6, "seven", 3, "broken")
    + copies(7, "trap", 1) + copies(8, "trap", 1) + copies(9, "trap", 1) + copies(10, None, 12)
)  # fmt: skip


def test_true_numbers_are_of_one_picture_and_of_images_alone():
    captions, num = true_numbers(TRUTH)
    assert dict(zip(captions.to_pylist(), num.tolist(), strict=True)) == {
        "nine": 9, "eight": 8, "seven": 7, "two": 2, "one": 1, "trap": 1, "not available": 0,
    }  # fmt: skip


def test_a_perfect_ranking():
    score = score_ranking(prompts_of(["nine", "eight", "seven", "two", "one"]), TRUTH)
    assert score.rank_correlation == score.best_rank_correlation == pytest.approx(1)
    assert score.precision_at_n == score.repeated_found == Share(num_hits=2, num_trials=2)
    assert (score.num_prompts, score.num_unknown) == (5, 0)


def test_a_ranking_that_is_wrong_is_told_so():
    # True numbers 0, 9, 8, 1: their ranks 1, 4, 3, 2 against 4, 3, 2, 1; the squares of the differences sum to 12.
    score = score_ranking(prompts_of(["not available", "nine", "eight", "trap"]), TRUTH)
    assert score.rank_correlation == pytest.approx(1 - 6 * 12 / (4 * 15))
    assert score.precision_at_n == Share(num_hits=1, num_trials=2)
    assert score.repeated_found == Share(num_hits=2, num_trials=2)
    assert score_ranking(prompts_of(["one", "two", "nine"]), TRUTH).rank_correlation == pytest.approx(-1)


def test_n_is_capped_at_the_number_of_prompts_and_missing_captions_are_missed():
    score = score_ranking(prompts_of(["nine"]), TRUTH)
    assert score.precision_at_n == Share(num_hits=1, num_trials=1)
    assert score.repeated_found == Share(num_hits=1, num_trials=2)
    assert math.isnan(score.rank_correlation)


def test_the_rank_decides_and_not_the_order_of_rows():
    score = score_ranking(prompts_of(["one", "nine", "not ranked", "eight", "nine"], [30, 1, None, 20, 40]), TRUTH)
    assert score.num_prompts == 3, "without a rank, or there already in another lane"
    assert score.rank_correlation == pytest.approx(1)
    assert score.precision_at_n == Share(num_hits=2, num_trials=2)


def test_prompts_that_the_truth_does_not_know_are_no_hits():
    score = score_ranking(prompts_of(["never written", "nine", "two"]), TRUTH)
    assert score.num_unknown == 1
    assert score.rank_correlation == pytest.approx(1), "over the known ones"
    assert score.precision_at_n == Share(num_hits=1, num_trials=2)
    assert "1 that the truth does not know" in score.lines()[0]


def test_a_run_without_prompts():
    score = score_ranking(prompts_of([]), TRUTH)
    assert score.precision_at_n.num_trials == 0
    assert score.repeated_found == Share(num_hits=0, num_trials=2)
    assert score.to_dict()["rank_correlation"] is None
    assert "nan" in score.lines()[1]


def pearson_of_average_ranks(x, y):
    def ranks(values):
        return [sum(v < w for v in values) + (sum(v == w for v in values) + 1) / 2 for w in values]

    return float(np.corrcoef(ranks(x), ranks(y))[0, 1])


@pytest.mark.parametrize("seed", range(10))
def test_figures_equal_those_computed_the_long_way(seed):
    rng = np.random.default_rng(seed)
    rows = [
        (int(rng.integers(3)), str(rng.choice(["exact", "crop", "mirror", "blank"])), f"c{int(rng.integers(1, 12) ** 2 / 12)}")
        for _ in range(400)
    ]
    counts, best = Counter((p, c) for p, kind, c in rows if kind not in ("mirror", "blank")), {c: 0 for _, _, c in rows}
    for (_, caption), n in counts.items():
        best[caption] = max(best[caption], n)
    texts = [f"c{i}" for i in rng.permutation(14)]
    known = [(i, best[text]) for i, text in enumerate(texts) if text in best]
    score = score_ranking(prompts_of(texts), truth_of(rows))
    repeated = {caption for caption, n in best.items() if n >= 8}
    assert len(repeated) > 1, "the case tests something"
    assert score.rank_correlation == pytest.approx(pearson_of_average_ranks([-i for i, _ in known], [n for _, n in known]))
    assert score.best_rank_correlation >= score.rank_correlation
    n = min(len(repeated), 14)
    assert score.precision_at_n == Share(num_hits=len(repeated & set(texts[:n])), num_trials=n)
    assert score.repeated_found == Share(num_hits=len(repeated & set(texts)), num_trials=len(repeated))


def test_a_truth_without_captions_is_refused():
    with pytest.raises(ConfigError, match="no column caption"):
        score_ranking(prompts_of(["one"]), TRUTH.drop_columns(["caption"]))
