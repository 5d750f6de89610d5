"""Pages ``images`` and ``image``: images whose caption or name holds a text, and one image with all that the run knows of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scanner.report.markup import Html, element, foreign, join, plain
from scanner.report.numbers import count, counted, percent, probability, similarity
from scanner.report.serve.layout import (
    TEXT_LIMIT,
    Page,
    Site,
    choice_field,
    facts,
    filters,
    frame,
    kind_of,
    link,
    nothing,
    paging,
    search_field,
    section,
    size_of,
    tile,
    tiles,
    url,
    values,
    words,
)
from scanner.report.serve.params import Params, RequestError
from scanner.report.serve.reader import View
from scanner.report.settings import redacted

NUM_IMAGES = 60
NUM_LINKED = 24
STATUSES = (
    ("any", "any"),
    ("ok", "ok"),
    ("unreadable", "unreadable"),
    ("missing", "missing"),
    ("too_small", "too small"),
    ("too_large", "too large"),
)
_ABOUT = "Every image of the set, in the order of the source. The search looks into captions and names, in upper or lower case."


def images(view: View, params: Params, site: Site) -> Page:
    """Images in the order of their ids: each page begins after the last of the one before, however large the set."""
    text, status = params.text("q"), params.choice("status", values(STATUSES))
    after = params.whole("after", default=0)
    rows = view.rows("serve/images_page", text=text, status=status, after=after - 1, limit=NUM_IMAGES + 1)
    form = filters(
        "images",
        search_field("q", "Caption or name contains", text),
        choice_field("status", "Status", STATUSES, status),
        button="Search",
        is_set=bool(text) or status != "any",
    )
    if not rows:
        return Page(
            title="Images", here="images", content=join([form, nothing("No image fits." if not after else "No more fit.")])
        )
    shown, is_last = rows[:NUM_IMAGES], len(rows) <= NUM_IMAGES
    chosen: dict[str, str | int] = {"q": text, "status": status}
    steps = [
        element("a", "First", href=url("images", chosen)) if after else None,
        None if is_last else element("a", "Next", href=url("images", {**chosen, "after": shown[-1]["image_id"] + 1}), rel="next"),
    ]
    where = f"Images {shown[0]['image_id']} to {shown[-1]['image_id']}, {count(len(shown))} shown"
    above, below = paging(where, join(steps))
    listed = tiles(tile(site, row, _note(row)) for row in shown)
    return Page(title="Images", here="images", lede=_ABOUT, content=join([form, above, listed, below]))


def _note(row: Mapping[str, Any]) -> Html:
    where = link("in a group", "group", id=row["group_id"]) if row["group_id"] is not None else "no duplicate"
    marks = [element("span", "blank", class_="tag")] if row["is_blank"] else []
    if row["status"] != "ok":
        where = element("span", row["status"].replace("_", " "), class_="tag warn")
    return join([where, *marks], " ")


def image(view: View, params: Params, site: Site) -> Page:
    """One image: its facts, its group, and the images that links join to it."""
    image_id = params.required("id")
    row = view.row("serve/image_facts", image_id=image_id)
    if row is None:
        raise RequestError(404, f"This run has no image {image_id}.", next_step="Ids change when the source is scanned anew.")
    alt = plain(row["caption"] or row["key"], limit=TEXT_LIMIT)
    picture = element("figure", frame(site, row, alt=alt, side=400, is_alone=True))
    detail = element("div", picture, element("div", _caption(row), _facts(row)), class_="detail")
    linked = view.rows("serve/image_pairs", image_id=image_id, limit=NUM_LINKED)
    parts = [detail]
    if linked:
        about = "Images that the search joined to it by a link, at any threshold that was swept; a chain joins further ones."
        listed = tiles(tile(site, other, element("b", similarity(other["similarity"]))) for other in linked)
        parts.append(section("links", "Linked images", element("p", about, class_="rest"), listed))
    return Page(title=f"Image {image_id}", here="images", content=join(parts))


def _caption(row: Mapping[str, Any]) -> Html:
    return element("p", words(row["caption"], limit=4000), class_="quote")


def _facts(row: Mapping[str, Any]) -> Html:
    status: Html | str = row["status"].replace("_", " ")
    if row["error_message"]:
        status = join([status, ": ", foreign(row["error_message"], limit=300)])
    if row["is_blank"]:
        status = join([status, ", blank: one colour all over"])
    nearest = None
    if row["nearest_id"] is not None:
        nearest = join(
            [link(f"image {row['nearest_id']}", "image", id=row["nearest_id"]), f", {similarity(row['nearest_similarity'])}"]
        )
    near = None if row["num_neighbors"] is None else f"{counted(row['num_neighbors'], 'other image')} within the threshold"
    far = None if row["outlier_score"] is None else f"{row['outlier_score']:.3f}: the higher, the farther from all others"
    alike = link("Search all images by this one", "alike", id=row["image_id"]) if row["status"] == "ok" else None
    return facts([
        ("Status", status),
        ("Group", _group(row)),
        ("Duplicates", near),
        ("Nearest", nearest),
        ("Outlier score", far),
        ("Alike", alike),
        ("Size", _size(row)),
        ("Name", foreign(row["key"], limit=400)),
        ("Shard", foreign(redacted(f"{row['dataset']}/{row['shard'] or ''}"), limit=400)),
        # Text and no link: what it leads to today is nobody's promise.
        ("Published at", foreign(redacted(row["url"]), limit=400) if row["url"] else None),
        ("SHA-256", element("code", row["sha256"].hex()) if row["sha256"] else None),
        ("Perceptual hash", element("code", f"{row['phash']:016x}") if row["phash"] is not None else None),
    ])  # fmt: skip


def _group(row: Mapping[str, Any]) -> Html | str:
    if row["group_id"] is None:
        return "none"
    here = link(f"group of {counted(row['num_group_images'] or 0, 'image')}", "group", id=row["group_id"])
    rank = (
        f", rank {count(row['risk_rank'])}, risk score {probability(row['risk_score'])}" if row["risk_rank"] is not None else ""
    )
    if row["is_representative"]:
        return join([here, rank, "; this is the one to keep"])
    sure = f" ({percent(row['confidence'])} sure)" if row["confidence"] is not None else ""
    kept = link("the one to keep", "image", id=row["representative_id"])
    what = f"; {similarity(row['similarity'])} {kind_of(row['kind'])}{sure} to " if row["similarity"] is not None else "; beside "
    return join([here, rank, what, kept])


def _size(row: Mapping[str, Any]) -> str | None:
    pixels = size_of(row)
    if row["num_bytes"] is None:
        return pixels
    return f"{pixels} pixels, {count(row['num_bytes'])} bytes" if pixels else f"{count(row['num_bytes'])} bytes"
