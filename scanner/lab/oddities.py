"""Pictures unlike the rest, and pictures of nothing: outliers, blanks and the cards that stand for an image that is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from scanner.lab.canvas import blend, draw_text, pick_ink, pick_size
from scanner.lab.scenes import Scene, SceneFunction
from scanner.lab.words import ADJECTIVES, NOUNS, pick

PLACEHOLDER_TEXTS = ("IMAGE NOT AVAILABLE", "NO PHOTO", "COMING SOON", "PICTURE REMOVED", "404")


def draw_maze(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """A code of square modules, as tickets carry."""
    ground = pick_ink(rng)
    ink = pick_ink(rng, unlike=(ground,))
    cells = int(rng.integers(14, 34))
    modules = rng.random((cells, cells)) < 0.5
    image = blend(ground.rgb, ink.rgb, modules.astype(np.float32)).resize(size, Image.Resampling.NEAREST)
    return Scene(image=image, subject=f"square code of {cells} by {cells} modules, {ink.name} on {ground.name}")


def draw_julia(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """A quadratic Julia set in bands."""
    width, height = size
    c = 0.7885 * np.exp(1j * rng.uniform(0, 2 * np.pi))
    zoom, turn = rng.uniform(0.9, 1.6), np.exp(1j * rng.uniform(0, 2 * np.pi))
    y, x = np.mgrid[0:height, 0:width] / min(size) * 3 / zoom
    z = ((x - x.mean()) + 1j * (y - y.mean())) * turn
    steps = np.zeros(z.shape, np.float32)
    for step in range(28):
        inside = np.abs(z) < 4
        z = np.where(inside, z * z + c, z)
        steps[inside] = step
    ground = pick_ink(rng)
    ink = pick_ink(rng, unlike=(ground,))
    image = blend(ground.rgb, ink.rgb, 0.5 + 0.5 * np.sin(steps * rng.uniform(0.5, 1.2)))
    return Scene(image=image, subject=f"fractal {pick(rng, ADJECTIVES)} swirl in {ink.name} and {ground.name}")


def draw_moire(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """Two families of rings over one another."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width] / max(size)
    centres, waves = rng.uniform(-0.2, 1.2, (2, 2)), rng.uniform(14, 34, 2)
    rings = [np.sin(2 * np.pi * w * np.hypot(x - cx, y - cy)) > 0 for (cx, cy), w in zip(centres, waves, strict=True)]
    ground = pick_ink(rng)
    ink = pick_ink(rng, unlike=(ground,))
    image = blend(ground.rgb, ink.rgb, (rings[0] ^ rings[1]).astype(np.float32))
    return Scene(image=image, subject=f"moire of rings, {ink.name} and {ground.name}")


OUTLIERS: dict[str, SceneFunction] = {"maze": draw_maze, "julia": draw_julia, "moire": draw_moire}


def draw_outlier(rng: np.random.Generator) -> Scene:
    """A picture of a kind that nothing else in a planted set is of."""
    kinds = list(OUTLIERS)
    kind = kinds[rng.integers(len(kinds))]
    return replace(OUTLIERS[kind](rng, pick_size(rng)), kind=kind)


def draw_blank(rng: np.random.Generator) -> Image.Image:
    """White, grey or black with noise of one level."""
    size = [int(side) for side in rng.integers(100, 301, 2)]
    tone = (252, 238, 204, 128, 3)[rng.integers(5)]
    noise = rng.integers(-1, 2, (size[1], size[0], 1))
    return Image.fromarray(np.repeat(tone + noise, 3, axis=2).astype(np.uint8))


def draw_placeholder(rng: np.random.Generator) -> Scene:
    """The card that a shop shows where it has no picture: an empty frame and a line of text."""
    width, height = size = pick_size(rng)
    tone = int(rng.integers(215, 250))
    grey = int(rng.integers(120, 175))
    image = Image.new("RGB", size, (tone, tone, tone))
    draw = ImageDraw.Draw(image)
    side = min(size) * rng.uniform(0.3, 0.5)
    left, top = (width - side) / 2, height * 0.42 - side / 2
    ink = (grey, grey, grey)
    draw.rectangle((left, top, left + side, top + side * 0.8), outline=ink, width=max(2, int(side / 14)))
    draw.polygon([(left + side * x, top + side * y) for x, y in ((0.12, 0.68), (0.4, 0.28), (0.6, 0.68))], fill=ink)
    draw.ellipse((left + side * 0.62, top + side * 0.16, left + side * 0.8, top + side * 0.34), fill=ink)
    text = pick(rng, PLACEHOLDER_TEXTS)
    draw_text(image, text, (width * 0.06, height * 0.72, width * 0.94, height * 0.9), ink)
    return Scene(image=image, subject=f"{pick(rng, NOUNS)} {int(rng.integers(100, 1000))}")
