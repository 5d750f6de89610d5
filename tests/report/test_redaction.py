"""A redacted page: no picture of the set, none of its words, and still every count."""

from __future__ import annotations

import html
import re

import pytest
from report_runs import HOSTILE, KEY, LONG, build, page_of, write

from scanner.report.redaction import HIDDEN, hidden, hide_settings

WORDS = (
    "a red boat", "a plain caption", HOSTILE[:20], "alert", LONG[:40], "a0.png", "b1.png", "w0.png", "x.png", KEY,
    "host0.example", "host1.example", "cut.tar", "byte 512", "not an image of a", "right-secret", "00ffee",
)  # fmt: skip


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """(the page, the redacted page) of a run with everything that a page can show."""
    run = store, *_ = build(tmp_path_factory.mktemp("redaction"))
    write(store, "comparisons", [
        {"other": "held-out", "role": "eval", "form": "hashes", "url": "u", "num_left": 7, "num_right": 40,
         "num_right_unusable": 0, "at": ""}
    ])  # fmt: skip
    write(store, "leaks", [
        {"left_dataset": "set", "left_id": 1, "right_dataset": "held-out", "right_id": k, "right_key": key, "role": "eval",
         "hash_distance": 3, "kind": "unverified"}
        for k, key in enumerate(("right-secret", "00ffee"))
    ])  # fmt: skip
    return page_of(run), page_of(run, is_redacted=True)


def test_no_word_of_the_set_is_left(both):
    whole, page = both
    for word in WORDS:
        assert word in whole.text + html.unescape(whole.html), f"{word} can be found at all"
        assert word not in page.html, word
        assert word not in page.text, word


def test_no_picture_is_left(both):
    whole, page = both
    assert len(re.findall("data:image", whole.html)) > 10
    assert "data:image" not in page.html
    assert page.tags.count("img") == 0
    assert page.text.count("no preview: redacted") > 10


def test_no_place_is_left(both, tmp_path_factory):
    whole, page = both
    assert str(tmp_path_factory.getbasetemp()) in whole.text
    assert str(tmp_path_factory.getbasetemp()) not in page.html
    assert "the folder of the run" in page.text


def test_every_count_is_still_there(both):
    whole, page = both
    for figures in (
        "7 images of the usable",
        "1 of 2, by images with one caption (2)",
        "0.9 / (1 + (300 / 2)^2) = 0.0040%",
        "held-out",
    ):
        assert figures in whole.text
        assert figures in page.text
    assert whole.tags.count("article") == page.tags.count("article")
    assert hidden("a red boat") in page.text
    assert "Redacted" in page.text
    assert "Redacted" not in whole.text


def test_captions_that_are_hidden_cannot_be_searched(both):
    _, page = both
    assert '<div hidden=""><label for="filter-text">' in page.html


def test_settings_keep_numbers_and_versions_alone():
    parts = {
        "config": {"sources": [{"url": "/home/ana/set", "name": "ana"}], "neighbors": {"seed": 3, "x": None}},
        "versions": {"a": "1"},
    }
    assert hide_settings(parts) == {
        "config": {"sources": [{"url": HIDDEN, "name": HIDDEN}], "neighbors": {"seed": 3, "x": None}}, "versions": {"a": "1"},
    }  # fmt: skip


def test_no_source_is_read(tmp_path):
    store, config, _ = build(tmp_path)

    class Forbidden:
        format = "folder"
        embedding_dim = None

        def read(self, ref):
            raise AssertionError("a redacted page needs no original")

    page_of((store, config, {"set": Forbidden()}), is_redacted=True)
