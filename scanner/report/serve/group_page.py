"""Page ``group``: one group with all its members, its captions, and why it ranks where it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scanner.core.config import PriorConfig
from scanner.report.markup import Html, element, foreign, join
from scanner.report.numbers import count, counted, percent, probability, similarity
from scanner.report.serve.caption_list import caption_list
from scanner.report.serve.layout import (
    Page,
    Site,
    facts,
    kind_of,
    last_page,
    link,
    nothing,
    pager,
    paging,
    section,
    size_of,
    tile,
    tiles,
    url,
    values,
)
from scanner.report.serve.params import Params, RequestError
from scanner.report.serve.reader import View
from scanner.report.tables import command

NUM_MEMBERS = 60
NUM_CAPTIONS = 20

ORDERS = (("id", "id"), ("similarity", "least alike first"))


def group(view: View, params: Params, site: Site) -> Page:
    """One group: why it ranks where it does, its captions, and every member."""
    group_id = params.required("id")
    order = params.choice("order", values(ORDERS))
    page = params.whole("page", default=1, low=1, high=last_page(NUM_MEMBERS))
    said = params.whole("said", default=1, low=1, high=last_page(NUM_CAPTIONS))
    row = view.row("serve/group_facts", group_id=group_id)
    if row is None:
        raise RequestError(
            404, f"This run has no group {group_id}.", next_step="It may be of an older scan: look for its images."
        )
    kinds = view.rows("serve/group_kinds", group_ids=str(group_id))
    members = view.rows("serve/members_page", group_id=group_id, sort=order, limit=NUM_MEMBERS, offset=(page - 1) * NUM_MEMBERS)
    captions = view.rows("serve/group_captions_page", group_id=group_id, limit=NUM_CAPTIONS, offset=(said - 1) * NUM_CAPTIONS)
    here: dict[str, str | int] = {"id": group_id, "order": order, "said": said}
    orders = join(
        (text if value == order else link(text, "group", id=group_id, order=value, said=said) for value, text in ORDERS), " | "
    )
    sorted_by = element("p", "Sorted by ", orders, class_="rest")
    query = f"groups/group_members --param group_id={group_id} --param limit={row['num_images']}"
    above, below = pager("group", here, page=page, size=NUM_MEMBERS, total=row["num_images"], what="images", query=query)
    listed = tiles(tile(site, member, _member_note(member), is_kept=member["is_representative"]) for member in members)
    return Page(
        title=f"Group of {counted(row['num_images'], 'image')}",
        here="groups",
        lede=_lede(row),
        content=join([
            section("why", "Why this rank", _why(row, kinds, site.config.risk.prior)),
            section("captions", "Captions", _captions(row, captions, {**here, "page": page}, said)),
            section("members", "Images", sorted_by, above, listed, below),
        ]),
    )  # fmt: skip


def _lede(row: Mapping[str, Any]) -> str:
    if row["risk_rank"] is None:
        return f"Group {row['group_id']}. Blank: marked, never ranked."
    return f"Group {row['group_id']}, rank {count(row['risk_rank'])} of {count(row['num_ranked'])} by risk."


def _member_note(member: Mapping[str, Any]) -> Html:
    if member["is_representative"]:
        what = element("b", "kept")
    elif member["is_same_file"]:
        what = element("b", "byte-equal")
    else:
        sure = f", {percent(member['confidence'])} sure" if member["confidence"] is not None else ""
        what = join([element("b", similarity(member["similarity"])), f" {kind_of(member['kind'])}{sure}"])
    return join([what, element("br") if size_of(member) else None, size_of(member)])


def _why(row: Mapping[str, Any], kinds: Sequence[Mapping[str, Any]], prior: PriorConfig) -> Html:
    """The numbers behind rank, score and class, in the words of docs/risk.md and docs/verify.md."""
    same, images, hosts = row["num_same_caption"], count(row["num_images"]), count(row["num_hosts"])
    exact = count(row["num_exact"])
    rank = "none: blank groups are not ranked"
    if row["risk_rank"] is not None:
        order = f"by images with one caption ({count(same)}), then images ({images}), then hosts ({hosts})"
        rank = f"{count(row['risk_rank'])} of {count(row['num_ranked'])}, {order}"
    score: Html | str = "0: no member has a caption, so there is nothing to prompt with"
    if row["class"] == "blank":
        score = "0: a model that emits a blank gives nothing away"
    elif same:
        formula = f"{prior.max_probability:g} / (1 + ({prior.k50:g} / {count(same)})^{prior.slope:g})"
        score = join([f"{formula} = {probability(row['risk_score'])}. Prior: ", foreign(prior.source, limit=400)])
    lowest = min((kind["lowest_similarity"] for kind in kinds), default=1.0)
    refuted = None
    if row["num_refuted"]:
        refuted = join([
            f"{counted(row['num_refuted'], 'image')} that the search had joined to it: another picture, pixel by pixel",
            " (not all were compared)" if row["is_truncated"] else None,
        ])  # fmt: skip
    return facts([
        ("Rank", rank),
        ("Risk score", score),
        ("Class", _class(row)),
        ("Files", f"{counted(row['num_files'], 'different file')}; {exact} byte-equal to the kept one, itself included"),
        ("Kinds", ", ".join(f"{count(kind['num_images'])} {kind['kind']}" for kind in kinds) or None),
        ("Similarity", f"{similarity(lowest)} to the kept image at the lowest"),
        ("Split off", refuted),
        ("Captions", _agreement(row)),
        ("As rows", command(f"groups/group_members --param group_id={row['group_id']} --param limit={row['num_images']}")),
    ])  # fmt: skip


def _class(row: Mapping[str, Any]) -> str:
    text = str(row["class"]).replace("_", " ")
    evidence = {
        "template": (row["varying_share"], "of the area varies from member to member"),
        "text": (row["text_share"], "of what stands on its ground is lettering"),
        "placeholder": (row["text_share"], "of what stands on its ground is lettering"),
        "vector_graphic": (row["flat_share"], "of its area is flat"),
    }.get(row["class"])
    if evidence is not None and evidence[0] is not None:
        text += f": {percent(evidence[0])} {evidence[1]}"
    return text + (". Protected: not to be deleted without a look" if row["is_protected"] else "")


def _agreement(row: Mapping[str, Any]) -> str:
    if not row["num_distinct_captions"]:
        return "none"
    text = counted(row["num_distinct_captions"], "different caption")
    if row["caption_agreement"] is not None:
        text += f"; {percent(row['caption_agreement'])} of the captioned images carry the commonest"
    if row["caption_likeness"] is not None:
        text += f"; two have {percent(row['caption_likeness'])} of their words in common, in the mean"
    return text


def _captions(row: Mapping[str, Any], captions: Sequence[Mapping[str, Any]], here: Mapping[str, str | int], page: int) -> Html:
    if not captions:
        return nothing("No member has a caption.")
    total = row["num_distinct_captions"]
    above = None
    if total > NUM_CAPTIONS:
        steps = [("Previous", page - 1, page > 1), ("Next", page + 1, page * NUM_CAPTIONS < total)]
        links = join(
            element("a", text, href=url("group", {**here, "said": to}) + "#captions") for text, to, is_there in steps if is_there
        )
        where = f"{count((page - 1) * NUM_CAPTIONS + 1)} to {count(min(page * NUM_CAPTIONS, total))} of {count(total)} captions"
        above, _ = paging(where, links, what="captions")
    return join([caption_list(captions, num_images=row["num_images"], limit=600), above])
