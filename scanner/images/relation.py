"""What two pictures laid over one another are to each other: the same one altered, two of one template, or two pictures.

All numbers here were chosen on the pairs of ``lab.verify_pairs.planted_pairs(TUNING_SEED, 600)`` and on nothing else. There, of
pairs of one picture all came out below a distance of 0.3, and what agreed in them held 0.65 of the contrast and more; of 600
unlike pairs two came out below 0.35, and one of those held 0.5 of the contrast.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scanner.images.align import GRID, MAX_STRETCH, SIDE, Alignment, align, shrink
from scanner.images.distances import unit

if TYPE_CHECKING:
    from scanner.core.config import VerifyConfig

OTHER, NEAR, TEMPLATE = 0, 1, 2

PAIRS = 512
"""Pairs compared at once."""

CELL_DISTANCE = 0.3
"""Distance, over contrast, above which the two differ in a cell."""
SLOPE, MIDDLE = 10.5, 0.232
"""Of P(same picture | distance), as ``lab.verify_pairs.fit_confidence`` gives them for its default seed."""
_LOCAL_CONTRAST = 0.02
"""Standard deviation of luminance within a cell, in [0, 1], above which the cell shows something."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Thresholds; ``core.config.VerifyConfig`` documents them."""

    near_distance: float
    near_contrast: float
    template_share: float
    template_rest: float
    template_structure: float

    @classmethod
    def of(cls, settings: VerifyConfig) -> Limits:
        """As the config has them."""
        return cls(
            near_distance=settings.near_distance, near_contrast=settings.near_contrast, template_share=settings.template_share,
            template_rest=settings.template_rest, template_structure=settings.template_structure,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Relations:
    """n pairs judged.

    Attributes:
        relation: int8 (n,) ``OTHER``, ``NEAR`` or ``TEMPLATE``.
        distance, whole_distance: float32 (n,) as ``images.align.Alignment`` gives them.
        differs: bool (n, GRID, GRID) cells of the leader in which the two differ.
        is_mirrored: bool (n,).
    """

    relation: NDArray[np.int8]
    distance: NDArray[np.float32]
    whole_distance: NDArray[np.float32]
    differs: NDArray[np.bool_]
    is_mirrored: NDArray[np.bool_]


def relate(found: Alignment, leaders: NDArray[np.uint8], limits: Limits) -> Relations:
    """Judges pairs of members laid over their leaders (n, SIDE, SIDE, 3).

    ``NEAR``: within ``near_distance``, and what agrees holds at least ``near_contrast`` of the contrast of the leader. Two small
    drawings on much white paper are close, as nearly all of it is paper, and agree on nothing but the paper.

    ``TEMPLATE``: the largest region in which they differ covers at least ``template_share``; elsewhere they agree within
    ``template_rest``; and at least ``template_structure`` of what agrees shows something. Two drawings on white paper agree
    outside the drawing too, and are no template.
    """
    seen = ~np.isnan(found.cells)
    cells = np.where(seen, found.cells, 0)
    differs = seen & (cells > CELL_DISTANCE)
    agrees = seen & ~differs
    num_agreeing = np.maximum(agrees.sum(axis=(1, 2)), 1)
    rest = np.sqrt((np.square(cells) * agrees).sum(axis=(1, 2)) / num_agreeing)
    structure = (agrees & _shows_something(leaders)).sum(axis=(1, 2)) / num_agreeing
    region = largest_region(differs)
    is_template = (region >= limits.template_share) & (rest <= limits.template_rest) & (structure >= limits.template_structure)
    kept = _contrast(leaders, agrees) / np.maximum(_contrast(leaders, seen), 1e-3)
    is_near = (found.distance <= limits.near_distance) & ((kept >= limits.near_contrast) | ~differs.any(axis=(1, 2)))
    relation = np.where(is_template, TEMPLATE, np.where(is_near, NEAR, OTHER)).astype(np.int8)
    return Relations(
        relation=relation,
        distance=found.distance,
        whole_distance=found.whole_distance,
        differs=differs,
        is_mirrored=found.is_mirrored,
    )


def compare_files(
    looks: NDArray[np.uint8],
    is_blank: NDArray[np.bool_],
    aspect: NDArray[np.float64],
    members: NDArray[np.int64],
    leaders: NDArray[np.int64],
    limits: Limits,
) -> Relations:
    """Relations of members (m,) to their leaders (m,), positions among n files; block by block, so that memory does not grow.

    Args:
        looks: uint8 (n, 2 * SIDE, 2 * SIDE, 3) as ``images.align.LOOK`` prepares them.
        is_blank, aspect: (n,) of the files; aspect is width over height.
    """
    blocks = []
    for i in range(0, max(1, len(members)), PAIRS):
        a, b = members[i : i + PAIRS], leaders[i : i + PAIRS]
        small_a, small_b = shrink(looks[a]), shrink(looks[b])
        block = relate(align(small_a, small_b), small_b, limits)
        # Squashed to one shape, a wide button and a tall one are alike: what no crop or frame explains is another picture.
        block.relation[np.abs(np.log(aspect[a] / aspect[b])) > np.log(MAX_STRETCH)] = OTHER
        # Two blanks are alike whatever their tone: there is nothing in either to tell them by.
        both = is_blank[a] & is_blank[b]
        block.relation[both], block.distance[both], block.whole_distance[both], block.differs[both] = NEAR, 0, 0, False
        blocks.append(block)
    return Relations(**{f.name: np.concatenate([getattr(block, f.name) for block in blocks]) for f in fields(Relations)})


def confidence(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """P(same picture | distance), on as many pairs of one picture as of two: a logistic curve in the logarithm."""
    odds = SLOPE * (np.log(np.maximum(distance, 1e-3, dtype=np.float64)) - np.log(MIDDLE))
    share: NDArray[np.float32] = (1 / (1 + np.exp(np.clip(odds, -50, 50)))).astype(np.float32)
    return share


def largest_region(cells: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n,) share of the grid (n, GRID, GRID) that the largest region of touching cells covers, corners included."""
    from scipy.ndimage import label

    shares = np.zeros(len(cells))
    for i in np.flatnonzero(cells.any(axis=(1, 2))).tolist():
        labels, _ = label(cells[i], structure=np.ones((3, 3)))
        shares[i] = np.bincount(labels.ravel())[1:].max() / GRID**2
    return shares


def pack_cells(cells: NDArray[np.bool_]) -> bytes:
    """A (GRID, GRID) mask as 32 bytes: rows from the top, in each the leftmost cell is the highest bit."""
    return np.packbits(cells).tobytes()


def _contrast(pixels: NDArray[np.uint8], cells: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(n,) standard deviation of the colours in the chosen cells (n, GRID, GRID) of pictures, in [0, 1]."""
    side = SIDE // GRID
    chosen = np.repeat(np.repeat(cells, side, axis=1), side, axis=2)[..., None].astype(np.float32)
    number = np.maximum(chosen.sum(axis=(1, 2), keepdims=True), 1)
    values = unit(pixels)
    mean = (values * chosen).sum(axis=(1, 2), keepdims=True) / number
    variance = (np.square(values - mean) * chosen).sum(axis=(1, 2)) / number[:, 0, 0]
    spread: NDArray[np.float32] = np.sqrt(variance.mean(axis=1))
    return spread


def _shows_something(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(n, GRID, GRID) cells in which luminance varies."""
    side = SIDE // GRID
    luma = unit(pixels).mean(axis=3)
    cells = luma.reshape(len(luma), GRID, side, GRID, side)
    varies: NDArray[np.bool_] = cells.std(axis=(2, 4)) > _LOCAL_CONTRAST
    return varies
