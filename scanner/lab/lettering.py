"""Lettering by strokes: an alphabet of our own, so that drawings depend on no font and on no version of a font engine.

A letter is a few polylines on a grid of 4 x 6. A stroke is every pixel within half its width, its edge softened over one pixel.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_ADVANCE = 5.6
_HEIGHT = 8.0
"""Of a line in grid units: six of the letters and a margin of one on either side."""

# x and y of each point as two digits, points separated by spaces, polylines by bars; y runs down.
_STROKES = {
    "A": "06 20 46|14 34", "B": "00 06 36 45 44 33 03|00 30 41 42 33", "C": "41 30 10 01 05 16 36 45",
    "D": "00 06 26 44 42 20 00",
    "E": "40 00 06 46|03 33", "F": "40 00 06|03 33", "G": "41 30 10 01 05 16 36 45 43 23", "H": "00 06|40 46|03 43",
    "I": "10 30|20 26|16 36", "J": "40 45 36 16 05", "K": "00 06|40 03 46", "L": "00 06 46", "M": "06 00 23 40 46",
    "N": "06 00 46 40", "O": "10 01 05 16 36 45 41 30 10", "P": "06 00 30 41 42 33 03", "Q": "10 01 05 16 36 45 41 30 10|24 46",
    "R": "06 00 30 41 42 33 03|23 46", "S": "41 30 10 01 02 13 33 44 45 36 16 05", "T": "00 40|20 26", "U": "00 05 16 36 45 40",
    "V": "00 26 40", "W": "00 16 23 36 40", "X": "00 46|40 06", "Y": "00 23 40|23 26", "Z": "00 40 06 46",
    "0": "10 01 05 16 36 45 41 30 10|05 41", "1": "11 20 26|16 36", "2": "01 10 30 41 42 06 46",
    "3": "00 40 22 33 44 45 36 16 05",
    "4": "36 30 04 44", "5": "40 00 03 33 44 45 36 06", "6": "40 20 02 05 16 36 45 44 33 03", "7": "00 40 16",
    "8": "10 01 02 13 33 44 45 36 16 05 04 13|33 42 41 30 10", "9": "06 26 44 41 30 10 01 02 13 43", ".": "26 26", ",": "25 16",
    "-": "13 33", "%": "06 40|11 11|35 35", "!": "20 24|26 26", "?": "01 10 30 41 33 24|26 26",
    "&": "46 12 11 20 31 13 05 16 26 44",
    "/": "06 40", "©": "12 31 41|10 01 05 16 36 45 41 30 10", "#": "12 42|04 34|20 06|40 26", "'": "20 21",
}  # fmt: skip
_LETTERS = {
    letter: tuple(tuple((float(point[0]), float(point[1])) for point in line.split()) for line in strokes.split("|"))
    for letter, strokes in _STROKES.items()
}


def text_width(text: str) -> float:
    """Width of a line in multiples of its height."""
    return len(text) * _ADVANCE / _HEIGHT


@lru_cache(maxsize=512)
def text_mask(text: str, height: int) -> Image.Image:
    """One line of ``text`` as an 8-bit mask of ``height`` pixels. Small letters are drawn as capitals, unknown ones as blanks."""
    unit = height / _HEIGHT
    width = max(1, round(text_width(text) * height))
    mask = np.zeros((height, width), np.float32)
    reach = max(0.62, 0.62 * unit)  # half the width of a stroke, in pixels
    for index, letter in enumerate(text.upper()):
        for line in _LETTERS.get(letter, ()):
            points = [((x + 0.8 + index * _ADVANCE) * unit, (y + 1) * unit) for x, y in line]
            for start, end in pairwise(points):
                _stroke(mask, start, end, reach)
    return Image.fromarray((mask * 255 + 0.5).astype(np.uint8))


def _stroke(mask: NDArray[np.float32], start: tuple[float, float], end: tuple[float, float], reach: float) -> None:
    """Covers what lies within ``reach`` pixels of the segment, in place."""
    (x0, y0), (x1, y1) = start, end
    left, right = max(0, int(min(x0, x1) - reach - 1)), min(mask.shape[1], int(max(x0, x1) + reach + 2))
    top, bottom = max(0, int(min(y0, y1) - reach - 1)), min(mask.shape[0], int(max(y0, y1) + reach + 2))
    if left >= right or top >= bottom:
        return
    x = np.arange(left, right, dtype=np.float32)[None] + 0.5 - x0
    y = np.arange(top, bottom, dtype=np.float32)[:, None] + 0.5 - y0
    dx, dy = x1 - x0, y1 - y0
    along = np.clip((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
    distance = np.hypot(x - along * dx, y - along * dy)
    window = mask[top:bottom, left:right]
    np.maximum(window, np.clip(reach + 0.5 - distance, 0, 1), out=window)
