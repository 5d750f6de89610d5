"""Strokes: letters that can be told apart, sized as asked, drawn without any font."""

from __future__ import annotations

import ast
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import scanner.lab
from scanner.lab.lettering import text_mask, text_width

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def ink(text, height):
    return np.asarray(text_mask(text, height), float) / 255


@pytest.mark.parametrize("height", [24, 60])
def test_every_letter_is_drawn_and_no_two_are_alike(height):
    masks = {letter: ink(letter, height) for letter in LETTERS}
    assert all(0.08 < mask.mean() < 0.6 for mask in masks.values())
    closest = min((np.abs(masks[a] - masks[b]).mean(), a + b) for a, b in combinations(LETTERS, 2))
    assert closest[0] > 0.005, closest


@pytest.mark.parametrize("height", [8, 17, 64])
def test_a_line_has_the_size_that_it_says_and_small_letters_are_capitals(height):
    mask = text_mask("stock 24", height)
    assert mask.size == (round(text_width("stock 24") * height), height)
    assert np.array_equal(ink("Stock 24", height), ink("STOCK 24", height))
    assert not ink("\u4e2d", height).any(), "what has no strokes is left blank"


def test_a_stroke_is_soft_edged_and_scales_with_the_letters():
    large, small = ink("H", 96), ink("H", 24)
    assert set(np.unique(large)) >= {0.0, 1.0}
    assert len(np.unique(large)) > 10
    assert abs(large.mean() - small.mean()) < 0.05


def test_no_drawing_asks_for_a_font():
    for path in Path(scanner.lab.__file__).parent.glob("*.py"):
        names = {node.attr for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute)}
        assert not names & {"ImageFont", "load_default", "truetype"}, path
