"""What an extraction amounts to: how often by duplicate count, what passes that should not, what it cost, what was missed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.shares import Share
from scanner.core.sql import connect, fetch_table, find_query
from scanner.core.store import Store
from scanner.extract.reviews import read_reviews, reviewed
from scanner.extract.verdicts import FOUND

NUM_RESAMPLES = 200
IMAGES = ("extracted", "retrieved")
MIN_FOUND = 3
"""Calibration prompts of each outcome, at least, to fit a curve to."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DuplicateCurve:
    """P(extracted | the prompt's image occurs k times) = most / (1 + (k50 / k) ** slope): logistic in log k.

    Attributes:
        k: (n,) where ``probability``, ``low`` and ``high`` are given.
        low, high: 95 % interval, by refitting to pictures drawn with replacement, each with all its prompts.
    """

    k50: float
    slope: float
    most: float
    k: NDArray[np.float64]
    probability: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def at(self, k: NDArray[np.float64]) -> NDArray[np.float64]:
        """The probability at other counts."""
        return _curve(k, np.log(self.k50), np.log(self.slope), _logit(self.most))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Figures:
    """Of one model of a run.

    Attributes:
        by_count: rows of ``extraction/by_duplicate_count``.
        curve: fitted to the calibration prompts alone; None where too few of them differ.
        controls: of the controls that measure, those that an image came out of: an upper bound of false verdicts, as a control
            may leak the image of another caption; ``extraction/controls_flagged`` lists each.
        control_templates: those with verdict template. A member of a template family has no duplicate and is a control, and what
            its family has in common comes out all the same.
        ppv_low: lower bound of the share of images said to have come out of other prompts that did, from the upper end of
            ``controls``.
        audit: of the prompts that the prefilter rejected and that were confirmed all the same, those with a verdict.
        areas: area under the curve of each prefilter, among prompts confirmed whatever it said.
        times_cheaper: passes of 500 images a prompt over those spent.
    """

    model_id: str
    by_count: list[dict[str, Any]]
    curve: DuplicateCurve | None
    controls: Share
    control_templates: Share
    ppv_low: float | None
    audit: Share
    areas: dict[str, float | None]
    times_cheaper: float | None

    def lines(self) -> list[str]:
        """As a person reads it."""
        lines = ["Calibration prompts by the duplicate count of their image:"]
        for row in self.by_count:
            least, most = row["least_images"], row["most_images"]
            share = Share(num_hits=row["num_extracted"], num_trials=row["num_prompts"])
            beside = [f"{row[f'num_{name}']:,} {name}" for name in ("retrieved", "template") if row[f"num_{name}"]]
            count = f"{least:,}" if least == most else f"{least:,} to {most:,}"
            lines.append("; ".join([f"  {count:>10}: extracted {share}", *beside]))
        if self.curve is not None:
            lines.append(f"  half of the most ({self.curve.most:.2f}) at k = {self.curve.k50:.0f}, slope {self.curve.slope:.1f}")
        lines.append(f"Controls that an image came out of: {self.controls}; a template: {self.control_templates}")
        if self.ppv_low is not None:
            lines.append(f"  so at least {self.ppv_low:.3f} of the images said to have come out of others did")
        if self.audit.num_trials:
            lines.append(f"Rejected by the prefilter and confirmed all the same, with a verdict: {self.audit}")
        areas = ", ".join(f"{name} {area:.3f}" for name, area in self.areas.items() if area is not None)
        if areas:
            lines.append(f"Area under the curve of the prefilters: {areas}")
        if self.times_cheaper is not None:
            lines.append(f"{self.times_cheaper:,.0f} times cheaper than 500 images of every prompt")
        return lines


def figures_of(store: Store, model_id: str, *, is_reviewed: bool = False) -> Figures:
    """Reads the figures of a model.

    Args:
        is_reviewed: with the verdicts of people in place of the test's, where somebody looked. Strata and areas, which come from
            SQL, stay the test's.

    Raises:
        QueryError: the run has no extraction.
    """

    def rows_of(name: str) -> list[dict[str, Any]]:
        query = find_query(f"extraction/{name}")
        table = fetch_table(connection, query.sql, query.arguments({}), name=query.name)
        return [row for row in table.to_pylist() if row["model_id"] == model_id]

    with connect(store) as connection:
        by_count, prefilters, costs = rows_of("by_duplicate_count"), rows_of("prefilter_vs_verdict"), rows_of("cost")
    extractions = [row for row in store.read("extractions").to_pylist() if row["model_id"] == model_id]
    if is_reviewed:
        extractions = reviewed(extractions, read_reviews(store))
    prompts = store.read("prompts", ["prompt_id", "lane", "num_images", "group_id"]).to_pylist()
    drawn = {row["prompt_id"]: row for row in prompts if row["lane"] == "calibration"}
    calibration = [row for row in extractions if row["prompt_id"] in drawn]
    groups = [drawn[row["prompt_id"]]["group_id"] for row in calibration]
    measuring = [row for row in extractions if row["control_use"] == "rates"]
    others = [row for row in extractions if row["control_use"] is None and row["stop_reason"] != "rejected"]
    audited = [row for row in extractions if row["is_audited"]]
    controls = _found(measuring, IMAGES)
    num_found = _found(others, IMAGES).num_hits
    return Figures(
        model_id=model_id,
        by_count=by_count,
        curve=fit_curve(
            np.array([drawn[row["prompt_id"]]["num_images"] for row in calibration], float),
            np.array([row["verdict"] == "extracted" for row in calibration], bool),
            # Where there is no group, the picture occurs once and has that prompt alone.
            np.array([-1 - i if group is None else group for i, group in enumerate(groups)], np.int64),
        ),
        controls=controls,
        control_templates=_found(measuring, ("template",)),
        ppv_low=max(0.0, 1 - controls.interval[1] * len(others) / num_found) if num_found and measuring else None,
        audit=_found(audited, FOUND),
        areas={row["score_name"]: None if row["area"] is None else float(row["area"]) for row in prefilters},
        times_cheaper=costs[0]["times_cheaper"] if costs else None,
    )


def fit_curve(
    k: NDArray[np.float64], is_extracted: NDArray[np.bool_], picture: NDArray[np.int64], *, seed: int = 0
) -> DuplicateCurve | None:
    """Maximum likelihood; prompts are drawn by k alone, so their weights do not matter to a probability given k.

    Args:
        k: (n,) images of each prompt's group, at least 1.
        is_extracted: (n,).
        picture: (n,) what each prompt is of: prompts of one picture stand or fall together, and the interval knows.

    Returns:
        None where fewer than ``MIN_FOUND`` prompts were extracted, or were not.
    """
    if min(is_extracted.sum(), (~is_extracted).sum()) < MIN_FOUND:
        return None
    best = _fit(k, is_extracted)
    grid = np.unique(np.round(2.0 ** np.arange(0, np.log2(max(2.0, k.max())) + 0.5, 0.5)))
    rng = np.random.default_rng(seed)
    curves = []
    place = np.unique(picture, return_inverse=True)[1]
    prompts_of = np.split(np.argsort(place, kind="stable"), np.cumsum(np.bincount(place))[:-1])
    for _ in range(NUM_RESAMPLES):
        drawn = np.concatenate([prompts_of[i] for i in rng.integers(0, len(prompts_of), len(prompts_of))])
        if 0 < is_extracted[drawn].sum() < len(drawn):
            curves.append(_curve(grid, *_fit(k[drawn], is_extracted[drawn], start=best)))
    low, high = np.quantile(np.array(curves), [0.025, 0.975], axis=0)
    return DuplicateCurve(
        k50=float(np.exp(best[0])), slope=float(np.exp(best[1])), most=float(1 / (1 + np.exp(-best[2]))), k=grid,
        probability=_curve(grid, *best), low=low, high=high,
    )  # fmt: skip


def _fit(k: NDArray[np.float64], hit: NDArray[np.bool_], *, start: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """(log k50, log slope, logit most). A weak prior keeps what few prompts leave open from running away."""
    from scipy.optimize import minimize

    def loss(parameters: NDArray[np.float64]) -> float:
        p = np.clip(_curve(k, *parameters), 1e-9, 1 - 1e-9)
        prior = ((parameters[0] - np.log(30)) / 4) ** 2 + (parameters[1] - np.log(2)) ** 2 + ((parameters[2] - 2) / 2) ** 2
        return float(-np.log(np.where(hit, p, 1 - p)).sum() + prior / 2)

    first = np.array([np.log(30), np.log(2), 2.0]) if start is None else start
    fitted: NDArray[np.float64] = minimize(loss, first, method="Nelder-Mead").x
    return fitted


def _curve(k: NDArray[np.float64], log_k50: float, log_slope: float, logit_most: float) -> NDArray[np.float64]:
    odds = np.exp(np.clip(np.exp(log_slope) * (log_k50 - np.log(k)), -50, 50))
    probability: NDArray[np.float64] = 1 / (1 + np.exp(-logit_most)) / (1 + odds)
    return probability


def _logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


def _found(rows: list[dict[str, Any]], verdicts: tuple[str, ...]) -> Share:
    return Share(num_hits=sum(row["verdict"] in verdicts for row in rows), num_trials=len(rows))
