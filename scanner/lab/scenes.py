"""Procedural pictures with captions that describe them, of the kinds that scraped sets hold. Drawn, not downloaded.

Each scene is a pure function of (rng, size) in ``SCENES``: a new kind is one more function there. Different draws must differ
at a glance, so every scene varies its ground, its colours and the places of its parts, not only its details.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from scanner.lab.canvas import RGB, Box, Ink, blend, draw_text, gradient, pick_ink, pick_size, shade, soft_noise, with_grain
from scanner.lab.words import ADJECTIVES, NOUNS, NUMBERS, invented_name, pick


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scene:
    """A picture (RGB), a noun phrase that says what it shows, and its kind, where one of ``SCENES`` was drawn at random."""

    image: Image.Image
    subject: str
    kind: str = ""


SceneFunction = Callable[[np.random.Generator, tuple[int, int]], Scene]


def draw_scene(rng: np.random.Generator) -> Scene:
    """A scene of a random kind and size; 96 to 320 pixels a side."""
    kinds = list(SCENES)
    kind = kinds[rng.integers(len(kinds))]
    return replace(SCENES[kind](rng, pick_size(rng)), kind=kind)


def draw_shapes(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """Three to eight figures over a gradient."""
    ground, other = _two_inks(rng)
    image = gradient(size, ground.rgb, shade(other.rgb, -10), rng.uniform(0, 2 * np.pi))
    draw = ImageDraw.Draw(image)
    told = []
    for _ in range(int(rng.integers(3, 9))):
        ink = pick_ink(rng, unlike=(ground,))
        name = _figure(rng, draw, ink.rgb, _random_box(rng, size, 0.15, 0.55))
        told.append(f"{ink.name} {name}")
    return Scene(image=image, subject=f"{told[-1]}, {told[-2]} and {NUMBERS[len(told) - 2]} more shapes on {ground.name}")


def draw_logo(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """A mark and an invented name on a flat or shaded ground."""
    width, height = size
    ground = pick_ink(rng)
    mark, word = pick_ink(rng, unlike=(ground,)), pick_ink(rng, unlike=(ground,))
    image = gradient(size, ground.rgb, shade(ground.rgb, int(rng.integers(-50, 20))), rng.uniform(0, 2 * np.pi))
    draw = ImageDraw.Draw(image)
    side = min(size) * rng.uniform(0.4, 0.75)
    is_wide = width > 1.3 * height
    x = width * rng.uniform(0.04, 0.16) if is_wide else rng.uniform(0.02 * width, max(0.03 * width, width - side - 4))
    y = (height - side) * rng.uniform(0.2, 0.6) if is_wide else height * rng.uniform(0.03, 0.1)
    shape = _figure(rng, draw, mark.rgb, (x, y, x + side, y + side))
    inner = side * rng.uniform(0.15, 0.3)
    _figure(rng, draw, pick_ink(rng, unlike=(mark,)).rgb, (x + inner, y + inner, x + side - inner, y + side - inner))
    name = invented_name(rng)
    beside, below = (x + side, height * 0.25, width * 0.98, height * 0.75), (width * 0.05, y + side, width * 0.95, height * 0.98)
    box = beside if is_wide else below
    draw_text(image, name, box, word.rgb)
    return Scene(image=image, subject=f"{name} logo, {mark.name} {shape} on {ground.name}")


def draw_poster(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """Bands of colour, a title in large letters and small print."""
    width, height = size
    ground, band = _two_inks(rng)
    image = gradient(size, ground.rgb, shade(ground.rgb, -60), rng.uniform(0, 2 * np.pi))
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.5:
        top = rng.uniform(0, 0.7) * height
        draw.rectangle((0, top, width, top + rng.uniform(0.15, 0.5) * height), fill=band.rgb)
    else:
        left = rng.uniform(0, 0.7) * width
        draw.rectangle((left, 0, left + rng.uniform(0.15, 0.5) * width, height), fill=band.rgb)
    for _ in range(int(rng.integers(1, 4))):
        _figure(rng, draw, pick_ink(rng, unlike=(ground, band)).rgb, _random_box(rng, size, 0.2, 0.6))
    words = [pick(rng, ADJECTIVES).upper(), pick(rng, NOUNS).upper()]
    ink = pick_ink(rng, unlike=(band, ground))
    line = height * rng.uniform(0.15, 0.25)
    top = rng.uniform(0.02 * height, height - 2.4 * line)
    for row, word in enumerate(words):
        draw_text(image, word, (width * 0.05, top + row * line, width * 0.95, top + (row + 1) * line), ink.rgb)
    date = f"{int(rng.integers(1, 29))} {pick(rng, ('MAY', 'JUNE', 'JULY', 'AUGUST'))} {int(rng.integers(1950, 2024))}"
    draw_text(image, date, (width * 0.2, top + 2 * line, width * 0.8, top + 2.4 * line), ink.rgb)
    return Scene(image=image, subject=f'{ground.name} poster with the words "{" ".join(words)}" in {ink.name}, {date.title()}')


def draw_chart(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """A bar, line, pie or scatter chart of random values on light or dark paper."""
    width, height = size
    paper = pick_ink(rng)
    ink = pick_ink(rng, unlike=(paper,))
    image = gradient(size, paper.rgb, shade(paper.rgb, int(rng.integers(-40, 40))), rng.uniform(0, 2 * np.pi))
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = width * 0.1, height * 0.16, width * 0.95, height * 0.9
    title = f"{pick(rng, NOUNS)} per {pick(rng, ('year', 'region', 'month', 'person'))}"
    kind = ("bar", "line", "pie", "scatter")[rng.integers(4)]
    axis = shade(ink.rgb, -20)
    if kind != "pie":
        draw.line([(left, top), (left, bottom), (right, bottom)], fill=axis, width=2)
    n = int(rng.integers(3, 12))
    values = rng.uniform(0.08, 1.0, n)
    if kind == "bar":
        step = (right - left) / n
        for i, value in enumerate(values):
            x = left + (i + 0.15) * step
            draw.rectangle((x, bottom - value * (bottom - top), x + 0.7 * step, bottom), fill=ink.rgb)
    elif kind == "line":
        points = [(left + i * (right - left) / (n - 1), bottom - v * (bottom - top)) for i, v in enumerate(values)]
        draw.polygon([*points, (right, bottom), (left, bottom)], fill=pick_ink(rng, unlike=(paper, ink)).rgb)
        draw.line(points, fill=ink.rgb, width=max(2, min(size) // 40))
    elif kind == "pie":
        radius = min(right - left, bottom - top) / 2
        x, y = rng.uniform(left + radius, max(right - radius, left + radius + 1)), (top + bottom) / 2
        edges = np.concatenate([[0.0], np.cumsum(values / values.sum())]) * 360 + rng.uniform(0, 360)
        for start, stop in pairwise(edges.tolist()):
            draw.pieslice((x - radius, y - radius, x + radius, y + radius), start, stop, fill=pick_ink(rng, unlike=(paper,)).rgb)
    else:
        around = rng.uniform(0.2, 0.8, (int(rng.integers(2, 5)), 2))
        for x, y in (around[rng.integers(len(around), size=40)] + rng.normal(0, 0.09, (40, 2))).clip(0.02, 0.98):
            r = min(size) / 35
            x, y = left + x * (right - left), top + y * (bottom - top)
            draw.ellipse((x - r, y - r, x + r, y + r), fill=ink.rgb)
    draw_text(image, title, (width * 0.1, 2, width * 0.9, top - 2), axis)
    return Scene(image=image, subject=f"{kind} chart of {title}, {n} values, {ink.name} on {paper.name}")


def draw_landscape(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """A sky with clouds over one to three ridges: the colour fields of photographs."""
    width, height = size
    sky, low = _two_inks(rng)
    horizon = rng.uniform(0.2, 0.85)
    clouds = soft_noise(rng, size, int(rng.integers(3, 9)))
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    pixels = np.asarray(blend(sky.rgb, shade(low.rgb, 40), np.clip(rows / horizon * 0.6 + clouds * 0.6 - 0.1, 0, 1))).copy()
    columns = np.arange(width)
    ridges = int(rng.integers(1, 4))
    land = pick_ink(rng, unlike=(sky,))
    for ridge in range(ridges):
        knots = rng.uniform(-0.16, 0.16, int(rng.integers(4, 9)))
        profile = np.interp(columns / width * (len(knots) - 1), np.arange(len(knots)), knots)
        line = (horizon + (1 - horizon) * ridge / ridges + profile) * height
        color = shade(land.rgb, -35 * ridge)
        pixels[np.arange(height)[:, None] > line[None]] = color
    image = Image.fromarray(pixels)
    thing = ""
    if rng.random() < 0.6:
        disc = pick_ink(rng, unlike=(sky,))
        r, x, y = min(size) * rng.uniform(0.05, 0.16), rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.8) * horizon * height
        ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill=disc.rgb)
        thing = f" and {disc.name} sun"
    image = with_grain(rng, image, rng.uniform(2, 9))
    return Scene(image=image, subject=f"{pick(rng, ADJECTIVES)} {land.name} hills under {sky.name} sky{thing}")


def draw_blur(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """Colour fields without outlines, as of a photograph out of focus."""
    inks = [*_two_inks(rng), pick_ink(rng)]
    first = blend(inks[0].rgb, inks[1].rgb, soft_noise(rng, size, int(rng.integers(2, 7))))
    share = soft_noise(rng, size, int(rng.integers(2, 12)))[..., None]
    mixed = np.asarray(first, np.float32) * (1 - share) + np.array(inks[2].rgb, np.float32) * share
    image = with_grain(rng, Image.fromarray(mixed.astype(np.uint8)), rng.uniform(4, 16))
    subject = f"{pick(rng, ADJECTIVES)} {pick(rng, NOUNS)} out of focus in {inks[0].name}, {inks[1].name} and {inks[2].name}"
    return Scene(image=image, subject=subject)


def draw_portrait(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """Head and shoulders before a soft ground. Nobody's."""
    width, height = size
    ground, second = _two_inks(rng)
    image = blend(ground.rgb, second.rgb, soft_noise(rng, size, int(rng.integers(2, 5))))
    draw = ImageDraw.Draw(image)
    skin: RGB = shade((225, 172, 138), int(rng.integers(-120, 20)))
    hair, coat = pick_ink(rng, unlike=(ground,)), pick_ink(rng, unlike=(ground,))
    x, y = width * rng.uniform(0.28, 0.72), height * rng.uniform(0.3, 0.55)
    r = min(size) * rng.uniform(0.14, 0.27)
    draw.ellipse((x - 2.6 * r, y + 1.1 * r, x + 2.6 * r, y + 6 * r), fill=coat.rgb)
    draw.rectangle((x - 0.4 * r, y + 0.5 * r, x + 0.4 * r, y + 1.6 * r), fill=shade(skin, -25))
    long = rng.uniform(0.2, 1.6)
    draw.ellipse((x - 1.15 * r, y - 1.45 * r, x + 1.15 * r, y + long * r), fill=hair.rgb)
    draw.ellipse((x - 0.85 * r, y - 1.05 * r, x + 0.85 * r, y + 1.2 * r), fill=skin)
    look = rng.uniform(-0.2, 0.2) * r
    for side in (-0.35, 0.35):
        eye = x + side * r + look
        draw.ellipse((eye - 0.1 * r, y - 0.15 * r, eye + 0.1 * r, y + 0.05 * r), fill=(30, 26, 30))
    draw.arc((x - 0.35 * r + look, y + 0.3 * r, x + 0.35 * r + look, y + 0.8 * r), 20, 160, fill=(150, 50, 60), width=2)
    has_hat = rng.random() < 0.35
    if has_hat:
        draw.rectangle((x - 1.3 * r, y - 1.0 * r, x + 1.3 * r, y - 0.8 * r), fill=coat.rgb)
        draw.rectangle((x - 0.8 * r, y - 1.9 * r, x + 0.8 * r, y - 0.8 * r), fill=coat.rgb)
    image = with_grain(rng, image.filter(ImageFilter.GaussianBlur(0.6)), rng.uniform(2, 7))
    wearing = f"{coat.name} coat" + (" and hat" if has_hat else "")
    return Scene(image=image, subject=f"portrait of a person with {hair.name} hair in {wearing} before {ground.name}")


def draw_textile(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """Stripes, checks or dots, lit from one side and folded."""
    width, height = size
    ground, second = _two_inks(rng)
    angle, waves = rng.uniform(0, np.pi), rng.uniform(1.5, 6)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(size)
    along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    along = along + 0.12 * soft_noise(rng, size, 4)
    phase = rng.uniform(0, 2 * np.pi, 2)
    first, other = np.sin(2 * np.pi * waves * along + phase[0]), np.sin(2 * np.pi * waves * across + phase[1])
    kind = ("striped", "checked", "dotted")[rng.integers(3)]
    mask = {"striped": first > 0, "checked": (first > 0) ^ (other > 0), "dotted": first + other > 1}[kind]
    pixels = np.asarray(blend(ground.rgb, second.rgb, mask.astype(np.float32)), np.float32)
    light = 0.55 + 0.6 * soft_noise(rng, size, int(rng.integers(2, 6)))
    image = Image.fromarray(np.clip(pixels * light[..., None], 0, 255).astype(np.uint8))
    cloth = pick(rng, ("cotton", "silk", "wool", "linen"))
    return Scene(image=image, subject=f"{kind} {cloth} fabric, {ground.name} and {second.name}")


def draw_collage(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """A page of coloured panels with a word in one: packaging, tickets, screens."""
    width, height = size
    paper = pick_ink(rng)
    image = Image.new("RGB", size, paper.rgb)
    draw = ImageDraw.Draw(image)
    columns, rows = sorted(rng.uniform(0.15, 0.85, 2) * width), sorted(rng.uniform(0.15, 0.85, 2) * height)
    xs, ys = [0.0, *columns, float(width)], [0.0, *rows, float(height)]
    inks: list[Ink] = []
    for i in range(3):
        for j in range(3):
            inks.append(pick_ink(rng))
            if xs[i + 1] - xs[i] > 4 and ys[j + 1] - ys[j] > 4:
                draw.rectangle((xs[i] + 1, ys[j] + 1, xs[i + 1] - 2, ys[j + 1] - 2), fill=inks[-1].rgb)
    word = f"{pick(rng, NOUNS)} {int(rng.integers(10, 1000))}"
    box = (width * 0.1, height * 0.4, width * 0.9, height * 0.6)
    draw.rectangle(box, fill=paper.rgb)
    draw_text(image, word, box, pick_ink(rng, unlike=(paper,)).rgb)
    panels = f"{inks[0].name}, {inks[4].name} and {inks[8].name}"
    return Scene(image=image, subject=f'{paper.name} label "{word}" on panels of {panels}')


def draw_leaves(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """Discs of every scale that hide one another, mottled: the statistics of foliage, gravel and crowds (Lee et al. 2001)."""
    ground, second = _two_inks(rng)
    inks = [ground, second, pick_ink(rng), pick_ink(rng)]
    image = blend(ground.rgb, second.rgb, soft_noise(rng, size, 6))
    draw = ImageDraw.Draw(image)
    number = int(rng.integers(60, 160))
    # Radii fall as the inverse cube, which makes the image alike at every scale.
    radii = 0.03 * max(size) / np.sqrt(rng.uniform(0.008, 1, number))
    for radius, x, y in zip(
        radii.tolist(), (rng.random(number) * size[0]).tolist(), (rng.random(number) * size[1]).tolist(), strict=True
    ):
        ink = inks[int(rng.choice(4, p=(0.4, 0.3, 0.2, 0.1)))]
        flat = radius * rng.uniform(0.5, 1)
        draw.ellipse((x - radius, y - flat, x + radius, y + flat), fill=shade(ink.rgb, int(rng.integers(-45, 46))))
    light = 0.6 + 0.6 * soft_noise(rng, size, int(rng.integers(3, 12)))
    lit = Image.fromarray(np.clip(np.asarray(image, np.float32) * light[..., None], 0, 255).astype(np.uint8))
    what = pick(rng, ("pebbles", "leaves", "petals", "buttons", "shells"))
    return Scene(
        image=with_grain(rng, lit, rng.uniform(2, 10)),
        subject=f"{pick(rng, ADJECTIVES)} {what} in {ground.name} and {second.name}",
    )


SCENES: dict[str, SceneFunction] = {
    "shapes": draw_shapes,
    "logo": draw_logo,
    "poster": draw_poster,
    "chart": draw_chart,
    "landscape": draw_landscape,
    "blur": draw_blur,
    "portrait": draw_portrait,
    "textile": draw_textile,
    "collage": draw_collage,
    "leaves": draw_leaves,
}


def _two_inks(rng: np.random.Generator) -> tuple[Ink, Ink]:
    first = pick_ink(rng)
    return first, pick_ink(rng, unlike=(first,))


def _random_box(rng: np.random.Generator, size: tuple[int, int], least: float, most: float) -> Box:
    """A box inside the image, each side ``least`` to ``most`` of the image's."""
    width, height = rng.uniform(least, most, 2) * size
    left, top = rng.uniform(0, size[0] - width), rng.uniform(0, size[1] - height)
    return left, top, left + width, top + height


def _figure(rng: np.random.Generator, draw: ImageDraw.ImageDraw, fill: RGB, box: Box) -> str:
    """Draws one figure into ``box`` and says which."""
    left, top, right, bottom = box
    kind = ("circle", "square", "ring", "star", "polygon", "cross")[rng.integers(6)]
    if kind == "circle":
        draw.ellipse(box, fill=fill)
    elif kind == "square":
        draw.rectangle(box, fill=fill)
    elif kind == "ring":
        draw.ellipse(box, outline=fill, width=max(3, int(min(right - left, bottom - top) * rng.uniform(0.12, 0.3))))
    elif kind == "cross":
        x, y, arm = (left + right) / 2, (top + bottom) / 2, min(right - left, bottom - top) * rng.uniform(0.1, 0.2)
        draw.rectangle((left, y - arm, right, y + arm), fill=fill)
        draw.rectangle((x - arm, top, x + arm, bottom), fill=fill)
    else:
        points = int(rng.integers(3, 8))
        radii = np.tile([1.0, rng.uniform(0.35, 0.6)], points) if kind == "star" else np.ones(points)
        angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False) + rng.uniform(0, 2 * np.pi)
        x, y = (left + right) / 2, (top + bottom) / 2
        xs, ys = x + radii * np.cos(angles) * (right - left) / 2, y + radii * np.sin(angles) * (bottom - top) / 2
        draw.polygon(list(zip(xs.tolist(), ys.tolist(), strict=True)), fill=fill)
        return f"{points}-pointed star" if kind == "star" else f"{points}-sided polygon"
    return kind
