"""The gallery: a card a group, with what its members look like, what they are called, and why it ranks where it does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from scanner.core.config import PriorConfig
from scanner.report.filters import LIST_ID, data_of
from scanner.report.frames import FRAME, NOT_READ, frame
from scanner.report.groups import Group, GroupCaption, Member
from scanner.report.markup import Html, element, foreign, join, plain
from scanner.report.numbers import compact, count, counted, percent, probability, similarity
from scanner.report.settings import redacted
from scanner.report.tables import columns, command, table
from scanner.report.thumbnails import Thumbnail

__all__ = ["CAPTION_LIMIT", "FRAME", "TEXT_LIMIT", "Gallery", "family_tag", "why_sentence"]

CAPTION_LIMIT = 200
TEXT_LIMIT = 140
"""Characters of a caption, key, url or reason in a table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """Renders groups.

    Attributes:
        thumbnails: by image_id.
        prior: the curve behind the risk score.
        num_ranked: groups that have a rank.
        given_back: what a model gave back of a group, by group_id: the strongest verdict.
    """

    thumbnails: Mapping[int, Thumbnail]
    prior: PriorConfig
    num_ranked: int
    given_back: Mapping[int, str] = field(default_factory=dict)

    def cards(self, groups: Iterable[Group]) -> Html:
        """The groups one below the other, in the order given."""
        cards = join(self._card(group, position) for position, group in enumerate(groups))
        return element("div", cards, class_="groups", id=LIST_ID)

    def blanks(self, groups: Iterable[Group]) -> Html:
        """Blank groups, one picture each."""
        return element("ul", join(self._blank(group) for group in groups), class_="blanks")

    def _card(self, group: Group, position: int) -> Html:
        id_ = f"group-{group.group_id}"
        rank = element("span", f"#{count(group.risk_rank)}", class_="rank") if group.risk_rank is not None else None
        header = element(
            "header",
            element("h3", rank, counted(group.num_images, "image"), id=f"{id_}-title"),
            join(self._tags(group)),
            element("span", "risk score ", element("b", probability(group.risk_score)), class_="risk"),
        )
        why = element("p", element("b", "Why risky: "), why_sentence(group), class_="reason")
        columns = element("div", self._strip(group), _captions(group), class_="columns")
        details = element("details", element("summary", "Rank, kinds and files"), self._why(group), _files(group))
        return element(
            "article", header, why, columns, details,
            class_="group", id=id_, tabindex=-1, aria_labelledby=f"{id_}-title", **data_of(group, position),
        )  # fmt: skip

    def _tags(self, group: Group) -> Iterable[Html]:
        if group.class_ != "picture":
            yield element("span", group.class_.replace("_", " "), class_="tag")
        verdict = self.given_back.get(group.group_id)
        if verdict:
            what = "its template came out of a model" if verdict == "template" else f"came out of a model: {verdict}"
            yield element("a", what, href="#extractions", class_="tag act")

    def _strip(self, group: Group) -> Html:
        hidden = group.num_files - len(group.members)
        more = None
        if hidden > 0:
            text = f"and {counted(hidden, 'more file')}, at least as similar to the one that is kept"
            more = element("p", text, class_="more")
        pictures = element("ul", join(element("li", self._figure(member)) for member in group.members), class_="strip")
        return element("div", pictures, more)

    def _figure(self, member: Member) -> Html:
        if member.is_representative:
            what = element("b", "kept")
        else:
            # That nothing has checked it yet is the rule, and said in the details; what a check found is worth a word here.
            what = join([element("b", similarity(member.similarity)), None if member.kind == "unverified" else f" {member.kind}"])
        size = f"{member.width} × {member.height}" if member.width and member.height else None
        caption = element("figcaption", what, element("br") if size else None, size)
        return element("figure", self._frame(member), caption, class_="kept" if member.is_representative else None)

    def _frame(self, member: Member) -> Html:
        badge = None
        if member.num_copies > 1:
            badge = element("span", f"×{compact(member.num_copies)} equal", class_="copies")
        role = "Representative" if member.is_representative else f"Member, similarity {similarity(member.similarity)}"
        alt = f"{role}: {plain(member.key, limit=TEXT_LIMIT)}"
        return frame(self.thumbnails.get(member.image_id, NOT_READ), alt=alt, badge=badge)

    def _blank(self, group: Group) -> Html:
        what = element(
            "figcaption",
            element("b", counted(group.num_images, "image")),
            element("br"),
            counted(group.num_files, "different file"),
        )
        return element("li", join(element("figure", self._frame(member), what) for member in group.members[:1]))

    def _why(self, group: Group) -> Html:
        """The numbers behind the rank and the risk score, in the words of docs/risk.md."""
        k, num_images, num_hosts = group.num_same_caption, count(group.num_images), count(group.num_hosts)
        prior = self.prior
        formula = "0: no member has a caption, so there is nothing to prompt with"
        if k:
            formula = f"{prior.max_probability:g} / (1 + ({prior.k50:g} / {k})^{prior.slope:g}) = {probability(group.risk_score)}"
        rank = "none: this group is not ranked"
        if group.risk_rank is not None:
            order = f"by images with one caption ({count(k)}), then images ({num_images}), then hosts ({num_hosts})"
            rank = f"{count(group.risk_rank)} of {count(self.num_ranked)}, {order}"
        copies = counted(group.num_exact, "image")
        facts: list[tuple[str, str]] = [
            ("Rank", rank),
            ("Risk score", join([formula, ". Prior: ", foreign(prior.source, limit=400)])),
            (
                "Files",
                f"{counted(group.num_files, 'different file')}; {copies} byte-equal to the representative, itself included",
            ),
            ("Kinds", ", ".join(f"{count(kind.num_images)} {kind.kind}" for kind in group.kinds)),
            ("Similarity", f"{similarity(group.lowest_similarity)} to the representative at the lowest"),
            ("Captions", _agreement(group)),
            ("All members", command(f"groups/group_members --param group_id={group.group_id} --param limit={group.num_images}")),
        ]
        return element("dl", join(join([element("dt", name), element("dd", text)]) for name, text in facts), class_="why")


def why_sentence(group: Group) -> str:
    """Why a group ranks where it does, in its own numbers: images, images under one caption, hosts, agreement, curve."""
    if group.class_ == "blank":
        return f"it is not: {counted(group.num_images, 'near-constant image')}, which give nothing away."
    same = group.num_same_caption
    one = "one file" if group.num_files == 1 else "one layout" if group.class_ == "template" else "one picture"
    times = f"{one}, {count(group.num_images)} times"
    hosts = f" on {counted(group.num_hosts, 'host')}" if group.num_hosts else ""
    if not same:
        return f"{times}{hosts}, and no caption to ask for it by: ranked by its size alone."
    if same == group.num_images:
        under = "every time under the same caption"
    elif same == 1:
        under = f"under {counted(group.num_distinct_captions, 'caption')}, none of them twice"
    else:
        under = f"{count(same)} of them under the same caption"
        if group.caption_agreement is not None:
            under += f" ({percent(group.caption_agreement)} of those that have one)"
    chance = f"The assumed curve gives {counted(same, 'repetition')} a {probability(group.risk_score)} chance to come out"
    return f"{times}{hosts}, {under}. {chance}."


def _agreement(group: Group) -> str:
    if not group.num_distinct_captions:
        return "none"
    text = counted(group.num_distinct_captions, "different caption")
    if group.caption_agreement is not None:
        text += f"; {percent(group.caption_agreement)} of the captioned images carry the commonest"
    return text


def _captions(group: Group) -> Html:
    if not group.captions:
        return element("div", element("h4", "Captions"), element("p", "No member has a caption.", class_="more"))
    hidden = group.num_distinct_captions - len(group.captions)
    more = element("p", f"and {counted(hidden, 'other caption')}", class_="more") if hidden > 0 else None
    lines = join(_caption(caption, group.num_images) for caption in group.captions)
    return element("div", element("h4", "Images by caption"), element("ul", lines, class_="said"), more)


def _caption(caption: GroupCaption, num_images: int) -> Html:
    bar = f"--share: {100 * caption.num_images / num_images:.1f}%"
    text = element("span", foreign(caption.caption, limit=CAPTION_LIMIT), family_tag(caption.caption_family))
    return element("li", element("span", count(caption.num_images), class_="n", style=bar), text)


def family_tag(caption_family: str | None) -> Html | None:
    """Marks a caption that is one of many of the same mask."""
    return join([" ", element("span", "family", class_="tag")]) if caption_family else None


def _files(group: Group) -> Html:
    """The files shown, by name. Urls are text and no links: what they lead to today is nobody's promise."""
    rows = [
        (
            foreign(member.key, limit=TEXT_LIMIT),
            foreign(redacted(f"{member.dataset}/{member.shard}"), limit=TEXT_LIMIT),
            "representative" if member.is_representative else member.kind,
            similarity(member.similarity),
            count(member.num_copies),
            foreign(member.caption, limit=TEXT_LIMIT),
            foreign(member.url, limit=TEXT_LIMIT),
        )
        for member in group.members
    ]
    heads = columns("File", "Shard", "Kind", "#Similarity", "#Copies", "Caption", "Published at")
    return table(heads, rows, caption="The files shown, the representative first")
