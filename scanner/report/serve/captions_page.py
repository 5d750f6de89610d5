"""Page ``captions``: captions of groups, those that most images of one group carry first."""

from __future__ import annotations

from scanner.report.markup import element, join
from scanner.report.numbers import count, probability
from scanner.report.serve.layout import (
    Page,
    Site,
    filters,
    frame,
    last_page,
    link,
    nothing,
    number_field,
    pager,
    search_field,
    words,
)
from scanner.report.serve.params import Params
from scanner.report.serve.reader import View
from scanner.report.tables import columns, table

NUM_CAPTIONS = 50
_LIMIT = 300
"""Characters of a caption."""
_ABOUT = (
    "The same image under the same caption, again and again, is what a model learns word for word. Captions of images without a "
    "duplicate are found under Images."
)


def captions(view: View, params: Params, site: Site) -> Page:
    """Captions that hold a text, by the number of images of one group that carry them."""
    text = params.text("q")
    least = params.whole("min", default=1, low=1)
    page = params.whole("page", default=1, low=1, high=last_page(NUM_CAPTIONS))
    rows = view.rows("serve/captions_page", caption=text, min_images=least, limit=NUM_CAPTIONS, offset=(page - 1) * NUM_CAPTIONS)
    chosen: dict[str, str | int] = {"q": text, "min": least}
    form = filters(
        "captions",
        search_field("q", "Caption contains", text),
        number_field("min", "Images with it, at least", least, low=1),
        button="Search",
        is_set=bool(text) or least > 1,
    )
    if not rows:
        empty = "No caption of a group fits." if page == 1 else "There are no more captions."
        elsewhere = element("p", "Captions of images without a duplicate: ", link("search all images", "images", q=text), ".")
        return Page(title="Captions", here="captions", content=join([form, nothing(empty), elsewhere]))
    pictured = {
        row["image_id"]: row
        for row in view.rows("serve/image_rows", image_ids=",".join(str(row["representative_id"]) for row in rows))
    }
    cells = []
    for row in rows:
        family = element("span", "family", class_="tag") if row["caption_family"] else None
        what = element("span", row["class"].replace("_", " "), class_="tag") if row["class"] != "picture" else None
        shown = pictured.get(row["representative_id"])
        picture = element("figure", frame(site, shown, alt=f"Image {shown['image_id']}, kept", side=72)) if shown else ""
        cells.append((
            join([words(row["caption"], limit=_LIMIT), " ", family, " ", what]),
            picture,
            count(row["num_caption_images"]),
            count(row["num_images"]),
            count(row["num_hosts"]),
            probability(row["risk_score"]),
            link(f"#{count(row['risk_rank'])}" if row["risk_rank"] is not None else "blank", "group", id=row["group_id"]),
        ))  # fmt: skip
    heads = columns("Caption", "Its image", "#Images with it", "#Images of the group", "#Hosts", "#Risk score", "Group")
    total = rows[0]["num_fitting"]
    query = f"serve/captions_page --param caption= --param limit={total}"
    above, below = pager("captions", chosen, page=page, size=NUM_CAPTIONS, total=total, what="captions of groups", query=query)
    content = element(
        "div", table(heads, cells, caption="Captions, those that most images of one group carry first"), class_="panel wordy"
    )
    return Page(title="Captions", here="captions", lede=_ABOUT, content=join([form, above, content, below]))
