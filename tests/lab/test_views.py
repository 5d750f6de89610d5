"""Views stay recognisable and repeat by their generator; edits change the share of the area that they promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scanner.lab.drawings import squash
from scanner.lab.scenes import draw_scene
from scanner.lab.views import EDIT_AREA, FAITHFUL, MILD, STRONG, Strength, as_new_pictures, edit, move_part, recolor, view

SIDE = 64
STILL = Strength(
    crop=0.0, border=0.0, p_border=0.0, p_turn=0.0, tone=0.0, saturation=0.0, blur=0.0, p_mark=0.0, noise=0.0
)  # fmt: skip


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    drawn = [squash(draw_scene(np.random.default_rng([4, i])).image, 80) for i in range(24)]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2)


def small(images):
    return torch.nn.functional.interpolate(images.float() / 255, size=(SIDE, SIDE), mode="bilinear", antialias=True)


def cosine(x, y):
    x, y = x.flatten(1), y.flatten(1)
    return torch.nn.functional.cosine_similarity(x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True))


@pytest.mark.parametrize("strength", [MILD, STRONG, FAITHFUL])
def test_views_repeat_by_their_generator_and_stay_in_range(images, strength):
    before = images.clone()
    first, again, other = (view(images, SIDE, strength, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(images, before)
    assert first.shape == (len(images), 3, SIDE, SIDE)
    assert first.dtype == torch.float32
    assert 0 <= first.min() < first.max() <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_without_any_strength_a_view_is_the_picture(images):
    assert (view(images, SIDE, STILL, generator()) - small(images)).abs().mean() < 0.02


def test_a_strong_view_goes_further_than_a_mild_one_and_neither_becomes_another_picture(images):
    mild, strong = (cosine(view(images, SIDE, s, generator(3)), small(images)) for s in (MILD, STRONG))
    strangers = cosine(small(images), small(images).roll(1, 0))
    assert mild.median() > 0.97
    assert strong.mean() < mild.mean()
    assert strong.median() > strangers.quantile(0.9)


def test_no_view_is_mirrored(images):
    for seed in range(5):
        seen = view(images, SIDE, STRONG, generator(seed))
        assert (cosine(seen, small(images)) > cosine(seen, small(images).flip(3))).float().mean() > 0.9


def test_an_edit_fills_one_box_of_the_promised_area():
    views, others = torch.zeros(200, 3, SIDE, SIDE), torch.ones(200, 3, SIDE, SIDE)
    changed = edit(views, others, generator())[:, 0]
    area = changed.mean(dim=(1, 2))
    assert EDIT_AREA[0] - 0.04 < area.min()
    assert area.max() < EDIT_AREA[1] + 0.04
    assert area.std() > 0.05
    for box in changed[:20]:
        rows, columns = torch.nonzero(box.amax(1)).flatten(), torch.nonzero(box.amax(0)).flatten()
        assert box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all(), "a box without holes"


def test_a_moved_part_changes_a_part_and_other_colors_keep_white_and_black(images):
    x = small(images)
    moved = (move_part(x, generator()) - x).abs().amax(1)
    assert (moved == 0).flatten(1).float().mean(1).min() > 0.5
    assert (moved > 0.1).flatten(1).any(1).float().mean() > 0.9
    assert (recolor(x, generator()) - x).abs().mean() > 0.03
    ends = torch.stack([torch.ones(3, 4, 4), torch.zeros(3, 4, 4)])
    assert (recolor(ends, generator()) - ends).abs().max() < 0.1


def test_new_pictures_are_turned_and_recolored_whole_and_others_stay(images):
    chosen = torch.arange(len(images)) % 2 == 0
    new = as_new_pictures(images, chosen, generator())
    assert torch.equal(new[~chosen], images[~chosen])
    changed = [not torch.equal(a, b) for a, b in zip(new[chosen], images[chosen], strict=True)]
    assert sum(changed) > 0.8 * len(changed)
    for a, b in zip(new, images, strict=True):
        assert torch.equal(a.flatten().sort().values, b.flatten().sort().values), "the same levels in other places"
