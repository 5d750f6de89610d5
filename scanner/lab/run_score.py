"""A finished run against the truth of the planted set that it scanned: groups, then the ranking of prompts.

A further table of the run is scored by one more function of (tables, truth), a field here, and a line in ``score_run``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scanner.core.store import Store
from scanner.lab.ranking import RankingScore, score_ranking
from scanner.lab.scoring import GroupScore, score_groups

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True, slots=True)
class RunScore:
    """Every score of one run."""

    run: str
    groups: GroupScore
    ranking: RankingScore

    def lines(self) -> list[str]:
        """The scores as a person reads them."""
        return [*self.groups.lines(), *self.ranking.lines()]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: a key a score."""
        return {"run": self.run, "groups": self.groups.to_dict(), "ranking": self.ranking.to_dict()}


def score_run(store: Store, truth: pa.Table) -> RunScore:
    """Scores the tables ``groups`` and ``prompts`` of a run.

    Args:
        truth: as ``truth_rows.read_truth`` gives it.

    Raises:
        ConfigError: the truth is of another set.
        StoreError: the run has no table images, groups or prompts yet, or one cannot be read.
    """
    import pyarrow.compute as pc

    groups = store.read("groups", ["image_id", "group_id"])
    images = store.read("images", ["image_id", "key", "caption"])
    prompts = store.read("prompts", ["prompt", "lane", "risk_rank"])
    return RunScore(
        run=store.url,
        groups=score_groups(images, groups, truth),
        ranking=score_ranking(prompts.filter(pc.equal(prompts["lane"], "duplicate")), truth),
    )
