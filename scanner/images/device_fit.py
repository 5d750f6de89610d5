"""Pixels to the size an encoder takes where the encoder runs: ``geometry.fit`` for tensors on any device.

A decoding process that need not resize has up to half of its time for decoding; what it hands over is larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scanner.core.preprocess import Preprocess
from scanner.images.geometry import WASTE, Placement, place

if TYPE_CHECKING:
    import torch

MOST_PIXELS = 1 << 20
"""Of an image that leaves its decoding process unresized: 3 MiB. A photograph of 12 megapixels would take longer through the
pipe than its resize takes."""
GROUP_PIXELS = 1 << 24
"""Of images of one size that are resized together, in fp32: 200 MB."""


def can_fit(height: int, width: int, preprocess: Preprocess) -> bool:
    """Whether an image is left to the device: not too large for the pipe, and no strip that would grow beyond reason."""
    at, (target_h, target_w) = place(height, width, preprocess), preprocess.size
    return height * width <= MOST_PIXELS and at.height * at.width <= WASTE * target_h * target_w


def fit_images(images: Sequence[torch.Tensor], preprocess: Preprocess) -> torch.Tensor:
    """Resize, crop and pad images (h, w, 3) uint8 of any sizes to (n, *preprocess.size, 3) uint8, where they lie.

    Within two levels of ``geometry.fit``, and equal in 19 of 20 values: the same filters, and rounded after each of the two
    passes as there; the weights there are fixed-point numbers, here fp32.
    """
    import torch

    target_h, target_w = preprocess.size
    same: dict[tuple[int, int], list[int]] = {}
    for row, image in enumerate(images):
        same.setdefault((image.shape[0], image.shape[1]), []).append(row)
    if list(same) == [(target_h, target_w)]:
        return torch.stack(list(images))
    fitted = torch.full((len(images), target_h, target_w, 3), preprocess.fill_color, dtype=torch.uint8, device=images[0].device)
    for (height, width), rows in same.items():
        at = place(height, width, preprocess)
        top, left = max(at.top, 0), max(at.left, 0)
        num_rows, num_columns = min(at.height - top, target_h), min(at.width - left, target_w)
        step = max(1, GROUP_PIXELS // (height * width))
        for first in range(0, len(rows), step):
            chosen = rows[first : first + step]
            resized = _resize(torch.stack([images[row] for row in chosen]), at)
            window = resized[:, top : top + num_rows, left : left + num_columns]
            # One by one: a list of rows as an index would be copied to the device, and waited for.
            for row, pixels in zip(chosen, window, strict=True):
                fitted[row, max(-at.top, 0) :, max(-at.left, 0) :][:num_rows, :num_columns] = pixels
    return fitted


def _resize(images: torch.Tensor, at: Placement) -> torch.Tensor:
    """(n, h, w, 3) uint8 to (n, at.height, at.width, 3), first along the rows, then along the columns, as Pillow does."""
    import torch
    from torch.nn import functional

    planes = images.permute(0, 3, 1, 2)
    for size in ((planes.shape[2], at.width), (at.height, at.width)):
        if planes.shape[2:] != size:
            planes = functional.interpolate(planes.to(torch.float32), size=size, mode=at.interpolation, antialias=True)
            # Overshoot of the first pass is cut off before the second, or edges would differ by many levels.
            planes = planes.round_().clamp_(0, 255)
    return planes.to(torch.uint8).permute(0, 2, 3, 1)
