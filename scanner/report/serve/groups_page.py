"""Page ``groups``: the groups that fit, a card each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from scanner.report.markup import Html, element, join
from scanner.report.numbers import count, counted, probability, similarity
from scanner.report.serve.caption_list import caption_list
from scanner.report.serve.layout import (
    TEXT_LIMIT,
    Page,
    Site,
    choice_field,
    filters,
    frame,
    kind_of,
    last_page,
    nothing,
    number_field,
    pager,
    search_field,
    size_of,
    url,
    values,
)
from scanner.report.serve.params import Params
from scanner.report.serve.reader import View

NUM_GROUPS = 20
NUM_CAPTIONS = 4
NUM_FILES = 6
"""Captions, and different files, shown of each."""
Row = Mapping[str, Any]
Rows = Sequence[Row]

CLASSES = (
    ("any", "any"),
    ("ranked", "all but blank"),
    ("picture", "picture"),
    ("template", "template"),
    ("text", "text"),
    ("vector_graphic", "vector graphic"),
    ("placeholder", "placeholder"),
    ("blank", "blank"),
)
KINDS = (("any", "any"), ("exact", "exact"), ("near", "near"), ("semantic", "semantic"), ("unverified", "unverified"))
SORTS = (("risk", "risk"), ("size", "size"))


def groups(view: View, params: Params, site: Site) -> Page:
    """Groups by risk or size, filtered by class, kind, size and caption."""
    class_ = params.choice("class", values(CLASSES))
    kind, sort = params.choice("kind", values(KINDS)), params.choice("sort", values(SORTS))
    least, text = params.whole("min", default=2, low=2), params.text("q")
    page = params.whole("page", default=1, low=1, high=last_page(NUM_GROUPS))
    asked: dict[str, int | str] = {"class": class_, "kind": kind, "min_images": least, "caption": text, "sort": sort}
    rows = view.rows("serve/groups_page", **asked, limit=NUM_GROUPS, offset=(page - 1) * NUM_GROUPS)
    chosen: dict[str, int | str] = {"q": text, "class": class_, "kind": kind, "min": least, "sort": sort}
    is_default = chosen == {"q": "", "class": "any", "kind": "any", "min": 2, "sort": "risk"}
    form = filters(
        "groups",
        search_field("q", "Caption contains", text),
        choice_field("class", "Class", CLASSES, class_),
        choice_field("kind", "With a member of kind", KINDS, kind),
        number_field("min", "Images, at least", least, low=2),
        choice_field("sort", "Sorted by", SORTS, sort),
        is_set=not is_default,
    )
    if not rows:
        empty = nothing("No group fits." if page == 1 else "There are no more groups.")
        return Page(title="Groups", here="groups", content=join([form, empty]))
    total = rows[0]["num_fitting"]
    query = f"serve/groups_page --param caption= --param limit={total}"
    above, below = pager("groups", chosen, page=page, size=NUM_GROUPS, total=total, what="groups", query=query)
    cards = element("div", cards_of(rows, view, site), class_="groups")
    return Page(title="Groups", here="groups", lede=_ABOUT, content=join([form, above, cards, below]))


_ABOUT = (
    "Images that show one picture. First come those that a model is likeliest to memorize: most images under one and the same "
    "caption. The framed picture is the one to keep; then come those least like it."
)


def cards_of(rows: Rows, view: View, site: Site, *, num_files: int = NUM_FILES, level: int = 2) -> Html:
    """A card for each row of ``serve/groups_page``, its heading of a level."""
    ids = ",".join(str(row["group_id"]) for row in rows)
    files, kinds, captions = defaultdict(list), defaultdict(list), defaultdict(list)
    for file in view.rows("serve/group_strips", group_ids=ids, files=num_files):
        files[file["group_id"]].append(file)
    for kind in view.rows("serve/group_kinds", group_ids=ids):
        kinds[kind["group_id"]].append(kind)
    for caption in view.rows("serve/commonest_captions", group_ids=ids, captions=NUM_CAPTIONS):
        captions[caption["group_id"]].append(caption)
    return join(
        _card(row, files[row["group_id"]], kinds[row["group_id"]], captions[row["group_id"]], site, level) for row in rows
    )


def _card(row: Row, files: Rows, kinds: Rows, captions: Rows, site: Site, level: int) -> Html:
    target = url("group", {"id": row["group_id"]})
    rank = element("span", f"#{count(row['risk_rank'])}", class_="rank") if row["risk_rank"] is not None else None
    told: list[Html | str] = [counted(row["num_files"], "different file")]
    if row["class"] != "picture":
        told.insert(0, element("b", row["class"].replace("_", " ")))
    if captions:
        told.append(f"{count(captions[0]['num_images'])} with the same caption")
    if row["num_hosts"]:
        told.append(counted(row["num_hosts"], "host"))
    if kinds:
        told.append(f"similarity from {similarity(min(kind['lowest_similarity'] for kind in kinds))}")
    header = element(
        "header",
        element(f"h{level}", rank, element("a", counted(row["num_images"], "image"), href=target)),
        element("span", "risk score ", element("b", probability(row["risk_score"])), class_="risk"),
        element("ul", join(element("li", fact) for fact in told), class_="facts"),
    )
    strip = element("ul", join(element("li", _file(file, site)) for file in files), class_="strip big")
    hidden = row["num_files"] - len(files)
    more = element("p", f"and {counted(hidden, 'more file')}", class_="more") if hidden > 0 else None
    pictures = element("div", strip, more)
    columns = element("div", pictures, _captions(row, captions), class_="columns")
    return element("article", header, columns, class_="group", id=f"group-{row['group_id']}")


def _file(file: Row, site: Site) -> Html:
    what = "kept" if file["is_representative"] else f"{similarity(file['similarity'])} {kind_of(file['kind'])}"
    badge = element("span", f"×{count(file['num_copies'])} byte-equal", class_="copies") if file["num_copies"] > 1 else None
    picture = frame(site, file, alt=f"Image {file['image_id']}, {what}", side=116, badge=badge)
    note = element("figcaption", element("b", what) if file["is_representative"] else what, element("br"), size_of(file))
    return element("figure", picture, note, class_="kept" if file["is_representative"] else None)


def _captions(row: Row, captions: Rows) -> Html:
    if not captions:
        return element("div", element("p", "No member has a caption.", class_="more"))
    hidden = row["num_distinct_captions"] - len(captions)
    more = element("p", f"and {counted(hidden, 'other caption')}", class_="more") if hidden > 0 else None
    return element("div", caption_list(captions, num_images=row["num_images"], limit=TEXT_LIMIT), more)
