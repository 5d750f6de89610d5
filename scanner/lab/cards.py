"""Cards of nothing but text, as quotes, notices and screenshots of messages are: for what has to tell them from pictures."""

from __future__ import annotations

import numpy as np
from PIL import Image

from scanner.lab.canvas import gradient, pick_ink, pick_size, shade
from scanner.lab.lettering import text_mask
from scanner.lab.words import ADJECTIVES, NOUNS, pick


def draw_text_card(rng: np.random.Generator) -> Image.Image:
    """Two to seven lines of one size on a plain or softly shaded ground."""
    width, height = size = pick_size(rng)
    ground = pick_ink(rng)
    ink = pick_ink(rng, unlike=(ground,))
    image = gradient(size, ground.rgb, shade(ground.rgb, int(rng.integers(-25, 26))), rng.uniform(0, 2 * np.pi))
    num_lines = int(rng.integers(2, 8))
    line = min(height * 0.8 / num_lines, width * 0.22)
    letter = max(9, int(line * 0.8))
    top = rng.uniform(0.3, 0.7) * (height - num_lines * line)
    left, is_centred = width * rng.uniform(0.03, 0.08), rng.random() < 0.5
    for row in range(num_lines):
        text = pick(rng, ADJECTIVES)
        while (longer := f"{text} {pick(rng, NOUNS)}") and text_mask(longer, letter).width < width * 0.9:
            text = longer
        mask = text_mask(text, letter)
        if mask.width > width * 0.96:
            mask = mask.resize((int(width * 0.94), letter), Image.Resampling.BILINEAR)
        x = (width - mask.width) / 2 if is_centred else left
        image.paste(ink.rgb, (max(0, round(min(x, width - mask.width))), round(top + row * line)), mask)
    return image
