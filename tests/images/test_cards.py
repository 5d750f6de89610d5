from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from scanner.images.align import LOOK
from scanner.images.cards import card_facts
from scanner.images.geometry import fit
from scanner.lab.cards import draw_text_card
from scanner.lab.scenes import SCENES


def facts(image: Image.Image):
    return card_facts(fit(np.array(image), LOOK))


def test_lines_of_lettering_are_counted():
    found = [facts(draw_text_card(np.random.default_rng([77, i]))) for i in range(30)]
    is_text = [f.text_share > 0.8 and f.num_lines >= 2 and f.ground_share > 0.45 for f in found]
    assert sum(is_text) >= 27


@pytest.mark.parametrize("scene", sorted(SCENES))
def test_scenes_are_no_text(scene):
    found = [facts(SCENES[scene](np.random.default_rng([78, i]), (220, 180)).image) for i in range(20)]
    is_text = [f.text_share > 0.8 and f.num_lines >= 2 and f.ground_share > 0.45 and f.flat_share > 0.2 for f in found]
    assert sum(is_text) <= 1


def test_a_plain_drawing_has_few_colours_and_is_flat():
    image = Image.new("RGB", (300, 200), (250, 250, 250))
    draw = ImageDraw.Draw(image)
    draw.ellipse((30, 30, 130, 130), fill=(200, 30, 30))
    draw.rectangle((150, 40, 260, 160), fill=(20, 60, 180))
    found = facts(image)
    assert found.num_colors == 3
    assert found.flat_share > 0.8
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3)).astype(np.uint8)
    assert facts(Image.fromarray(noise)).flat_share < 0.05


def test_a_gradient_is_ground_and_blank_has_no_ink():
    ramp = np.repeat(np.linspace(40, 220, 200, dtype=np.uint8)[None, :, None], 200, axis=0).repeat(3, axis=2)
    found = facts(Image.fromarray(ramp))
    assert found.ground_share > 0.95
    blank = facts(Image.new("RGB", (50, 50), (128, 128, 128)))
    assert (blank.text_share, blank.num_lines, blank.num_colors, blank.saturation) == (0, 0, 1, 0)
