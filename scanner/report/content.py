"""What the report says, read from the tables of a run by the query library: tops and totals, never whole tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scanner.core.config import ReportConfig
from scanner.core.sql import connect, find_query, run_query
from scanner.core.store import Store

if TYPE_CHECKING:
    import duckdb

NUM_BLANK_GROUPS = 12
NUM_GROUP_CAPTIONS = 4
NUM_CAPTIONS = 25
NUM_FAMILIES = 20
NUM_REASONS = 30
NUM_SHARDS = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """The row of ``report/overview``. Removable: what keeping one image a group would remove, blank groups included."""

    num_shards: int
    num_broken_shards: int
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
    largest_group: int
    largest_blank_group: int
    num_families: int
    num_ranked_captions: int


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
class Member:
    """A file of a group and the first image that has it; ``num_copies`` images of the group have the same bytes."""

    group_id: int
    position: int
    image_id: int
    is_representative: bool
    kind: str
    similarity: float
    num_copies: int
    num_files: int
    dataset: str
    shard: str
    key: str
    width: int | None
    height: int | None
    byte_offset: int | None
    num_bytes: int | None
    caption: str | None
    url: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupCaption:
    """A caption of a group and the number of its images and hosts that carry it."""

    group_id: int
    position: int
    caption: str
    num_images: int
    num_hosts: int
    caption_family: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupKind:
    """How many members of a group are of one kind, and the lowest cosine to the representative among them."""

    group_id: int
    kind: str
    num_images: int
    lowest_similarity: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A group of the gallery: its row of ``groups/top_groups``, and what is shown of its members and captions."""

    risk_rank: int | None
    group_id: int
    num_images: int
    num_exact: int
    num_distinct_captions: int
    caption_agreement: float | None
    num_hosts: int
    risk_score: float
    class_: str
    representative_id: int
    members: tuple[Member, ...]
    captions: tuple[GroupCaption, ...]
    kinds: tuple[GroupKind, ...]

    @property
    def num_files(self) -> int:
        """Different files among the images."""
        return self.members[0].num_files if self.members else 0

    @property
    def num_same_caption(self) -> int:
        """Images that carry the commonest caption: the first key of the rank."""
        return self.captions[0].num_images if self.captions else 0

    @property
    def lowest_similarity(self) -> float:
        return min((kind.lowest_similarity for kind in self.kinds), default=1.0)


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
    """All that the page is made of but the thumbnails and the settings."""

    overview: Overview
    histogram: tuple[Bin, ...]
    sweep: tuple[SweepRow, ...]
    audit: tuple[RecallBand, ...]
    groups: tuple[Group, ...]
    blank_groups: tuple[Group, ...]
    captions: tuple[TopCaption, ...]
    families: tuple[Family, ...]
    reasons: tuple[Reason, ...]
    shards: tuple[ShardHealth, ...]

    @property
    def shown_members(self) -> list[Member]:
        """Every member of both galleries, in the order of the page."""
        return [member for group in (*self.groups, *self.blank_groups) for member in group.members]


def read_content(store: Store, settings: ReportConfig) -> Content:
    """Content of the report of a finished run.

    Raises:
        QueryError: a table is not there yet.
    """
    with connect(store) as connection:
        return Content(
            overview=Overview(**_rows(connection, "report/overview")[0]),
            histogram=tuple(Bin(**row) for row in _rows(connection, "groups/duplicate_histogram")),
            sweep=tuple(SweepRow(**row) for row in _rows(connection, "groups/threshold_sweep")),
            audit=tuple(RecallBand(**row) for row in _rows(connection, "hygiene/recall_by_band")),
            groups=_groups(connection, "ranked", settings.num_groups, settings.images_a_group),
            blank_groups=_groups(connection, "blank", NUM_BLANK_GROUPS, 1),
            captions=tuple(TopCaption(**row) for row in _rows(connection, "risk/top_captions", limit=NUM_CAPTIONS)),
            families=tuple(Family(**row) for row in _rows(connection, "risk/caption_families", limit=NUM_FAMILIES)),
            reasons=tuple(Reason(**row) for row in _rows(connection, "report/unusable_reasons", limit=NUM_REASONS)),
            shards=tuple(ShardHealth(**row) for row in _rows(connection, "hygiene/shard_health", limit=NUM_SHARDS)),
        )


def _rows(connection: duckdb.DuckDBPyConnection, name: str, **parameters: int | str) -> list[dict[str, Any]]:
    cursor = run_query(connection, find_query(name), parameters)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _groups(connection: duckdb.DuckDBPyConnection, class_: str, num_groups: int, num_files: int) -> tuple[Group, ...]:
    """The first groups of a class, or of all that are ranked, with their members, captions and kinds."""
    chosen: Mapping[str, int | str] = {"class": class_, "groups": num_groups}
    members, captions, kinds = defaultdict(list), defaultdict(list), defaultdict(list)
    for row in _rows(connection, "report/gallery_members", files=num_files, **chosen):
        members[row["group_id"]].append(Member(**row))
    for row in _rows(connection, "report/gallery_captions", captions=NUM_GROUP_CAPTIONS, **chosen):
        captions[row["group_id"]].append(GroupCaption(**row))
    for row in _rows(connection, "report/gallery_kinds", **chosen):
        kinds[row["group_id"]].append(GroupKind(**row))
    groups = []
    for row in _rows(connection, "groups/top_groups", limit=num_groups, **{"class": class_}):
        id_ = row["group_id"]
        groups.append(
            Group(
                risk_rank=row["risk_rank"],
                group_id=id_,
                num_images=row["num_images"],
                num_exact=row["num_exact"],
                num_distinct_captions=row["num_distinct_captions"],
                caption_agreement=row["caption_agreement"],
                num_hosts=row["num_hosts"],
                risk_score=row["risk_score"],
                class_=row["class"],
                representative_id=row["representative_id"],
                members=tuple(members[id_]),
                captions=tuple(captions[id_]),
                kinds=tuple(kinds[id_]),
            )
        )
    return tuple(groups)
