"""Pairs of pictures whose relation is known, to choose and to check the thresholds of verification by.

Each pair is two files as a scan might find them: both altered, unlike one another. What is not the same picture is made as hard
as a planted set has it: the nearest other picture of hundreds, or another member of the same template family.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scanner.images.align import LOOK, SIDE, align, shrink
from scanner.images.geometry import fit
from scanner.lab import pictures
from scanner.lab.copies import ALTERATIONS, mirror

TUNING_SEED = 5101
"""Of the pairs that the thresholds of verification and the coefficients of its confidence come from, and of no test."""
RELATIONS = ("same", "mirror", "template", "other")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pairs:
    """n pairs.

    Attributes:
        a, b: (n, SIDE, SIDE, 3) uint8, as ``images.align`` takes them.
        relation: (n,) one of ``RELATIONS``: one picture, one of them mirrored, two of a template family, or unlike.
        alterations: (n, 2) names of what was done to each, ``exact`` where nothing was.
        scene: (n,) what ``a`` shows.
    """

    a: NDArray[np.uint8]
    b: NDArray[np.uint8]
    relation: NDArray[np.str_]
    alterations: NDArray[np.str_]
    scene: NDArray[np.str_]


def planted_pairs(seed: int, num_pictures: int) -> Pairs:
    """Of each picture two pairs and an unlike one, of every second a template pair besides, of every eighth a mirrored one."""
    rng = np.random.default_rng([seed, 17])
    kinds = ("exact", *ALTERATIONS)
    rows: list[tuple[NDArray[np.uint8], NDArray[np.uint8], str, str, str, str]] = []

    def altered(file: bytes, kind: str) -> NDArray[np.uint8]:
        with Image.open(io.BytesIO(file)) as image:
            decoded = image.convert("RGB")
        if kind == "exact":
            return _look(decoded)
        changed = mirror(decoded) if kind == "mirror" else ALTERATIONS[kind](decoded, rng)
        with Image.open(io.BytesIO(pictures.jpeg(changed))) as again:
            return _look(again.convert("RGB"))

    def kind() -> str:
        return kinds[int(rng.integers(len(kinds)))]

    def add(first: pictures.Picture, second: pictures.Picture, relation: str, own: str, other: str) -> None:
        rows.append((altered(first.file, own), altered(second.file, other), relation, own, other, first.scene))

    sources = [pictures.source(seed, i, "scene", -1) for i in range(num_pictures)]
    plain = np.stack([altered(source.file, "exact") for source in sources])
    nearest = _nearest(plain)
    for i, source in enumerate(sources):
        for other in ("exact", kind()):
            add(source, source, "same", kind(), other)
        add(source, sources[nearest[i]], "other", kind(), kind())
        if i % 2 == 0:
            family = i // 6
            first, second = (pictures.source(seed, num_pictures + 2 * i + j, "template", family) for j in (0, 1))
            add(first, second, "template", kind(), kind())
        if i % 8 == 0:
            add(source, source, "mirror", "mirror", kind())
    return Pairs(
        a=np.stack([row[0] for row in rows]),
        b=np.stack([row[1] for row in rows]),
        relation=np.array([row[2] for row in rows]),
        alterations=np.array([row[3:5] for row in rows]),
        scene=np.array([row[5] for row in rows]),
    )


def fit_confidence(seed: int = TUNING_SEED, num_pictures: int = 600) -> tuple[float, float]:
    """Slope and middle of P(same picture | distance) = 1 / (1 + exp(slope * (ln distance - ln middle))), by maximum likelihood.

    Of pairs of one picture, mirrored or not, and of two, each class weighing as much. Pairs of a template are left out: they are
    told by where they differ, not by how much.
    """
    pairs = planted_pairs(seed, num_pictures)
    counted = pairs.relation != "template"
    found = align(pairs.a[counted], pairs.b[counted])
    return fit_logistic(found.distance, pairs.relation[counted] != "other")


def fit_logistic(distance: NDArray[np.float32], is_same: NDArray[np.bool_], *, ridge: float = 0.01) -> tuple[float, float]:
    """Slope and middle as ``fit_confidence`` gives them, by Newton's method; ``ridge`` keeps the slope finite where classes part.

    Each class weighs as much as the other.
    """
    x = np.log(np.clip(distance.astype(np.float64), 0.01, 10.0))
    y = is_same.astype(np.float64)
    weight = np.where(is_same, 0.5 / max(is_same.sum(), 1), 0.5 / max((~is_same).sum(), 1)) * len(x)
    design = np.stack([x, np.ones_like(x)], axis=1)
    beta = np.zeros(2)
    for _ in range(100):
        p = 1 / (1 + np.exp(-(design @ beta)))
        slope_of = design.T @ (weight * (y - p)) - np.array([ridge, 0.0]) * beta
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design + np.diag([ridge, 1e-9])
        step = np.linalg.solve(curvature, slope_of)
        beta = beta + step
        if np.abs(step).max() < 1e-9:
            break
    return float(-beta[0]), float(np.exp(-beta[1] / beta[0]))


def _look(image: Image.Image) -> NDArray[np.uint8]:
    small: NDArray[np.uint8] = shrink(fit(np.array(image), LOOK)[None])[0]
    return small


def _nearest(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(n,) position of the picture most like each, by 8 x 8 means."""
    n, side = len(pixels), SIDE // 8
    means = pixels.reshape(n, 8, side, 8, side, 3).mean(axis=(2, 4)).reshape(n, -1)
    squares = (means**2).sum(axis=1)
    distances = squares[:, None] + squares[None] - 2 * means @ means.T
    np.fill_diagonal(distances, np.inf)
    nearest: NDArray[np.int64] = distances.argmin(axis=1)
    return nearest
