"""Pixels to the size an encoder takes, as open_clip's own image transform does it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.core.preprocess import Interpolation, Preprocess

WASTE = 4
"""Resized images of more than this many times the pixels that are kept are resized only where they are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where the encoder's window lies on the resized image. Computed from the size of the original.

    Attributes:
        height, width: of the whole image once resized, in pixels.
        top, left: first row and column of the window; negative where the image is padded on that side.
        interpolation: of the resize.
    """

    height: int
    width: int
    top: int
    left: int
    interpolation: Interpolation


def place(height: int, width: int, preprocess: Preprocess) -> Placement:
    """Geometry of open_clip 3.3 ``image_transform(is_train=False)`` for an image of ``height`` x ``width`` pixels.

    One departure: a side that would vanish (``longest`` on a strip) keeps one pixel, where open_clip raises.
    """
    target_h, target_w = preprocess.size
    interpolation = preprocess.interpolation
    if preprocess.resize_mode == "squash":
        return Placement(height=target_h, width=target_w, top=0, left=0, interpolation=interpolation)
    if preprocess.resize_mode == "longest":
        ratio = max(height / target_h, width / target_w)
        new_h, new_w = max(1, round(height / ratio)), max(1, round(width / ratio))
    elif target_h == target_w:  # torchvision's Resize(int): the longer side is cut to an integer
        short, long = min(height, width), max(height, width)
        new_long = int(target_h * long / short)
        new_h, new_w = (target_h, new_long) if height <= width else (new_long, target_h)
    else:  # open_clip's ResizeKeepRatio(size), which is not handed the interpolation
        ratio = min(height / target_h, width / target_w)
        new_h, new_w = round(height / ratio), round(width / ratio)
        interpolation = "bicubic"
    return Placement(
        height=new_h,
        width=new_w,
        top=_start(new_h, target_h),
        left=_start(new_w, target_w),
        interpolation=interpolation,
    )


def _start(size: int, window: int) -> int:
    """Half of what is cut off (rounded as Python rounds) or, negative, of what is added (the smaller half before)."""
    return round((size - window) / 2.0) if size >= window else -((window - size) // 2)


def fit(pixels: NDArray[np.uint8], preprocess: Preprocess) -> NDArray[np.uint8]:
    """Resize, crop and pad (h, w, 3) pixels to ``preprocess.size``; within 2 levels of open_clip's transform.

    Mean and std are the encoder's to apply. The result is contiguous.
    """
    target_h, target_w = preprocess.size
    height, width, _ = pixels.shape
    at = place(height, width, preprocess)
    top, left = max(at.top, 0), max(at.left, 0)
    rows, columns = min(at.height - top, target_h), min(at.width - left, target_w)
    if at.height * at.width <= WASTE * target_h * target_w:
        window = _resize(pixels, at)[top : top + rows, left : left + columns]
    else:
        window = _resize_window(pixels, at, top, left, rows, columns)
    if (rows, columns) == (target_h, target_w):
        return np.ascontiguousarray(window)
    canvas = np.full((target_h, target_w, 3), preprocess.fill_color, dtype=np.uint8)
    canvas[max(-at.top, 0) :, max(-at.left, 0) :][:rows, :columns] = window
    return canvas


def _resize(pixels: NDArray[np.uint8], at: Placement) -> NDArray[np.uint8]:
    """The whole image by torch, whose antialiased filters on bytes are Pillow's, in a fraction of the time."""
    import torch
    from torch.nn import functional

    if pixels.shape[:2] == (at.height, at.width):
        return pixels
    # A batch of one in channels-last order: permuted before the batch axis is added, torch takes a slower way.
    tensor = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    resized = functional.interpolate(tensor, size=(at.height, at.width), mode=at.interpolation, antialias=True)
    result: NDArray[np.uint8] = resized[0].permute(1, 2, 0).numpy()
    return result


def _resize_window(pixels: NDArray[np.uint8], at: Placement, top: int, left: int, rows: int, columns: int) -> NDArray[np.uint8]:
    """Only the window, exactly as cut from the whole: a strip of 30,000 x 8 pixels would else grow to 840,000 x 224.

    Pillow samples a fractional box with the pixels around it, so that nothing shifts and no edge appears.
    """
    from PIL import Image

    height, width, _ = pixels.shape
    y0, y1 = top * height / at.height, (top + rows) * height / at.height
    x0, x1 = left * width / at.width, (left + columns) * width / at.width
    # Bicubic reaches 2 source pixels to each side, times the reduction.
    reach_y = 2 + math.ceil(2 * max(1.0, height / at.height))
    reach_x = 2 + math.ceil(2 * max(1.0, width / at.width))
    first_y, last_y = max(0, math.floor(y0) - reach_y), min(height, math.ceil(y1) + reach_y)
    first_x, last_x = max(0, math.floor(x0) - reach_x), min(width, math.ceil(x1) + reach_x)
    region = Image.fromarray(np.ascontiguousarray(pixels[first_y:last_y, first_x:last_x]))
    resample = Image.Resampling.BICUBIC if at.interpolation == "bicubic" else Image.Resampling.BILINEAR
    box = (x0 - first_x, y0 - first_y, x1 - first_x, y1 - first_y)
    return np.asarray(region.resize((columns, rows), resample, box=box))
