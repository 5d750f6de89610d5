"""What every scene is drawn with: named colours, gradients, soft noise, and text that fits its box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scanner.lab.lettering import text_mask, text_width

RGB = tuple[int, int, int]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

COLORS: dict[str, RGB] = {
    "black": (22, 22, 26), "white": (246, 246, 242), "grey": (128, 130, 134), "red": (204, 40, 44), "orange": (240, 130, 30),
    "yellow": (246, 208, 50), "olive": (122, 128, 40), "green": (46, 150, 70), "teal": (22, 138, 140), "blue": (40, 84, 190),
    "sky blue": (110, 180, 236), "navy": (22, 34, 90), "purple": (120, 58, 160), "pink": (240, 130, 170),
    "brown": (118, 74, 42), "beige": (226, 206, 170),
}  # fmt: skip

MIN_SIDE, MAX_SIDE = 96, 320
_ASPECTS = (1.0, 1.0, 4 / 3, 4 / 3, 3 / 4, 3 / 2, 2 / 3, 16 / 9, 9 / 16, 2.0, 0.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ink:
    """A colour as drawn (jittered) and as captions call it."""

    name: str
    rgb: RGB


def pick_size(rng: np.random.Generator) -> tuple[int, int]:
    """Width and height in pixels: sides of 96 to 320, aspects of 1:2 to 2:1."""
    aspect = _ASPECTS[rng.integers(len(_ASPECTS))]
    shorter = rng.uniform(MIN_SIDE, MAX_SIDE / max(aspect, 1 / aspect))
    width, height = (shorter * aspect, shorter) if aspect >= 1 else (shorter, shorter / aspect)
    return int(np.clip(round(width), MIN_SIDE, MAX_SIDE)), int(np.clip(round(height), MIN_SIDE, MAX_SIDE))


def pick_ink(rng: np.random.Generator, *, unlike: tuple[Ink, ...] = (), jitter: int = 22) -> Ink:
    """A named colour, none of ``unlike``, each channel moved by at most ``jitter`` levels."""
    names = [name for name in COLORS if all(name != other.name for other in unlike)]
    if unlike:
        # What is drawn must be seen: of the names left, those at least 110 levels (Euclidean) from the first, the ground.
        ground = np.array(unlike[0].rgb)
        names = [name for name in names if np.linalg.norm(np.array(COLORS[name]) - ground) > 110] or names
    name = names[rng.integers(len(names))]
    return Ink(name=name, rgb=shade(COLORS[name], rng.integers(-jitter, jitter + 1, 3)))


def shade(rgb: RGB, change: NDArray[np.integer] | int) -> RGB:
    """The colour with ``change`` levels added, clipped to 0..255."""
    red, green, blue = np.clip(np.array(rgb) + change, 0, 255).tolist()
    return int(red), int(green), int(blue)


def gradient(size: tuple[int, int], start: RGB, end: RGB, angle: float) -> Image.Image:
    """An RGB image that runs from ``start`` to ``end`` along ``angle`` (radians, 0 = to the right)."""
    width, height = size
    x, y = np.linspace(-1, 1, width, dtype=np.float32)[None], np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    along = np.cos(angle) * x + np.sin(angle) * y
    return blend(start, end, (along - along.min()) / np.ptp(along))


def blend(start: RGB, end: RGB, share: NDArray[np.floating]) -> Image.Image:
    """An RGB image of ``start`` where ``share`` (h, w) is 0, ``end`` where it is 1."""
    first, last = np.array(start, np.float32), np.array(end, np.float32)
    return Image.fromarray((first + share[..., None].astype(np.float32) * (last - first)).astype(np.uint8))


def soft_noise(rng: np.random.Generator, size: tuple[int, int], cells: int) -> NDArray[np.float32]:
    """Smooth noise (h, w) in [0, 1]: ``cells`` random values along the longer side, interpolated bicubically."""
    width, height = size
    grid = max(2, round(cells * width / max(size))), max(2, round(cells * height / max(size)))
    coarse = Image.fromarray(rng.random(grid[::-1], dtype=np.float32))
    fine = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
    return np.clip(fine, 0, 1)


def scaled(image: Image.Image, size: tuple[int, int], resampling: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """The image at another size, first its width and then its height: which of the two comes first depends on Pillow's version
    otherwise, and their rounding differs."""
    return image.resize((size[0], image.height), resampling).resize(size, resampling)


def with_grain(rng: np.random.Generator, image: Image.Image, levels: float) -> Image.Image:
    """The image with Gaussian luminance noise of ``levels`` standard deviation, as film and sensors add."""
    noise = rng.standard_normal((image.height, image.width, 1), dtype=np.float32) * np.float32(levels)
    return Image.fromarray(np.clip(np.asarray(image, dtype=np.float32) + noise, 0, 255).astype(np.uint8))


def draw_text(image: Image.Image, text: str, box: Box, fill: RGB) -> None:
    """Writes one line centred in ``box``, as large as fits, at least 8 pixels high. Changes the image."""
    left, top, right, bottom = box
    height = max(8, int(min((bottom - top) * 0.95, (right - left) / max(text_width(text), 1e-6))))
    mask = text_mask(text, height)
    image.paste(fill, (round((left + right - mask.width) / 2), round((top + bottom - height) / 2)), mask)
