"""A picture in its frame, as every gallery shows it: the thumbnail, or a box that says why there is none."""

from __future__ import annotations

from scanner.report.markup import Html, element, foreign
from scanner.report.thumbnails import Thumbnail

FRAME = 88
"""Pixels of a frame on the page."""
WIDE_FRAME = 128
"""Where a picture stands for itself and not as one of a row."""
NOT_READ = Thumbnail(reason="not read")


def frame(thumbnail: Thumbnail, *, alt: str, badge: Html | None = None, side: int = FRAME) -> Html:
    """``alt`` says what the picture is, in plain text; ``badge`` lies over its foot."""
    size = "frame wide" if side == WIDE_FRAME else "frame"
    if not thumbnail.data_uri:
        reason = element("span", "no preview: ", foreign(thumbnail.reason, limit=80), class_="gone")
        return element("div", reason, badge, class_=size)
    shrink = min(1.0, side / max(thumbnail.width, thumbnail.height))
    picture = element(
        "img",
        src=thumbnail.data_uri,
        width=max(1, round(thumbnail.width * shrink)),
        height=max(1, round(thumbnail.height * shrink)),
        alt=alt,
    )
    return element("div", picture, badge, class_=size)
