"""Images that resemble no other: what a model may memorize without a copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scanner.report.content import Outlier
from scanner.report.frames import NOT_READ, WIDE_FRAME, frame
from scanner.report.gallery import TEXT_LIMIT
from scanner.report.markup import Html, element, foreign, join, plain
from scanner.report.numbers import counted
from scanner.report.tables import command, rest
from scanner.report.thumbnails import Thumbnail

CAPTION_LIMIT = 90


def outliers(rows: Sequence[Outlier], thumbnails: Mapping[int, Thumbnail], num_images: int) -> Html:
    """The farthest of ``num_images``, each with its caption and its score."""
    if not rows:
        return element("p", command("report/gallery_outliers"), class_="rest")
    how = (
        "Farthest from the centres that the rest gathers around. An image that is like no other can be memorized from one or "
        "a few copies (Carlini et al. 2023, section 5), and private pictures are often of this kind. Look for what should not be "
        "here."
    )
    cards = join(element("li", _card(row, thumbnails.get(row.image_id, NOT_READ))) for row in rows)
    note = rest(len(rows), num_images, "images, farthest first", f"report/gallery_outliers --param limit={min(num_images, 1000)}")
    return join([element("p", how), element("ul", cards, class_="tiles"), note])


def _card(row: Outlier, thumbnail: Thumbnail) -> Html:
    alt = f"Outlier {row.position}: {plain(row.key, limit=TEXT_LIMIT)}"
    copies = f", {counted(row.num_neighbors, 'near-duplicate')}" if row.num_neighbors else ""
    caption = element(
        "figcaption", element("b", f"{row.outlier_score:.3f}"), copies, element("br"), foreign(row.caption, limit=CAPTION_LIMIT),
        element("br"), element("span", foreign(row.key, limit=40), class_="key"),
    )  # fmt: skip
    return element("figure", frame(thumbnail, alt=alt, side=WIDE_FRAME), caption, class_="wide")
