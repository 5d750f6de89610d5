"""Template verbatims: generations that equal training images but for a region that varies among those too (Webster 2023).

A template is seen in the training set first: a picture, and siblings that agree with it in the same cells and differ in others.
The cells in which nearly all siblings agree are its mask. Generations are then held against the picture within the mask alone,
and as plain ground is close to everything, against other pictures within the same mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.extract.match import Matches
from scanner.images.distances import NUM_NEIGHBORS, adaptive_ratio, all_l2, unit

GRID = 16
"""Cells of a mask along each side."""
CELL_DISTANCE = 0.08
"""RMS of pixels in [0, 1] up to which two training images agree in a cell."""
MIN_SHARED, MAX_SHARED = 0.3, 0.92
"""Share of the cells in which siblings agree: less is chance, more is a copy with a mark on it."""
AGREEMENT = 0.8
"""Share of its siblings that agree with a picture in a cell of the mask."""
MIN_SIBLINGS = 3
MIN_SPREAD = 0.06
"""Standard deviation of colours within the mask, at least: paper around a drawing makes no template."""
MAX_RATIO = 0.5
"""Distance within the mask over its mean to the 50 nearest pictures that are no siblings."""
STABLE_DISTANCE = 0.2
"""RMS up to which a cell of the generations, in the median, is that of the picture."""
MIN_MASK = 0.15
"""Share of the area that must come out the same."""
NUM_ANCHORS = 8
"""Training pictures that are tried as the template's picture."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Template:
    """What n generations share with a family of training images.

    Attributes:
        picture: position of the training picture in the library.
        image_id: of it.
        cells: bool (GRID, GRID) the mask: what siblings and generations have in common.
        l2, ratio: float32 (n,) of every generation to the picture within the siblings' mask.
        members: positions of the generations that match.
        best: the one that is nearest.
    """

    picture: int
    image_id: int
    cells: NDArray[np.bool_]
    l2: NDArray[np.float32]
    ratio: NDArray[np.float32]
    members: NDArray[np.int64]
    best: int

    @property
    def num_matching(self) -> int:
        return len(self.members)

    @property
    def mask_share(self) -> float:
        """Share of the area in the mask."""
        return float(self.cells.mean())

    def packed(self) -> bytes:
        """The mask as 32 bytes: rows from the top, in each the leftmost cell is the highest bit."""
        return np.packbits(self.cells).tobytes()


def find_template(images: NDArray[np.uint8], matches: Matches, *, max_l2: float) -> Template | None:
    """The template that most of n generations repeat; None where fewer than two repeat one.

    Args:
        images: uint8 (n, h, w, 3), at the size of ``matches.candidate_pixels``.
        max_l2: within the mask, as for whole images.
    """
    if len(matches.candidates) <= MIN_SIBLINGS:
        return None
    generated, trained = unit(images), unit(matches.candidate_pixels)
    best: Template | None = None
    for anchor in _anchors(generated, trained):
        between = _cell_squares(trained[anchor], trained)
        agrees = between <= CELL_DISTANCE**2
        shared = agrees.mean(axis=(1, 2))
        siblings = (shared >= MIN_SHARED) & (shared <= MAX_SHARED)
        siblings[anchor] = False
        if siblings.sum() < MIN_SIBLINGS:
            continue
        fixed = agrees[siblings].mean(axis=0) >= AGREEMENT
        if not MIN_MASK <= fixed.mean() <= 1 - MIN_MASK or _spread(trained[anchor], fixed) < MIN_SPREAD:
            continue
        # Whatever agrees within most of the mask belongs to the family, be it a copy or a sibling left out above.
        is_family = (agrees & fixed).sum(axis=(1, 2)) >= AGREEMENT * fixed.sum()
        pixels = _pixels_of(fixed, images.shape[1:3])
        within, trained_within = generated[:, pixels][:, None], trained[:, pixels][:, None]
        l2 = all_l2(within, trained_within[[anchor]])[:, 0]
        if np.count_nonzero(l2 <= max_l2) < 2:
            continue
        others = np.concatenate([l2[:, None], all_l2(within, trained_within[~is_family])], axis=1)
        ratio, nearest = adaptive_ratio(others, n=NUM_NEIGHBORS, alpha=1)
        members = np.flatnonzero((l2 <= max_l2) & (ratio <= MAX_RATIO) & (nearest == 0))
        if len(members) < 2 or (best is not None and len(members) <= best.num_matching):
            continue
        to_anchor = np.median(_cell_squares(trained[anchor], generated[members]), axis=0)
        cells = fixed & (to_anchor <= STABLE_DISTANCE**2)
        if cells.mean() < MIN_MASK:
            continue
        picture = int(matches.candidates[anchor])
        best = Template(
            picture=picture, image_id=int(matches.candidate_ids[anchor]), cells=cells, l2=l2, ratio=ratio, members=members,
            best=int(members[l2[members].argmin()]),
        )  # fmt: skip
    return best


def _anchors(generated: NDArray[np.float32], trained: NDArray[np.float32]) -> list[int]:
    """Training pictures to which the mean of the generations is nearest, and own ones, which stand first among the candidates."""
    mean = generated.mean(axis=0, dtype=np.float64)
    distance = np.square(trained - mean).mean(axis=(1, 2, 3))
    nearest = np.argsort(distance, kind="stable")[:NUM_ANCHORS].tolist()
    return list(dict.fromkeys([0, *nearest]))


def _cell_squares(one: NDArray[np.float32], many: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, GRID, GRID) mean squared differences of an image (h, w, 3) to ``many`` (n, h, w, 3), cell by cell."""
    squares: NDArray[np.float64] = np.square(many - one, dtype=np.float64).mean(axis=-1)
    height, width = squares.shape[1:]
    rows, columns = ([side * i // GRID for i in range(GRID)] for side in (height, width))
    sums = np.add.reduceat(np.add.reduceat(squares, rows, axis=1), columns, axis=2)
    areas = np.diff([*rows, height])[:, None] * np.diff([*columns, width])[None]
    means: NDArray[np.float64] = sums / areas
    return means


def _spread(image: NDArray[np.float32], cells: NDArray[np.bool_]) -> float:
    """Standard deviation of the colours within the cells."""
    return float(image[_pixels_of(cells, image.shape[:2])].std(axis=0).mean())


def _pixels_of(cells: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """(h, w) the pixels of the chosen cells."""
    height, width = shape
    return cells[np.arange(height) * GRID // height][:, np.arange(width) * GRID // width]
