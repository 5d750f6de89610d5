"""The sentence that says why a group ranks where it does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_groups import group

from scanner.core.config import PriorConfig
from scanner.report.gallery import Gallery, why_sentence
from scanner.report.groups import Member

PRIOR = PriorConfig(k50=300, slope=2, max_probability=0.9)
MEMBER = Member(
    group_id=7, position=1, image_id=7, is_representative=True, kind="exact", similarity=1.0, num_copies=1, num_files=3,
    dataset="set", shard="a.tar", key="a", width=4, height=3, byte_offset=None, num_bytes=None, caption="a boat", url=None,
)  # fmt: skip


def why(files: int = 3, **changes) -> str:
    base = replace(group(captions=((3, "a boat"),)), members=(replace(MEMBER, num_files=files),), risk_score=0.0301)
    return why_sentence(replace(base, **changes))


def test_every_number_of_it_is_there():
    assert why() == (
        "one picture, 3 times on 2 hosts, every time under the same caption. "
        "The assumed curve gives 3 repetitions a 3.0% chance to come out."
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"files": 1}, "one file, 3 times"),
        ({"class_": "template"}, "one layout, 3 times"),
        ({"num_hosts": 0}, "one picture, 3 times, every time"),
        ({"num_hosts": 1}, "on 1 host,"),
        ({"captions": (), "num_distinct_captions": 0}, "no caption to ask for it by"),
        ({"class_": "blank"}, "it is not"),
    ],
)
def test_what_it_depends_on(changes, words):
    assert words in why(**changes)


def test_captions_that_differ():
    two = group(captions=((2, "a boat"), (1, "a ship")))
    assert "2 of them under the same caption (66.7% of those that have one)" in why(
        captions=two.captions, num_distinct_captions=2, caption_agreement=2 / 3
    )
    each = group(captions=((1, "a boat"), (1, "a ship"), (1, "a yacht")))
    assert "under 3 captions, none of them twice" in why(captions=each.captions, num_distinct_captions=3, caption_agreement=1 / 3)


def test_a_group_that_a_model_gave_back_leads_to_the_evidence():
    shown = Gallery(thumbnails={}, prior=PRIOR, num_ranked=1, given_back={7: "extracted"}).cards([group()])
    assert '<a href="#extractions" class="tag act">came out of a model: extracted</a>' in shown
    assert "#extractions" not in Gallery(thumbnails={}, prior=PRIOR, num_ranked=1).cards([group()])


def test_a_card_is_bounded_whatever_stands_in_it():
    # docs/report.md states the bound. Each of these characters is spelled out.
    worst = "\u202e" * 10_000
    member = replace(MEMBER, key=worst, shard=worst, caption=worst, url=worst, num_files=8)
    base = group(captions=tuple((1, worst) for _ in range(4)))
    card = Gallery(thumbnails={}, prior=PRIOR, num_ranked=1).cards([replace(base, members=(member,) * 8)])
    assert 50_000 < len(card.encode()) < 200_000
