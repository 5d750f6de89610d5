"""What a reader in a hurry is told: each sentence can come out one way and the other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scanner.report.content import ClassTotals, RecallBand, read_content
from scanner.report.extractions import Extractions, ModelTotals
from scanner.report.findings import LEVELS, Finding, findings, show
from scanner.report.leaks import ComparedSet, Leaks


@pytest.fixture(scope="module")
def content(finished):
    store, config, _ = finished
    return read_content(store, config.report)


def model(**changes) -> Extractions:
    none = {"num_extracted": 0, "num_retrieved": 0, "num_template": 0, "num_suspected": 0, "num_images": 0}
    totals = ModelTotals(**{"model_id": "f" * 64, "num_prompts": 1234, **none, **changes})
    return Extractions(found=(), totals=(totals,), by_count=(), controls=(), cost=())


def compared(**changes) -> Leaks:
    counts = {"num_left": 900, "num_right": 200, "num_right_unusable": 0, "num_right_found": 0, "num_exact": 0, "num_near": 0}
    counts |= {"num_semantic": 0, "num_unverified": 0, "num_left_found": 0, "num_pairs": 0}
    row = {"other": "<test>", "role": "eval", "form": "run", "threshold": 0.9, "max_hash_distance": None, "at": "", **counts}
    return Leaks(sets=(ComparedSet(**{**row, **changes}),), pairs=())


def find(content, section: str, *, extracted=None, leaks=None, asked=0.95) -> Finding:
    return next(f for f in findings(content, extracted, leaks, asked) if f.section == section)


def said(finding: Finding) -> str:
    return f"{finding.headline} {finding.detail}"


def test_the_gravest_comes_first_whatever_it_is_about(content):
    found = findings(content, model(num_extracted=2, num_images=2), None, 0.95)
    levels = [list(LEVELS).index(finding.level) for finding in found]
    assert levels == sorted(levels)
    assert found[0].section == "extractions"


@pytest.mark.parametrize(
    ("counts", "level", "words"),
    [
        ({"num_extracted": 40, "num_retrieved": 11, "num_template": 3, "num_images": 51}, "act", "gave back 51 training images"),
        ({"num_extracted": 1, "num_images": 1}, "act", "gave back 1 training image."),
        ({"num_template": 2}, "look", "something like one"),
        ({}, "fine", "gave nothing back"),
    ],
)
def test_models(content, counts, level, words):
    finding = find(content, "extractions", extracted=model(**counts))
    assert (finding.level, words in said(finding)) == (level, True)
    assert "1,234 prompts" in said(finding)


def test_what_nobody_looked_at_is_not_known(content):
    unknown = {f.headline: f.command for f in findings(content, None, None, 0.95) if f.level == "unknown"}
    assert set(unknown.values()) == {"scanner extract RUN --model MODEL", "scanner leak RUN OTHER_RUN"}


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"num_right_found": 8, "num_exact": 5, "num_near": 3, "num_left_found": 9}, "act", "8 of 200 test images of"),
        (
            {"num_right_found": 8, "num_semantic": 8, "num_left_found": 9},
            "look",
            "8 of the same template; 9 images of this set show",
        ),
        (
            {"role": "takedown", "num_right_found": 1, "num_exact": 1, "num_left_found": 1},
            "act",
            "(0.5%). 1 equal; 1 image of this set shows it.",
        ),
        ({}, "fine", "Nothing of 1 other set"),
    ],
)
def test_other_sets(content, changes, level, words):
    finding = find(content, "leaks", leaks=compared(**changes))
    assert (finding.level, words in said(finding)) == (level, True)
    assert "<test>" not in said(finding), "the name of a set is a stranger's too"


def test_redundancy_tells_apart_what_may_go(content):
    finding = find(content, "duplicates")
    assert finding.level == "look"
    # 3 + 2 + 2 images in groups of which each keeps one; the picture's two copies may go, template and blank stay.
    assert said(finding).startswith(
        "57.1% of the usable images are redundant: 4 of 7. 2 are further copies of plain pictures. 2 more"
    )
    none = replace(content, overview=replace(content.overview, num_removable=0))
    assert find(none, "duplicates").level == "fine"


def test_a_caption_repeated_a_hundred_times_is_said_first(content):
    few = find(content, "groups")
    assert (few.level, "under 2 copies of one image" in said(few)) == ("fine", True)
    risk = replace(content.risk, num_often=7, num_very_often=2, most_repeated=300, expected_images=3.25)
    many = find(replace(content, risk=risk), "groups")
    assert many.level == "look"
    assert said(many).startswith("2 captions stand under 100 or more copies of one image.")
    assert "expects 3.2 images" in said(many)
    assert find(replace(content, captions=()), "captions").level == "fine"


def test_recall_is_held_against_what_was_asked(content):
    assert find(content, "search", asked=0.9875).level == "fine"
    low = find(content, "search", asked=0.99)
    assert low.level == "act"
    assert "only 98.8%" in said(low)
    assert "50.0% to 100.0%" in said(low)
    assert find(replace(content, audit=()), "search").level == "unknown"
    band = RecallBand(
        measure="neighbors", band="all", num_rows_sampled=7, num_rows=0, num_pairs=0, recall=None, recall_low=0.0, recall_high=1.0
    )
    assert find(replace(content, audit=(band,)), "search").level == "unknown"


def test_what_only_the_search_has_matched_is_said(content):
    row = ClassTotals(
        class_="picture", is_protected=False, num_groups=1, num_images=3, num_removable=2, largest_group=3, num_unverified=0,
        num_refuted=4,
    )  # fmt: skip

    def about(unverified: int) -> Finding:
        found = findings(replace(content, classes=(replace(row, num_unverified=unverified),)), None, None, 0.95)
        return next(f for f in found if "pixel" in said(f).lower())

    assert about(0).level == "fine"
    assert "4 images that only seemed alike left their groups" in said(about(0))
    assert about(2).level == "look"


def test_losses(content):
    finding = find(content, "unusable")
    assert finding.level == "look"
    assert said(finding) == (
        "12.5% of the images could not be used: 1 of 8. 2 shards of 2 lost something. 1 shard ended early: what came after the "
        "break is not counted at all."
    )
    whole = replace(content.overview, num_ok=8, num_broken_shards=0)
    assert find(replace(content, overview=whole), "unusable").level == "fine"


def test_a_level_is_said_in_words(content):
    html = show(findings(content, None, None, 0.95))
    for word in ("Not known", "Look", "Fine"):
        assert f'<span class="level">{word}</span>' in html
    assert html.count("<li") == len(findings(content, None, None, 0.95))
