"""The file and the caption of every planned row: drawn from (seed, picture), copies from (seed, picture, copy)."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from scanner.lab.canvas import scaled
from scanner.lab.copies import ALTERATIONS, mirror
from scanner.lab.oddities import draw_blank, draw_outlier, draw_placeholder
from scanner.lab.plan import PlannedImage
from scanner.lab.scenes import Scene, draw_scene
from scanner.lab.words import ADJECTIVES, ARTICLES, NOUNS, invented_name, pick, varied_captions

JPEG_QUALITY = 92
TEMPLATE_AREA = (0.18, 0.42)
"""Share of the picture that varies within a family."""

# Streams of random numbers that must not run in step: each is seeded by (seed, stream, ids).
_SOURCE, _ALTER, _CAPTIONS, _HOST, _TEMPLATE, _HELD_OUT = range(1, 7)


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A source file, what it shows, and the kind of scene."""

    file: bytes
    subject: str
    scene: str


@lru_cache(maxsize=1024)
def source(seed: int, planted_id: int, kind: str, family: int) -> Picture:
    """The picture before any alteration."""
    rng = np.random.default_rng([seed, _SOURCE, planted_id])
    if kind == "blank":
        return Picture(file=jpeg(draw_blank(rng)), subject=f"{pick(rng, NOUNS)} {int(rng.integers(100, 1000))}", scene="blank")
    if kind == "placeholder":
        card = draw_placeholder(rng)
        return Picture(file=jpeg(card.image), subject=card.subject, scene="placeholder")
    if kind == "outlier":
        scene = draw_outlier(rng)
    elif kind == "template":
        scene = _template_member(seed, family, rng)
    else:
        scene = draw_scene(rng)
    return Picture(file=jpeg(scene.image), subject=_titled(rng, scene.subject), scene=scene.kind)


def image_file(row: PlannedImage, seed: int) -> bytes:
    """The bytes of the row's JPEG."""
    picture = _source_of(row, seed)
    if row.kind == "broken":
        return picture.file[: len(picture.file) * 2 // 5]
    alteration = ALTERATIONS.get(row.kind)
    if row.kind == "placeholder" and row.copy % 2:
        alteration = ALTERATIONS["resize"]  # shops scale the same card to their pages
    if alteration is None and row.kind != "mirror":
        return picture.file
    rng = np.random.default_rng([seed, _ALTER, row.planted_id, row.copy])
    with Image.open(io.BytesIO(picture.file)) as image:
        decoded = image.convert("RGB")
    return jpeg(mirror(decoded) if alteration is None else alteration(decoded, rng))


def caption(row: PlannedImage, seed: int) -> str:
    """The row's caption; for a mirrored copy that of the source."""
    subject = _source_of(row, seed).subject
    if row.regime == "trap":
        return f"limited edition print, series {row.family + 1}"
    if row.kind == "placeholder":
        # What the missing picture would have shown.
        rng = np.random.default_rng([seed, _CAPTIONS, row.planted_id, row.copy])
        return f"{pick(rng, ADJECTIVES)} {pick(rng, NOUNS)}, item {int(rng.integers(100, 100_000))}"
    if row.regime == "varied" and row.kind != "mirror":
        rng = np.random.default_rng([seed, _CAPTIONS, row.planted_id])
        return varied_captions(rng, subject, row.k)[row.copy]
    return subject


def scene_of(row: PlannedImage, seed: int) -> str:
    """The kind of scene that the row shows."""
    return _source_of(row, seed).scene


def url(row: PlannedImage, seed: int) -> str:
    """An address on one of 40 hosts that do not exist."""
    host = int(np.random.default_rng([seed, _HOST, row.planted_id, row.copy]).integers(40))
    return f"https://images-{host}.example/{row.planted_id}/{row.copy}.jpg"


def held_out_caption(seed: int, planted_id: int, like: str = "") -> str:
    """The caption of a picture that was never planted; where ``like`` is given, that caption's first half goes before it."""
    rng = np.random.default_rng([seed, _HELD_OUT, planted_id])
    subject = _titled(rng, draw_scene(rng).subject)
    if not like:
        return subject
    words, own = like.split(), subject.split()
    return " ".join(words[: max(2, len(words) // 2)] + own[len(own) // 2 :])


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _source_of(row: PlannedImage, seed: int) -> Picture:
    own = row.kind if row.kind in ("blank", "placeholder", "outlier", "template") else "scene"
    return source(seed, row.planted_id, own, row.family if own == "template" else -1)


def _titled(rng: np.random.Generator, subject: str) -> str:
    """Half of the captions carry a name, as captions of works and goods do."""
    return f"{invented_name(rng)} {pick(rng, NOUNS)}: {subject}" if rng.random() < 0.5 else subject


@lru_cache(maxsize=64)
def _template(seed: int, family: int) -> tuple[Image.Image, tuple[int, int, int, int], str]:
    """The layout of a family, the box that varies, and its words."""
    rng = np.random.default_rng([seed, _TEMPLATE, family])
    base = draw_scene(rng).image
    share = np.sqrt(rng.uniform(*TEMPLATE_AREA) * np.exp(np.array([1, -1]) * rng.uniform(-0.35, 0.35)))
    width, height = (np.minimum(share, 0.92) * base.size).round().astype(int).tolist()
    left, top = int(rng.integers(0, base.width - width + 1)), int(rng.integers(0, base.height - height + 1))
    return base, (left, top, left + width, top + height), f"{invented_name(rng)} {pick(rng, ARTICLES)}"


def _template_member(seed: int, family: int, rng: np.random.Generator) -> Scene:
    """The family's layout with a picture of its own in the box, as a shop prints many motifs on one article."""
    base, box, article = _template(seed, family)
    motif = draw_scene(rng)
    image = base.copy()
    image.paste(scaled(motif.image, (box[2] - box[0], box[3] - box[1])), box)
    return Scene(image=image, subject=f"{article} with {motif.subject}", kind="template")
