"""How a copy comes to differ from its source: alterations as pure functions of (image, rng), with their bounds.

``ALTERATIONS`` is the registry: a new kind of near copy is one more function there, and planted sets and scores take it up.
Each keeps the picture recognisable as the same one (a near duplicate in the words of the docs), so the bounds are tight.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from scanner.lab.canvas import scaled
from scanner.lab.lettering import text_mask, text_width

Alteration = Callable[[Image.Image, np.random.Generator], Image.Image]

JPEG_QUALITY = (40, 85)
RESIZE_FACTOR = (0.75, 1.5)
CROP_SHARE = 0.10
"""Of each side's length, at most; taken from both edges in a random ratio."""
BORDER_SHARE = (0.02, 0.08)
"""Width of a frame, of the shorter side."""
WATERMARK_AREA = 0.08
BRIGHTNESS_SHARE = 0.08


def reencode(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Through JPEG once more, at quality 40 to 85."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1)))
    with Image.open(buffer) as again:
        return again.convert("RGB")


def resize(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """To 75-150 % of its sides, at least 10 % away from its size; the filter varies as it does among sites."""
    low, high = RESIZE_FACTOR
    factor = rng.uniform(low, 0.9) if rng.random() < 0.5 else rng.uniform(1.1, high)
    filters = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
    width, height = (max(1, round(side * factor)) for side in image.size)
    return scaled(image, (width, height), filters[rng.integers(len(filters))])


def crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Edges cut off: 2-10 % of the width and of the height."""
    width, height = image.size
    cut_x, cut_y = rng.uniform(0.02, CROP_SHARE, 2) * (width, height)
    left, top = rng.uniform(0, cut_x), rng.uniform(0, cut_y)
    # Rounded inwards: what is cut off never exceeds the share.
    box = (int(left), int(top), min(width, int(np.ceil(left + width - cut_x))), min(height, int(np.ceil(top + height - cut_y))))
    return image.crop(box)


def watermark(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A translucent plate with a name, 4-8 % of the area, anywhere."""
    width, height = image.size
    area, aspect = rng.uniform(0.04, WATERMARK_AREA) * width * height, rng.uniform(2, 4)
    plate_width = min(int(np.sqrt(area * aspect)), width)
    plate_height = max(1, min(int(area / plate_width), height))
    left, top = int(rng.integers(0, width - plate_width + 1)), int(rng.integers(0, height - plate_height + 1))
    tone = 255 if rng.random() < 0.7 else 0
    plate = Image.new("RGBA", (plate_width, plate_height), (tone, tone, tone, int(rng.integers(30, 80))))
    text = ("PREVIEW", "© archive", "SAMPLE", "stock")[rng.integers(4)]
    size = max(8, min(int(plate_height * 0.8), int(0.9 * plate_width / text_width(text))))
    mask = text_mask(text, size)
    letters = Image.new("RGBA", plate.size, (255 - tone, 255 - tone, 255 - tone, 0))
    opacity = int(rng.integers(60, 140)) / 255
    place = (round((plate_width - mask.width) / 2), round((plate_height - size) / 2))
    letters.paste((255 - tone, 255 - tone, 255 - tone, 255), place, mask)
    letters.putalpha(letters.getchannel("A").point([round(level * opacity) for level in range(256)]))
    plate.alpha_composite(letters)
    marked = image.copy()
    marked.paste(plate, (left, top), plate)
    return marked


def brightness(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """All levels multiplied by 0.92-0.97 or 1.03-1.08."""
    change = rng.uniform(0.03, BRIGHTNESS_SHARE) * (1 if rng.random() < 0.5 else -1)
    levels = np.clip(np.arange(256) * (1 + change), 0, 255).round().astype(int).tolist()
    return image.point(levels * 3)


def border(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A frame of one colour around the picture, 2-8 % of the shorter side wide; white, black or any."""
    width = max(1, round(rng.uniform(*BORDER_SHARE) * min(image.size)))
    colors = ((255, 255, 255), (0, 0, 0), tuple(rng.integers(0, 256, 3).tolist()))
    color = colors[int(rng.choice(3, p=(0.4, 0.3, 0.3)))]
    return ImageOps.expand(image, border=width, fill=color)


def mirror(image: Image.Image) -> Image.Image:
    """Left and right exchanged. A kind of its own: most embeddings do not see through it, and not every policy counts it."""
    return ImageOps.mirror(image)


ALTERATIONS: dict[str, Alteration] = {
    "reencode": reencode,
    "resize": resize,
    "crop": crop,
    "watermark": watermark,
    "brightness": brightness,
    "border": border,
}
