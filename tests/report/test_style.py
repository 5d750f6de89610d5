"""Colours that carry words can be told from what they stand on, in every scheme (WCAG 2.2, criteria 1.4.3 and 1.4.11)."""

from __future__ import annotations

import re

import pytest

from scanner.report.style import COLORS, STYLE

TEXT = 4.5
LINES = 3.0
PAIRS = [
    ("ink", "page", TEXT), ("ink", "surface", TEXT), ("ink", "sunken", TEXT), ("ink", "wash", TEXT), ("ink", "warn-wash", TEXT),
    ("muted", "page", TEXT), ("muted", "surface", TEXT), ("muted", "sunken", TEXT), ("muted", "wash", TEXT),
    ("accent", "page", TEXT), ("accent", "surface", TEXT), ("surface", "ink", TEXT),
    ("warn", "warn-wash", TEXT), ("warn", "surface", TEXT), ("act", "act-wash", TEXT), ("act", "surface", TEXT),
    ("fine", "fine-wash", TEXT), ("edge", "surface", LINES), ("edge", "page", LINES), ("accent", "sunken", LINES),
]  # fmt: skip


def schemes() -> dict[str, dict[str, str]]:
    """Colours by name: light, dark, and paper, which keeps what it does not set anew."""
    light, dark = COLORS.split("@media (prefers-color-scheme: dark)")
    paper = STYLE.split("@media print")[1].split("}")[0]
    found = {name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", text)) for name, text in (("light", light), ("dark", dark))}
    return {**found, "paper": {**found["light"], **dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", paper))}}


def luminance(color: str) -> float:
    """Relative luminance of sRGB."""
    digits = color.removeprefix("#")
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    parts = [int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_the_one_of_the_standard():
    assert contrast("#000", "#fff") == pytest.approx(21)
    assert contrast("#777777", "#fff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark", "paper"])
@pytest.mark.parametrize(("words", "ground", "least"), PAIRS)
def test_words_stand_out(scheme, words, ground, least):
    colors = schemes()[scheme]
    assert contrast(colors[words], colors[ground]) >= least


def test_every_colour_that_is_used_is_set_in_both_schemes():
    used = set(re.findall(r"var\(--([\w-]+)\)", STYLE)) - {"share", "mark"}
    assert used <= set(schemes()["light"]) == set(schemes()["dark"])


def test_the_sheet_asks_for_nothing():
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    assert STYLE.count("{") == STYLE.count("}")
    assert "<" not in STYLE
