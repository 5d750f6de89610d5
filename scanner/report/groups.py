"""The groups of the galleries: which are shown, with what they look like, what they are called and of which kinds they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scanner.core.sql import query_rows

if TYPE_CHECKING:
    import duckdb

NUM_GROUP_CAPTIONS = 4


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


def read_groups(connection: duckdb.DuckDBPyConnection, class_: str, num_groups: int, num_files: int) -> tuple[Group, ...]:
    """The first groups of a class, or of all that are ``ranked``, with their members, captions and kinds."""
    chosen: Mapping[str, int | str] = {"class": class_, "groups": num_groups}
    members, captions, kinds = defaultdict(list), defaultdict(list), defaultdict(list)
    for row in query_rows(connection, "report/gallery_members", {"files": num_files, **chosen}):
        members[row["group_id"]].append(Member(**row))
    for row in query_rows(connection, "report/gallery_captions", {"captions": NUM_GROUP_CAPTIONS, **chosen}):
        captions[row["group_id"]].append(GroupCaption(**row))
    for row in query_rows(connection, "report/gallery_kinds", chosen):
        kinds[row["group_id"]].append(GroupKind(**row))
    groups = []
    for row in query_rows(connection, "groups/top_groups", {"limit": num_groups, "class": class_}):
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
