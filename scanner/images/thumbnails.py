"""Small pictures to be shown. Files are as hostile as they were during the scan, so they go through the same bounded decoder."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import ImagesConfig
from scanner.core.preprocess import Preprocess
from scanner.images.geometry import place
from scanner.images.prepare import ImageLimits, ImagePreparer

T = TypeVar("T")

SIDE = 128
"""Pixels of the longer side."""
_QUALITY = 80
_FIT = Preprocess(size=(SIDE, SIDE), resize_mode="longest", fill_color=255)


@dataclass(frozen=True, kw_only=True, slots=True)
class Thumbnail:
    """A JPEG as a ``data:`` URI with its size in pixels, or the reason why there is none."""

    data_uri: str = ""
    width: int = 0
    height: int = 0
    reason: str = ""


def small_pictures(
    items: Iterable[tuple[T, bytes]], limits: ImagesConfig, *, workers: int
) -> Iterator[tuple[T, NDArray[np.uint8] | str]]:
    """Of each file its pixels (h, w, 3), the longer side ``SIDE`` or what the original has if that is less; or why there are
    none. In order."""
    with ImagePreparer(_FIT, ImageLimits.of(limits), workers=workers) as preparer:
        for item, facts, pixels in preparer.prepare(items):
            if pixels is None or facts.width is None or facts.height is None:
                yield item, facts.error_message or facts.status
            else:
                yield item, _without_padding(pixels, width=facts.width, height=facts.height)


def thumbnail_of(pixels: NDArray[np.uint8]) -> Thumbnail:
    """A JPEG of them."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Thumbnail(data_uri=uri, width=pixels.shape[1], height=pixels.shape[0])


def _without_padding(pixels: NDArray[np.uint8], *, width: int, height: int) -> NDArray[np.uint8]:
    """The picture alone; never larger than the original."""
    from PIL import Image

    at = place(height, width, _FIT)
    top, left = max(-at.top, 0), max(-at.left, 0)
    picture = pixels[top : top + at.height, left : left + at.width]
    if max(width, height) >= SIDE:
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))
