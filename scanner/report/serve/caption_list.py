"""Captions of a group, each with the number of its images that carry it, as a bar and in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from scanner.report.markup import Html, element, foreign, join
from scanner.report.numbers import count
from scanner.report.serve.layout import TEXT_LIMIT, link, words


def caption_list(captions: Iterable[Mapping[str, Any]], *, num_images: int, limit: int) -> Html:
    """A line a caption (with caption, num_images and caption_family), ``num_images`` being those of the group.

    ``limit``: characters of a caption that are shown.
    """
    lines = join(
        element(
            "li",
            element("span", count(caption["num_images"]), class_="many"),
            _bar(caption["num_images"] / num_images),
            element("span", words(caption["caption"], limit=limit), _family(caption["caption_family"])),
        )
        for caption in captions
    )
    return element("ul", lines, class_="said live-said")


def _bar(part: float) -> Html:
    """A share as a bar, drawn without a style attribute, which the page's policy does not allow."""
    all_ = element("rect", width=100, height=5, class_="all")
    one = element("rect", width=round(100 * min(part, 1.0), 1), height=5, class_="part")
    return element("svg", all_, one, viewBox="0 0 100 5", preserveAspectRatio="none", class_="share", aria_hidden="true")


def _family(family: str | None) -> Html | None:
    """The mask it shares with captions of other groups; leads to those that have its longest piece word for word."""
    if not family:
        return None
    piece = max(re.split(r"[*#]", family), key=len).strip()
    return join([" ", link("family", "captions", q=piece), ": ", foreign(family, limit=TEXT_LIMIT)])
