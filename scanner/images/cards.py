"""What kind of thing a picture is, where pixels alone can tell: lettering on plain ground, or a drawing of few flat colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

INK_SHARE_OF_STRONGEST = 0.4
"""Ink is what differs from the ground by at least so much of what the strongest ink does: half a stroke's edge."""
FLAT_RANGE = 6
"""Levels of 255 that a 3 x 3 neighbourhood spans at most where an area counts as flat; JPEG leaves a few."""
FRAME = 0.08
"""Of each side's length, at either end: left aside when lines are looked for."""
COLOR_SHARE = 0.01
"""Of the flat area, that a colour must cover to be counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CardFacts:
    """What was measured of one picture. Shares are of its area unless said otherwise.

    Attributes:
        ground_share: covered by one colour or one slow gradient.
        text_share: of the ink on the ground, that in lines of lettering.
        num_lines: such lines.
        flat_share: of neighbourhoods without any variation.
        num_colors: different colours of the flat area, of 4 bits a channel, neighbouring ones counted once.
        saturation: mean of the difference between strongest and weakest channel, in [0, 1].
    """

    ground_share: float
    text_share: float
    num_lines: int
    flat_share: float
    num_colors: int
    saturation: float


def card_facts(pixels: NDArray[np.uint8]) -> CardFacts:
    """Facts of (h, w, 3) pixels, best of about 128 a side: strokes must still be strokes."""
    unit = pixels.astype(np.float32) / np.float32(255)
    difference = _from_ground(unit)
    strong = difference[difference > 0.1]
    ink_level = max(0.08, INK_SHARE_OF_STRONGEST * float(np.quantile(strong, 0.9))) if len(strong) else np.inf
    ink = difference > ink_level
    # A frame would join all lines.
    top, left = (round(side * FRAME) for side in ink.shape)
    text_share, num_lines = _lines(ink[top : len(ink) - top, left : ink.shape[1] - left])
    is_flat = _is_flat(pixels)
    return CardFacts(
        ground_share=float((difference < 0.08).mean()),
        text_share=text_share,
        num_lines=num_lines,
        flat_share=float(is_flat.mean()),
        num_colors=_num_colors(pixels[1:-1, 1:-1][is_flat]),
        saturation=float((unit.max(axis=2) - unit.min(axis=2)).mean()),
    )


def _from_ground(unit: NDArray[np.float32]) -> NDArray[np.float32]:
    """(h, w) distance of each pixel from the ground, the plane of colours that most lie on; root mean square over channels.

    Fitted from the commonest colour outwards, by least squares with Cauchy weights.
    """
    height, width, _ = unit.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    design = np.stack([np.ones_like(x), x, y], axis=2).reshape(-1, 3)
    colors, all_design = unit.reshape(-1, 3), design
    fitted = np.s_[:: 4 if len(colors) > 4096 else 1]  # a plane needs no more
    everything, colors, design = colors, colors[fitted], design[fitted]
    codes = (colors * 15.99).astype(np.int64) @ np.array([256, 16, 1])
    common = np.bincount(codes).argmax()
    residual = colors - colors[codes == common].mean(axis=0)
    spread = 0.15
    for _ in range(8):
        weight = 1 / (1 + (residual**2).mean(axis=1) / spread**2) ** 2
        weighted = design * weight[:, None]
        plane = np.linalg.solve(weighted.T @ design + 1e-6 * np.eye(3), weighted.T @ colors)
        residual = colors - design @ plane
        spread = max(0.03, spread * 0.75)
    residual = everything - all_design @ plane
    found: NDArray[np.float32] = np.sqrt((residual**2).mean(axis=1)).reshape(height, width).astype(np.float32)
    return found


def _lines(ink: NDArray[np.bool_]) -> tuple[float, int]:
    """Share of the ink in lines of lettering, and how many there are: rows of strokes of one height, between gaps.

    In a line of height h, letters are about h / 1.4 wide and each is crossed two to four times by a row of pixels.
    """
    total = int(ink.sum())
    if not total:
        return 0.0, 0
    rows = ink.mean(axis=1) > 0.01
    edges = np.flatnonzero(np.diff(np.concatenate([[False], rows, [False]]).astype(np.int8)))
    lines: list[tuple[int, int]] = []
    for top, bottom in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        band = ink[top:bottom]
        columns = np.flatnonzero(band.any(axis=0))
        height, width = bottom - top, int(columns[-1] - columns[0]) + 1
        if height < 3 or width < 1.8 * height:
            continue
        middle = band[height // 5 : max(height - height // 5, height // 5 + 1), columns[0] : columns[-1] + 1].astype(np.int8)
        crossings = float((np.diff(middle, axis=1) != 0).sum(axis=1).mean()) / 2 + 0.5
        per_height = crossings * height / width
        fill = float(band[:, columns[0] : columns[-1] + 1].mean())
        if 0.6 <= per_height <= 5.0 and crossings >= 3 and 0.12 <= fill <= 0.75:
            lines.append((height, int(band.sum())))
    if not lines:
        return 0.0, 0
    typical = float(np.median([height for height, _ in lines]))
    even = [area for height, area in lines if typical / 2 <= height <= 2 * typical]
    return sum(even) / total, len(even)


def _is_flat(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(h - 2, w - 2) whether all of the 3 x 3 pixels around are within ``FLAT_RANGE`` in every channel."""
    highest = np.maximum(np.maximum(pixels[:-2], pixels[1:-1]), pixels[2:])
    lowest = np.minimum(np.minimum(pixels[:-2], pixels[1:-1]), pixels[2:])
    highest = np.maximum(np.maximum(highest[:, :-2], highest[:, 1:-1]), highest[:, 2:])
    lowest = np.minimum(np.minimum(lowest[:, :-2], lowest[:, 1:-1]), lowest[:, 2:])
    flat: NDArray[np.bool_] = np.less_equal(highest - lowest, FLAT_RANGE).min(axis=2)
    return flat


def _num_colors(colors: NDArray[np.uint8]) -> int:
    """Different colours of (n, 3) pixels, commonest first; one within a step of a counted one is the same."""
    if not len(colors):
        return 0
    codes, counts = np.unique((colors.astype(np.int64) >> 4) @ np.array([256, 16, 1]), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    kept: list[NDArray[np.int64]] = []
    for code, count in zip(codes[order].tolist(), counts[order].tolist(), strict=True):
        if count < COLOR_SHARE * len(colors):
            break
        levels = np.array([code >> 8, code >> 4 & 15, code & 15])
        if all(np.abs(levels - other).max() > 1 for other in kept):
            kept.append(levels)
    return len(kept)
