"""What the report says, read from the tables of a run by the query library: tops and totals, never whole tables."""

from __future__ import annotations

from dataclasses import dataclass

from scanner.core.config import ReportConfig
from scanner.core.sql import connect, query_rows
from scanner.core.store import Store
from scanner.report.groups import Group, Member, read_groups

NUM_BLANK_GROUPS = 12
NUM_CAPTIONS = 25
NUM_FAMILIES = 20
NUM_REASONS = 30
NUM_SHARDS = 40
OFTEN, VERY_OFTEN = 10, 100
"""Copies under one caption: worth a look; where most of what Carlini et al. 2023 (Fig. 5) extracted lay."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """The row of ``report/overview``. Removable: what keeping one image a group would remove, blank groups included."""

    num_shards: int
    num_broken_shards: int
    num_lossy_shards: int
    num_images: int
    num_ok: int
    num_unreadable: int
    num_missing: int
    num_too_small: int
    num_too_large: int
    num_blank: int
    num_without_caption: int
    num_groups: int
    num_ranked_groups: int
    num_blank_groups: int
    num_grouped: int
    num_removable: int
    num_removable_protected: int
    largest_group: int
    largest_blank_group: int
    num_families: int
    num_ranked_captions: int

    @property
    def num_unusable(self) -> int:
        return self.num_images - self.num_ok


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskTotals:
    """The row of ``report/risk_totals``: ranked captions that at least ``OFTEN`` and ``VERY_OFTEN`` copies of an image carry."""

    num_often: int
    num_very_often: int
    most_repeated: int
    expected_images: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassTotals:
    """A row of ``report/classes``."""

    class_: str
    is_protected: bool
    num_groups: int
    num_images: int
    num_removable: int
    largest_group: int
    num_unverified: int
    num_refuted: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlier:
    """A row of ``report/gallery_outliers``."""

    position: int
    image_id: int
    outlier_score: float
    num_neighbors: int
    dataset: str
    shard: str
    key: str
    width: int | None
    height: int | None
    caption: str | None
    url: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """Images whose duplicate count lies within two bounds, both included."""

    duplicates_from: int
    duplicates_to: int
    num_images: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepRow:
    """What one threshold would call a duplicate. ``removable_share`` is of the embedded images."""

    threshold: float
    num_groups: int
    num_grouped: int
    largest_group: int
    num_pairs: int
    num_removable: int
    removable_share: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TopCaption:
    """A row of ``risk/top_captions``."""

    risk_rank: int
    caption: str
    num_caption_images: int
    num_images: int
    num_hosts: int
    risk_score: float
    caption_family: str | None
    group_id: int
    representative_id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """A row of ``risk/caption_families``."""

    caption_family: str
    num_groups: int
    num_images: int
    num_captions: int
    example_caption: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """A row of ``report/unusable_reasons``; ``num_reasons`` is their number before the limit."""

    status: str
    reason: str
    num_images: int
    example_keys: list[str]
    num_reasons: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardHealth:
    """A row of ``hygiene/shard_health``."""

    shard_id: int
    dataset: str
    url: str
    status: str
    error_message: str | None
    num_images: int
    num_ok: int
    num_missing: int
    num_blank: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RecallBand:
    """What the search found of the true pairs of sampled images in a band of similarity; None where there is none."""

    measure: str
    band: str
    num_rows_sampled: int
    num_rows: int
    num_pairs: int
    recall: float | None
    recall_low: float
    recall_high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What the page says of the scan itself; models, other sets and settings come beside it."""

    overview: Overview
    risk: RiskTotals
    classes: tuple[ClassTotals, ...]
    histogram: tuple[Bin, ...]
    sweep: tuple[SweepRow, ...]
    audit: tuple[RecallBand, ...]
    groups: tuple[Group, ...]
    blank_groups: tuple[Group, ...]
    outliers: tuple[Outlier, ...]
    captions: tuple[TopCaption, ...]
    families: tuple[Family, ...]
    reasons: tuple[Reason, ...]
    shards: tuple[ShardHealth, ...]

    @property
    def shown_members(self) -> list[Member]:
        """Every member of both galleries, in the order of the page."""
        return [member for group in (*self.groups, *self.blank_groups) for member in group.members]

    @property
    def image_ids(self) -> list[int]:
        """Images that are shown, the most important first: those that come late are the first to go where a page is full."""
        first = [group.members[0].image_id for group in self.groups if group.members]
        shown = [*first, *(outlier.image_id for outlier in self.outliers), *(member.image_id for member in self.shown_members)]
        return list(dict.fromkeys(shown))


def read_content(store: Store, settings: ReportConfig) -> Content:
    """Content of the report of a finished run.

    Raises:
        QueryError: a table is not there yet.
    """
    with connect(store) as db:
        return Content(
            overview=Overview(**query_rows(db, "report/overview")[0]),
            risk=RiskTotals(**query_rows(db, "report/risk_totals", {"often": OFTEN, "very_often": VERY_OFTEN})[0]),
            classes=tuple(ClassTotals(class_=row.pop("class"), **row) for row in query_rows(db, "report/classes")),
            histogram=tuple(Bin(**row) for row in query_rows(db, "groups/duplicate_histogram")),
            sweep=tuple(SweepRow(**row) for row in query_rows(db, "groups/threshold_sweep")),
            audit=tuple(RecallBand(**row) for row in query_rows(db, "hygiene/recall_by_band")),
            groups=read_groups(db, "ranked", settings.num_groups, settings.images_a_group),
            blank_groups=read_groups(db, "blank", NUM_BLANK_GROUPS, 1),
            outliers=tuple(Outlier(**row) for row in query_rows(db, "report/gallery_outliers", {"limit": settings.num_outliers})),
            captions=tuple(TopCaption(**row) for row in query_rows(db, "risk/top_captions", {"limit": NUM_CAPTIONS})),
            families=tuple(Family(**row) for row in query_rows(db, "risk/caption_families", {"limit": NUM_FAMILIES})),
            reasons=tuple(Reason(**row) for row in query_rows(db, "report/unusable_reasons", {"limit": NUM_REASONS})),
            shards=tuple(ShardHealth(**row) for row in query_rows(db, "hygiene/shard_health", {"limit": NUM_SHARDS})),
        )
