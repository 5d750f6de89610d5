from __future__ import annotations

from dataclasses import replace

import pytest

from scanner.images.cards import CardFacts
from scanner.verify.classes import Captions, classify

PHOTO = CardFacts(ground_share=0.3, text_share=0.0, num_lines=0, flat_share=0.1, num_colors=9, saturation=0.3)
CARD = CardFacts(ground_share=0.9, text_share=0.5, num_lines=1, flat_share=0.8, num_colors=2, saturation=0.01)
UNRELATED = Captions.of(["red chair, item 3", "old boat, item 9", "wool hat, item 7"])
SAME = Captions.of(["a red chair"] * 3)


def named(card=PHOTO, captions=SAME, blank_share=0.0, is_template=False):
    return classify(blank_share=blank_share, is_template=is_template, card=card, captions=captions)


def test_the_first_class_that_applies():
    assert named() == "picture"
    assert named(blank_share=0.6, is_template=True) == "blank"
    assert named(is_template=True, card=CARD, captions=UNRELATED) == "template"
    assert named(card=CARD, captions=UNRELATED) == "placeholder"
    assert named(card=replace(CARD, text_share=0.9, num_lines=3)) == "text"
    assert named(card=CARD) == "vector_graphic"
    assert named(card=None, captions=UNRELATED) == "picture", "what was not read is not told"


@pytest.mark.parametrize(
    "captions",
    [
        SAME,
        Captions.of(["photo of a red wooden chair", "a red wooden chair for sale", "red wooden chair, photo"]),
        Captions.of(["red chair", None, None]),
        Captions.of([]),
        Captions.of(["red chair"] * 9 + ["old boat"]),
    ],
)
def test_a_card_under_captions_that_agree_is_no_placeholder(captions):
    assert named(card=CARD, captions=captions) == "vector_graphic"


def test_a_colourful_card_needs_more_captions_than_a_grey_one():
    two = Captions.of(["red chair", "old boat"])
    assert named(card=CARD, captions=two) == "placeholder"
    assert named(card=replace(CARD, saturation=0.4), captions=two) == "vector_graphic"


def test_likeness_counts_words_and_not_numbers():
    assert Captions.of(["red chair 1", "red chair 2"]).likeness == 1
    assert Captions.of(["red chair", "old boat"]).likeness == 0
    assert Captions.of(["red chair", "red boat"]).likeness == pytest.approx(1 / 3)
    assert Captions.of(["red chair", "red chair"]).likeness is None
    assert Captions.of(["", None]).num_captioned == 0
