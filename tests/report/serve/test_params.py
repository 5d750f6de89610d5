from __future__ import annotations

import pytest

from scanner.report.serve.params import MAX_ID, Params, RequestError


def test_numbers_are_plain_digits_within_bounds():
    given = Params({"a": "7", "b": " 12 ", "c": "", "top": str(MAX_ID), "zeros": "007"})
    assert given.required("a") == 7
    assert given.required("b", low=12, high=12) == 12
    assert given.whole("c", default=3) == 3
    assert given.whole("none", default=4) == 4
    assert given.required("top") == MAX_ID
    assert given.required("zeros") == 7


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "1e2", "1_0", "٣", "²", "0x1", "one", str(MAX_ID + 1), "9" * 10_000])
def test_everything_else_is_none(text):
    with pytest.raises(RequestError, match="id is not a whole number") as caught:
        Params({"id": text}).required("id")
    assert caught.value.status == 400


def test_numbers_out_of_bounds_are_refused_and_not_bent():
    for text in ("1", "9"):
        with pytest.raises(RequestError, match="from 2 to 8"):
            Params({"n": text}).whole("n", default=2, low=2, high=8)


def test_choices_are_known_and_the_first_is_taken_where_none_is_given():
    assert Params({}).choice("sort", ["risk", "size"]) == "risk"
    assert Params({"sort": ""}).choice("sort", ["risk", "size"]) == "risk"
    assert Params({"sort": "size"}).choice("sort", ["risk", "size"]) == "size"
    with pytest.raises(RequestError, match="Did you mean 'size'"):
        Params({"sort": "sise"}).choice("sort", ["risk", "size"])


def test_text_is_stripped_and_bounded():
    assert Params({"q": "  a b "}).text("q") == "a b"
    assert Params({}).text("q") == ""
    with pytest.raises(RequestError, match="201 characters"):
        Params({"q": "x" * 201}).text("q")
