from __future__ import annotations

import pytest

from scanner.report.numbers import compact, counted, percent, probability, share, similarity


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (9_999, "9,999"), (10_000, "10k"), (12_345, "12.3k"), (123_456, "123k"), (1_050_000, "1.05M"), (5 * 10**9, "5G")],
)
def test_compact(number, text):
    assert compact(number) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0.0%"), (1, "100.0%"), (1e-5, "<0.1%"), (0.99999, ">99.9%"), (0.2537, "25.4%")])
def test_percent_never_rounds_something_to_nothing_or_all(value, text):
    assert percent(value) == text


def test_share_of_nothing():
    assert share(0, 0) == "–"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0%"), (0.9, "90%"), (0.0301, "3.0%"), (0.00004, "0.0040%"), (0.9 / 90001, "0.0010%"), (1e-9, "<0.0001%")],
)
def test_probability_keeps_two_digits(value, text):
    assert probability(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.99996, "0.9999"), (1.0, "1.0000"), (0.98126, "0.9812"), (0.95, "0.9500")])
def test_similarity_below_one_never_reads_one(value, text):
    assert similarity(value) == text


def test_counted():
    assert (counted(1, "group"), counted(2, "family", "families")) == ("1 group", "2 families")
