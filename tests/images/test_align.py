from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from scanner.images.align import GRID, LOOK, MAX_STRETCH, SIDE, align, shrink
from scanner.images.geometry import fit
from scanner.lab.scenes import SCENES


def picture(seed: int, scene: str = "shapes", size: tuple[int, int] = (240, 180)) -> Image.Image:
    return SCENES[scene](np.random.default_rng([99, seed]), size).image


def look(image: Image.Image) -> np.ndarray:
    return shrink(fit(np.array(image), LOOK)[None])[0]


def one(a: Image.Image, b: Image.Image):
    return align(look(a)[None], look(b)[None])


def jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=45)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def test_equal_pictures_are_at_zero_and_lie_as_they_are():
    found = one(picture(1), picture(1))
    assert found.distance[0] < 1e-3
    assert not found.is_mirrored[0]
    assert np.allclose(found.scale, 1, atol=0.01)
    assert np.allclose(found.offset, 0, atol=0.01)


def test_a_crop_is_found_where_it_was_cut():
    whole = picture(2)
    width, height = whole.size
    box = (round(0.02 * width), round(0.06 * height), round(0.93 * width), round(0.97 * height))
    found = one(whole.crop(box), whole)
    assert found.distance[0] < 0.1
    # Laid over the whole, the crop is read at x' = (x - centre) / share, with x in [-1, 1].
    for axis, (low, high, side) in enumerate(((box[0], box[2], width), (box[1], box[3], height))):
        share, centre = (high - low) / side, (high + low) / side - 1
        assert found.scale[0, axis] == pytest.approx(1 / share, abs=0.02)
        assert found.offset[0, axis] == pytest.approx(-centre / share, abs=0.02)
    assert found.overlap[0] == pytest.approx(0.91 * 0.91, abs=0.05)
    assert np.isnan(found.cells[0, -1]).all(), "what the crop lacks is not compared"


@pytest.mark.parametrize("scene", sorted(SCENES))
def test_altered_copies_are_near_and_other_pictures_far(scene):
    source = picture(3, scene)
    width, height = source.size
    copies = [
        jpeg(source),
        source.resize((150, 113)),
        source.crop((12, 9, width - 4, height - 6)),
        ImageOps.expand(source, border=12, fill=(255, 255, 255)),
        source.point([min(255, round(v * 1.07)) for v in range(256)] * 3),
        ImageOps.mirror(source),
    ]
    near = align(np.stack([look(copy) for copy in copies]), np.stack([look(source)] * len(copies)))
    assert near.distance.max() < 0.3, near.distance
    assert near.is_mirrored.tolist() == [False] * 5 + [True]
    others = [picture(seed, scene) for seed in range(4, 12)]
    far = align(np.stack([look(other) for other in others]), np.stack([look(source)] * len(others)))
    assert far.distance.min() > near.distance.max()
    assert np.median(far.distance) > 0.5


def test_two_frames_do_not_hide_that_the_picture_is_the_same():
    source = picture(5, "landscape")
    found = one(ImageOps.expand(source, border=14, fill=(0, 0, 0)), ImageOps.expand(source, border=5, fill=(255, 255, 255)))
    assert found.distance[0] < 0.3


def test_a_recoloured_picture_is_another():
    """One gain for all channels: red turned to blue is no brightness."""
    source = picture(6, "blur")
    found = one(Image.fromarray(np.array(source)[:, :, ::-1].copy()), source)
    assert found.distance[0] > 0.4


def test_only_the_cells_that_differ_stand_out():
    source = picture(7, "leaves")
    pixels = look(source)
    changed = pixels.copy()
    changed[16:32, 32:48] = 255 - changed[16:32, 32:48]
    found = align(changed[None], pixels[None])
    is_far = found.cells[0] > 0.3
    per_cell = SIDE // GRID
    inside = np.zeros((GRID, GRID), bool)
    inside[16 // per_cell : 32 // per_cell, 32 // per_cell : 48 // per_cell] = True
    assert is_far[inside].mean() > 0.7
    assert is_far[~inside].mean() < 0.08, "smoothing bleeds into the cells around, no further"
    assert found.distance[0] < found.whole_distance[0]


def test_nothing_is_stretched_beyond_bounds_and_flat_pictures_do_not_break():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (40, SIDE, SIDE, 3)).astype(np.uint8)
    a[:10] = 255
    b = np.roll(a, 3, axis=0)
    found = align(a, b)
    assert np.isfinite(found.scale).all()
    assert (found.scale <= MAX_STRETCH + 1e-5).all()
    assert (found.scale >= 1 / MAX_STRETCH - 1e-5).all()
    assert not np.isnan(found.distance).any()
    assert align(a[:1], a[:1]).distance[0] < 1e-3


def test_no_pairs():
    none = np.empty((0, SIDE, SIDE, 3), np.uint8)
    found = align(none, none)
    assert len(found.distance) == len(found.cells) == 0
