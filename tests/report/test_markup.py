from __future__ import annotations

from html.parser import HTMLParser

import pytest

from scanner.report.markup import Html, element, foreign, join, plain


def text_of(markup: str) -> tuple[str, list[str]]:
    """Text and tags that a parser sees."""
    texts, tags = [], []
    parser = HTMLParser()
    parser.handle_data = texts.append
    parser.handle_starttag = lambda tag, attributes: tags.append(tag)
    parser.feed(markup)
    parser.close()
    return "".join(texts), tags


def test_plain_children_are_escaped_and_markup_is_not():
    made = element("p", "<b>", element("i", "&"), None, class_="a", aria_label='"><script>')
    assert made == '<p class="a" aria-label="&quot;&gt;&lt;script&gt;">&lt;b&gt;<i>&amp;</i></p>'


def test_separator_is_escaped():
    assert join(["a", Html("<b>")], "<") == "a&lt;<b>"


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "</bdi></td><img src=x onerror=1>", "&lt;b&gt;", "]]><!--", "'\"`${x}", "\x00<b\x00>"]
)
def test_foreign_text_never_makes_a_tag(text):
    shown, tags = text_of(foreign(text, limit=200))
    assert set(tags) <= {"bdi", "span"}
    assert shown == text.replace("\x00", "U+0000")


def test_what_hides_or_reorders_is_shown():
    made = foreign("a\u202eb\u200bc\u2028d\x07e\x85f\ud800g", limit=200)
    assert not any(character in made for character in "\u202e\u200b\u2028\x07\x85\ud800")
    assert text_of(made)[0] == "aU+202EbU+200BcU+2028dU+0007eU+0085fU+D800g"


def test_emoji_joiners_and_other_scripts_stay_as_they_are():
    text = "👩\u200d🚀 שלום สวัสดี é"
    assert text_of(foreign(text, limit=200))[0] == text


def test_long_text_is_clipped_and_says_so():
    made = foreign("x" * 60_000, limit=280)
    assert text_of(made)[0] == "x" * 280 + "… (60,000 characters)"
    assert "…" not in foreign("x" * 280, limit=280)


@pytest.mark.parametrize("text", [None, "", "  \n"])
def test_nothing_to_see_says_none(text):
    assert text_of(foreign(text, limit=9))[0] == "none"


def test_attribute_text_has_no_hidden_characters():
    assert plain("a\u202e\nb" + "c" * 9, limit=5) == "a\ufffd bc…"
