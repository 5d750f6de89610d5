"""Pages ``outliers``, ``unusable`` and ``shards``: what is far from all, what could not be used, and how each shard fared."""

from __future__ import annotations

from scanner.report.markup import Html, element, foreign, join
from scanner.report.numbers import count, counted
from scanner.report.serve.layout import (
    TEXT_LIMIT,
    Page,
    Site,
    choice_field,
    filters,
    last_page,
    link,
    nothing,
    pager,
    section,
    tile,
    tiles,
    values,
    words,
)
from scanner.report.serve.params import Params
from scanner.report.serve.reader import View
from scanner.report.settings import redacted
from scanner.report.tables import columns, table

NUM_TILES = 60
NUM_ROWS = 50
STATUSES = (
    ("any", "any"),
    ("unreadable", "unreadable"),
    ("missing", "missing"),
    ("too_small", "too small"),
    ("too_large", "too large"),
)
SHARD_STATUSES = (("any", "all but superseded"), ("current", "current"), ("broken", "broken"), ("superseded", "superseded"))


def outliers(view: View, params: Params, site: Site) -> Page:
    """Embedded images, those farthest from all cell centres first."""
    page = params.whole("page", default=1, low=1, high=last_page(NUM_TILES))
    rows = view.rows("serve/outliers_page", limit=NUM_TILES, offset=(page - 1) * NUM_TILES)
    about = (
        "Images far from all others: what does not belong, what the encoder cannot read, or simply what is rare. "
        "The number is 1 minus the cosine to the nearest of some centres."
    )
    if not rows:
        return Page(
            title="Outliers", here="outliers", lede=about, content=nothing("No image was embedded, or there are no more.")
        )
    total = rows[0]["num_fitting"]
    query = f"serve/outliers_page --param limit={total}"
    above, below = pager("outliers", {}, page=page, size=NUM_TILES, total=total, what="embedded images", query=query)
    listed = tiles(
        tile(
            site,
            row,
            join([
                element("b", f"{row['outlier_score']:.3f}"),
                f", {counted(row['num_neighbors'], 'duplicate')}" if row["num_neighbors"] else None,
                ", blank" if row["is_blank"] else None,
            ]),
        )
        for row in rows
    )  # fmt: skip
    return Page(title="Outliers", here="outliers", lede=about, content=join([above, listed, below]))


def unusable(view: View, params: Params, site: Site) -> Page:
    """Images that could not be used, and the reasons."""
    status = params.choice("status", values(STATUSES))
    page = params.whole("page", default=1, low=1, high=last_page(NUM_ROWS))
    rows = view.rows("serve/unusable_page", status=status, limit=NUM_ROWS, offset=(page - 1) * NUM_ROWS)
    form = filters("unusable", choice_field("status", "Status", STATUSES, status), is_set=status != "any")
    if not rows:
        empty = "Every image could be used, or none fits." if page == 1 else "There are no more."
        return Page(title="Images not used", here="unusable", content=join([form, nothing(empty)]))
    cells = [
        (
            join([link(foreign(row["key"], limit=TEXT_LIMIT), "image", id=row["image_id"])]),
            element("span", row["status"].replace("_", " "), class_="tag"),
            foreign(row["error_message"], limit=2 * TEXT_LIMIT),
            "" if row["num_bytes"] is None else count(row["num_bytes"]),
            foreign(redacted(f"{row['dataset']}/{row['shard']}"), limit=TEXT_LIMIT),
            words(row["caption"], limit=TEXT_LIMIT),
        )
        for row in rows
    ]
    total = rows[0]["num_fitting"]
    query = f"hygiene/unreadable --param limit={total}"
    above, below = pager(
        "unusable", {"status": status}, page=page, size=NUM_ROWS, total=total, what="images not used", query=query
    )
    heads = columns("Image", "Status", "Reason", "#Bytes", "Shard", "Caption")
    content = element(
        "div", table(heads, cells, caption="Images that could not be used, in the order of the source"), class_="panel wordy"
    )
    return Page(title="Images not used", here="unusable", content=join([form, _reasons(view), above, content, below]))


def _reasons(view: View) -> Html | None:
    rows = view.rows("report/unusable_reasons", limit=12)
    if not rows:
        return None
    cells = [
        (foreign(row["reason"], limit=2 * TEXT_LIMIT), row["status"].replace("_", " "), count(row["num_images"])) for row in rows
    ]
    left = rows[0]["num_reasons"] - len(rows)
    more = nothing(f"and {counted(left, 'rarer reason')}") if left > 0 else None
    content = element(
        "div",
        table(columns("Reason", "Status", "#Images"), cells, caption="Why images were left out"),
        more,
        class_="panel wordy",
    )
    return section("reasons", "Commonest reasons", content)


def shards(view: View, params: Params, site: Site) -> Page:
    """Shards of the source, those with losses first."""
    status = params.choice("status", values(SHARD_STATUSES))
    page = params.whole("page", default=1, low=1, high=last_page(NUM_ROWS))
    rows = view.rows("serve/shards_page", status=status, limit=NUM_ROWS, offset=(page - 1) * NUM_ROWS)
    form = filters("shards", choice_field("status", "Status", SHARD_STATUSES, status), is_set=status != "any")
    if not rows:
        return Page(title="Shards", here="shards", content=join([form, nothing("No shard fits.")]))
    cells = []
    for row in rows:
        name = foreign(redacted(f"{row['dataset']}/{row['url']}"), limit=TEXT_LIMIT)
        if row["error_message"]:
            name = join([name, element("div", foreign(row["error_message"], limit=2 * TEXT_LIMIT), class_="cause")])
        tag = element("span", row["status"], class_="tag warn" if row["status"] == "broken" else "tag")
        numbers = (row["num_images"], row["num_ok"], row["num_missing"], row["num_blank"], row["size"])
        first = link("images", "images", after=row["shard_id"] << 24) if row["num_images"] else ""
        cells.append((name, tag, *map(count, numbers), first))
    total = rows[0]["num_fitting"]
    query = f"hygiene/shard_health --param limit={total}"
    above, below = pager("shards", {"status": status}, page=page, size=NUM_ROWS, total=total, what="shards", query=query)
    heads = columns("Shard", "Status", "#Images", "#Usable", "#Missing", "#Blank", "#Bytes", "Look")
    about = "Files of the source. Those that end early or have images that could not be used come first."
    content = element("div", table(heads, cells, caption="Shards, those with losses first"), class_="panel wordy")
    return Page(title="Shards", here="shards", lede=about, content=join([form, above, content, below]))
