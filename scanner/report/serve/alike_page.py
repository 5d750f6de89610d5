"""Page ``alike``: the images most like one of the set, or like one that is given, by the embeddings of the run."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from scanner.report.markup import Html, element, join, plain
from scanner.report.numbers import count, percent, similarity
from scanner.report.serve.examples import Example
from scanner.report.serve.layout import (
    TEXT_LIMIT,
    Page,
    Site,
    field,
    filters,
    frame,
    link,
    nothing,
    number_field,
    section,
    threshold_of,
    tile,
    tiles,
)
from scanner.report.serve.nearest import Nearest, nearest
from scanner.report.serve.params import Params, RequestError
from scanner.report.serve.reader import View

NUM_ALIKE = 48
SEARCH_S = 60.0
"""Seconds that a search may go through the embeddings."""
_ABOUT = (
    "Compares one image with every embedding of the run, exactly. The number under a picture is the cosine: 1 for equal images; "
    "where two count as near-duplicates is the run's threshold."
)


def alike(view: View, params: Params, site: Site) -> Page:
    """Forms to search by, and what is most like an image of the set where one is asked for."""
    forms = _forms(params.whole("id", default=-1))
    if params.text("id") == "":
        return Page(title="Find alike", here="alike", lede=_ABOUT, content=forms)
    image_id = params.required("id")
    row = view.row("serve/image_facts", image_id=image_id)
    if row is None:
        raise RequestError(404, f"This run has no image {image_id}.", next_step="Ids change when the source is scanned anew.")
    found = view.row("serve/image_embedding", image_id=image_id)
    if found is None:
        raise RequestError(404, f"Image {image_id} has no embedding.", next_step="Only images of status ok were embedded.")
    vector = np.frombuffer(found["embedding"], dtype="<f2").astype(np.float32)
    alt = plain(row["caption"] or row["key"], limit=TEXT_LIMIT)
    picture = element("figure", frame(site, row, alt=alt, side=168), element("figcaption", f"image {image_id}"))
    result = nearest(view.store, view.manifests["embeddings"], vector, k=NUM_ALIKE + 1, timeout_s=SEARCH_S)
    return _found(view, site, forms, picture, result, leave_out=image_id)


def alike_to_example(view: View, site: Site, data: bytes) -> Page:
    """What is most like an image that was given.

    Raises:
        RequestError: see ``Examples.embed``; or nothing was embedded yet.
    """
    if not view.has("embeddings", "images", "groups"):
        raise RequestError(404, "This run has nothing to compare with yet.", next_step="Let the scan come to its end first.")
    embeddings = view.manifests["embeddings"]
    example = site.examples.embed(data, embeddings.metadata)
    result = nearest(view.store, embeddings, example.vector, k=NUM_ALIKE, timeout_s=SEARCH_S)
    return _found(view, site, _forms(-1), _given(example), result)


def _given(example: Example) -> Html:
    uri = "data:image/jpeg;base64," + base64.b64encode(example.jpeg).decode("ascii")
    picture = element("div", element("img", src=uri, alt="The image that was given, as the encoder saw it"), class_="frame")
    note = element("figcaption", f"{example.width} × {example.height}", element("br"), "as the encoder saw it")
    return element("figure", picture, note)


def _forms(image_id: int) -> Html:
    upload = element("input", type="file", name="image", id="field-image", accept="image/*", required="required")
    by_file = element(
        "form",
        element("h2", "By an image of yours"),
        field("image", "Image file", upload, is_wide=True),
        element("button", "Search", type="submit"),
        action="alike",
        method="post",
        enctype="multipart/form-data",
        class_="filters",
    )
    by_id = filters(
        "alike",
        element("h2", "By an image of the set"),
        number_field("id", "Image id", "" if image_id < 0 else image_id),
        button="Search",
    )
    return element("div", by_file, by_id, class_="two")


def _found(view: View, site: Site, forms: Html, picture: Html, result: Nearest, *, leave_out: int | None = None) -> Page:
    pairs = [(id_, cosine) for id_, cosine in zip(result.image_ids, result.similarities, strict=True) if id_ != leave_out]
    rows = {
        row["image_id"]: row for row in view.rows("serve/image_rows", image_ids=",".join(str(id_) for id_, _ in pairs) or "-1")
    }
    threshold = threshold_of(view)
    listed = tiles(tile(site, rows[id_], _note(rows[id_], cosine, threshold)) for id_, cosine in pairs[:NUM_ALIKE] if id_ in rows)
    compared = f"Compared with {count(result.num_compared)} of {count(result.num_embedded)} embedded images."
    if result.is_truncated:
        part = percent(result.num_compared / result.num_embedded)
        notice = f"Stopped after {SEARCH_S:g} seconds: only {part} of the set was compared, the rest may hold closer images."
        told: Html = element("p", compared, " ", notice, class_="notice")
    else:
        told = nothing(compared)
    head = element("div", picture, element("div", told), class_="by")
    content = join([forms, section("found", "Most alike", head, listed)])
    return Page(title="Find alike", here="alike", lede=_ABOUT, content=content)


def _note(row: Mapping[str, Any], cosine: float, threshold: float | None) -> Html:
    near = " near-duplicate" if threshold is not None and cosine >= threshold else None
    group = join([element("br"), link("its group", "group", id=row["group_id"])]) if row["group_id"] is not None else None
    return join([element("b", similarity(min(cosine, 1.0))), near, group])
