from __future__ import annotations

import numpy as np
from scipy.ndimage import label

from scanner.images.align import GRID, SIDE, align
from scanner.images.relation import NEAR, OTHER, TEMPLATE, Limits, confidence, largest_region, pack_cells, relate
from scanner.lab.scenes import SCENES

LIMITS = Limits(near_distance=0.35, near_contrast=0.5, template_share=0.15, template_rest=0.16, template_structure=0.15)


def small(seed: int, scene: str) -> np.ndarray:
    image = SCENES[scene](np.random.default_rng([55, seed]), (200, 200)).image
    return np.array(image.resize((SIDE, SIDE)))


def judged(a: np.ndarray, b: np.ndarray, limits: Limits = LIMITS) -> int:
    return int(relate(align(a[None], b[None]), b[None], limits).relation[0])


def test_one_layout_with_another_motif_is_a_template_and_a_small_mark_is_not():
    base, motif = small(1, "leaves"), small(2, "poster")
    member = base.copy()
    member[8:40, 8:40] = motif[8:40, 8:40]
    assert judged(member, base) == TEMPLATE
    marked = base.copy()
    marked[8:18, 8:28] = 255
    assert judged(marked, base) == NEAR, "a mark of 5 % of the area"
    assert judged(motif, base) == OTHER
    assert judged(base, base) == NEAR


def test_white_paper_around_two_drawings_is_no_template():
    drawings = []
    for seed in (3, 4):
        page = np.full((SIDE, SIDE, 3), 255, np.uint8)
        page[16:48, 16:48] = small(seed, "poster")[16:48, 16:48]
        drawings.append(page)
    assert judged(*drawings) == OTHER
    lax = Limits(near_distance=0.35, near_contrast=0.5, template_share=0.15, template_rest=0.16, template_structure=0.0)
    assert judged(*drawings, lax) == TEMPLATE, "it is the structure of what agrees that decides"


def test_the_mask_says_where_they_differ():
    base = small(1, "leaves")
    member = base.copy()
    member[0:32, 32:64] = 255 - member[0:32, 32:64]
    found = relate(align(member[None], base[None]), base[None], LIMITS)
    quarter = np.zeros((GRID, GRID), bool)
    quarter[:8, 8:] = True
    assert found.differs[0][quarter].mean() > 0.7
    assert found.differs[0][~quarter].mean() < 0.1


def test_confidence_falls_with_distance_and_is_half_at_its_middle():
    from scanner.images.relation import MIDDLE

    values = confidence(np.array([0.0, 0.01, 0.1, MIDDLE, 0.5, 2.0, np.inf], np.float32))
    assert (np.diff(values) <= 0).all()
    assert values[0] > 0.999
    assert abs(values[3] - 0.5) < 1e-3
    assert values[-1] < 1e-6


def test_largest_region_is_that_of_a_label_image():
    rng = np.random.default_rng(0)
    cells = rng.random((20, GRID, GRID)) < 0.3
    cells[0] = False
    expected = []
    for mask in cells:
        labels, _ = label(mask, structure=np.ones((3, 3)))
        expected.append(max((np.sum(labels == i) for i in range(1, labels.max() + 1)), default=0) / GRID**2)
    assert largest_region(cells).tolist() == expected


def test_a_mask_is_32_bytes_leftmost_cell_first():
    cells = np.zeros((GRID, GRID), bool)
    cells[0, 0] = cells[1, 15] = True
    assert pack_cells(cells) == b"\x80\x00\x00\x01" + bytes(28)
