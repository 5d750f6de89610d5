"""Page ``leaks``: images of the run that another set shows too, such as an evaluation set or a list of take-downs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scanner.report.markup import Html, element, foreign, join, plain
from scanner.report.numbers import count, counted, percent, similarity
from scanner.report.serve.layout import (
    TEXT_LIMIT,
    Page,
    Site,
    choice_field,
    filters,
    frame,
    last_page,
    link,
    nothing,
    pager,
    values,
    words,
)
from scanner.report.serve.params import Params
from scanner.report.serve.reader import View
from scanner.report.settings import redacted
from scanner.report.tables import columns, table

NUM_LEAKS = 40
ALL = "*"
KINDS = (("any", "any"), ("exact", "exact"), ("near", "near"), ("semantic", "semantic"), ("unverified", "unverified"))
_ROLES = {"eval": "evaluation: must not be trained on", "takedown": "take-down: must go"}


def leaks(view: View, params: Params, site: Site) -> Page:
    """Which other sets were compared, and every image that is in both, the surest first."""
    sets = view.rows("serve/comparisons_found")
    others = [(ALL, "all")] + [(row["other"], plain(row["other"], limit=60)) for row in sets]
    other, kind = params.choice("other", values(others)), params.choice("kind", values(KINDS))
    page = params.whole("page", default=1, low=1, high=last_page(NUM_LEAKS))
    rows = view.rows("serve/leaks_page", other=other, kind=kind, limit=NUM_LEAKS, offset=(page - 1) * NUM_LEAKS)
    form = filters(
        "leaks",
        choice_field("other", "Other set", others, other),
        choice_field("kind", "Kind", KINDS, kind),
        is_set=(other, kind) != (ALL, "any"),
    )
    top = join([_sets(sets), form])
    if not rows:
        empty = "No image of this run is in the other set, or none fits." if page == 1 else "There are no more."
        return Page(title="Leaks", here="leaks", content=join([top, nothing(empty)]))
    total = rows[0]["num_fitting"]
    query = f"serve/leaks_page --param limit={total}"
    chosen: dict[str, str | int] = {"other": other, "kind": kind}
    above, below = pager("leaks", chosen, page=page, size=NUM_LEAKS, total=total, what="pairs", query=query)
    cells = [_cells(row, site) for row in rows]
    heads = columns("Caption here", "Image here", "Kind", "#Similarity", "Other set", "There", "Look")
    content = element("div", table(heads, cells, caption="Images that are in both, the surest first"), class_="panel wordy")
    return Page(title="Leaks", here="leaks", content=join([top, above, content, below]))


def _sets(rows: Sequence[Mapping[str, Any]]) -> Html:
    cells = []
    for row in rows:
        name = join(
            [foreign(row["other"], limit=TEXT_LIMIT), element("div", foreign(redacted(row["url"]), limit=200), class_="cause")]
        )
        how = f"cosine {row['threshold']:g}" if row["threshold"] is not None else "hashes"
        if row["max_hash_distance"] is not None:
            how = f"hashes, {counted(row['max_hash_distance'], 'bit')}"
        numbers = ("num_left_found", "num_exact", "num_near", "num_semantic", "num_unverified", "num_right_found", "num_right")
        cells.append((name, _ROLES.get(row["role"], row["role"]), how, *(count(row[key]) for key in numbers)))
    heads = columns(
        "Other set", "Role", "Compared by", "#Images here in it", "#Exact", "#Near", "#Semantic", "#Unverified", "#Of its images",
        "#Of so many",
    )  # fmt: skip
    if not cells:
        return nothing("This run was compared with no other set.")
    return element("div", table(heads, cells, caption="Sets that the run was compared with"), class_="panel wordy")


def _cells(row: Mapping[str, Any], site: Site) -> tuple[Html | str, ...]:
    near = "" if row["similarity"] is None else similarity(row["similarity"])
    if row["hash_distance"] is not None:
        near = join([near, " " if near else None, counted(row["hash_distance"], "bit")])
    kind = row["kind"] + (f", {percent(row['confidence'])} sure" if row["confidence"] is not None else "")
    picture = frame(site, {**row, "image_id": row["left_id"]}, alt=f"Image {row['left_id']}", side=72)
    return (
        words(row["caption"], limit=TEXT_LIMIT),
        element("figure", picture),
        kind,
        near,
        join([foreign(row["right_dataset"], limit=60), f" ({row['role']})"]),
        foreign(row["right_key"], limit=TEXT_LIMIT),
        link("image", "image", id=row["left_id"]),
    )
