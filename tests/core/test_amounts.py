from __future__ import annotations

import pytest

from scanner.core.amounts import parse_bytes, parse_count, show_bytes, show_number, show_seconds
from scanner.core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e9", 5_000_000_000), ("5_000_000_000", 5_000_000_000), ("5,000,000,000", 5_000_000_000), ("400M", 400_000_000),
        ("400m", 400_000_000), ("2.3B", 2_300_000_000), ("10k", 10_000), (" 7 ", 7), ("1.5e3", 1500), ("1", 1),
        ("123456789012345", 123456789012345),
    ],
)  # fmt: skip
def test_counts(text, value):
    assert parse_count(text, name="--images") == value


@pytest.mark.parametrize("text", ["-5", "0", "1.5", "2e15", "9" * 400])
def test_counts_out_of_range_are_refused(text):
    with pytest.raises(ConfigError, match=r"--images is .*\n.*whole number from 1"):
        parse_count(text, name="--images")


@pytest.mark.parametrize("text", ["", "many", "5q", "nan", "inf", "1e999", "e9", "5e", "_", ",", "16GB", "0x10", "1 000"])
def test_what_is_no_count_is_refused(text):
    with pytest.raises(ConfigError, match="not a number"):
        parse_count(text, name="--images")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("16GB", 16 * 10**9),
        ("16 gb", 16 * 10**9),
        ("16GiB", 16 * 2**30),
        ("40k", 40_000),
        ("1.5MiB", 1_572_864),
        ("41000", 41_000),
    ],
)
def test_sizes(text, value):
    assert parse_bytes(text, name="--memory") == value


@pytest.mark.parametrize("text", ["0", "-1GB", "0.2", "2000TB"])
def test_sizes_out_of_range_are_refused(text):
    with pytest.raises(ConfigError, match=r"--memory is .*\n.*16GB"):
        parse_bytes(text, name="--memory")


def test_a_size_of_an_unknown_unit_is_refused():
    with pytest.raises(ConfigError, match="not a number"):
        parse_bytes("16XB", name="--memory")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (0.2, "under 1 s"), (1.5, "1.5 s"), (42, "42 s"), (119, "119 s"), (600, "10 min"), (7200, "2 h"),
        (71.1 * 3600, "71 h"), (120 * 3600, "5 d"), (3 * 365 * 86400, "3 years"),
    ],
)  # fmt: skip
def test_seconds_are_shown_in_the_unit_that_fits(seconds, text):
    assert show_seconds(seconds) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"), [(0, "0"), (999, "999 B"), (1000, "1 kB"), (999_600, "1 MB"), (7.72e12, "7.7 TB"), (1.88e14, "188 TB")]
)
def test_bytes_are_shown_in_the_unit_that_fits(num_bytes, text):
    assert show_bytes(num_bytes) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.957, "0.957"), (40.457, "40.46"), (2442.0, "2,442"), (16, "16"), (4e14, "4e+14"), (2.5e-11, "2.5e-11")]
)
def test_numbers_are_shown_with_four_digits_at_most(value, text):
    assert show_number(value) == text
