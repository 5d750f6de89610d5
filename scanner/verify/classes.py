"""What a group is, and what tells: blank, placeholder, template, text, simple drawing or picture.

The limits were chosen on cards, placeholders and scenes drawn from ``lab.verify_pairs.TUNING_SEED``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from scanner.images.cards import CardFacts

MAX_COMPARED = 65
"""Captions of a group that are compared, at most: the first in alphabetical order, each with the next."""

PLACEHOLDER_GROUND, PLACEHOLDER_COLORS = 0.6, 4
PLACEHOLDER_CAPTIONS, PLACEHOLDER_LIKENESS, PLACEHOLDER_DISTINCT = 3, 0.4, 0.7
"""Captions at least, how alike at most, and the least share of them that must differ."""
GREY, GREY_CAPTIONS, GREY_LIKENESS = 0.03, 2, 0.5
"""For a card without colour, of at most this saturation, less is enough."""
TEXT_GROUND, TEXT_SHARE, TEXT_LINES, TEXT_FLAT = 0.45, 0.8, 2, 0.2
VECTOR_FLAT, VECTOR_COLORS = 0.55, 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Captions:
    """Of the images of a group that have one: how many, how many different, and how alike two different ones are (None: no two).

    ``likeness`` is the mean share of words, numbers left out, that two have in common (Jaccard).
    """

    num_captioned: int
    num_distinct: int
    likeness: float | None

    @classmethod
    def of(cls, captions: Sequence[str | None]) -> Captions:
        told = [caption for caption in captions if caption]
        distinct = sorted(set(told))
        words = [frozenset(re.findall(r"[^\W\d_]+", caption.lower())) for caption in distinct[:MAX_COMPARED]]
        shares = [len(a & b) / max(len(a | b), 1) for a, b in pairwise(words)]
        return cls(num_captioned=len(told), num_distinct=len(distinct), likeness=sum(shares) / len(shares) if shares else None)


def classify(*, blank_share: float, is_template: bool, card: CardFacts | None, captions: Captions) -> str:
    """Class of a group, the first that applies; ``card`` is of its representative, None where it was not read.

    A placeholder is a plain card under captions that have nothing to do with one another: it stands for what is missing.
    """
    if blank_share > 0.5:
        return "blank"
    if is_template:
        return "template"
    if card is None:
        return "picture"
    if _is_placeholder(card, captions):
        return "placeholder"
    if (
        card.ground_share >= TEXT_GROUND
        and card.text_share >= TEXT_SHARE
        and card.num_lines >= TEXT_LINES
        and card.flat_share >= TEXT_FLAT
    ):
        return "text"
    if card.flat_share >= VECTOR_FLAT and card.num_colors <= VECTOR_COLORS:
        return "vector_graphic"
    return "picture"


def _is_placeholder(card: CardFacts, captions: Captions) -> bool:
    if card.ground_share < PLACEHOLDER_GROUND or card.num_colors > PLACEHOLDER_COLORS or captions.likeness is None:
        return False
    is_grey = card.saturation <= GREY
    least, likeness = (GREY_CAPTIONS, GREY_LIKENESS) if is_grey else (PLACEHOLDER_CAPTIONS, PLACEHOLDER_LIKENESS)
    are_all_different = captions.num_distinct >= PLACEHOLDER_DISTINCT * captions.num_captioned
    return captions.num_distinct >= least and are_all_different and captions.likeness <= likeness
