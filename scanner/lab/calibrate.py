"""The threshold of an encoder, from pairs of unlike pictures that it never trained on: a stated rate of false pairs.

Two populations of unlike pairs: all pairs of different pictures of a planted set (its template families inside, which are the
hard ones), and pairs of drawings of different series, of split ``calibrate``. The threshold is the lowest step at which neither
population has more than its share at or above. The evaluation split takes no part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scanner.core.errors import TrainingError
from scanner.images.geometry import fit
from scanner.lab.drawings import read_images, read_index
from scanner.lab.planted import PlantedSet, tar_images

if TYPE_CHECKING:
    from scanner.models.encoders import Encoder

STEP = 0.005
MAX_FALSE_SHARE = {"planted": 3e-8, "drawings": 2e-5}
"""Of the unlike pairs of each population, at or above the threshold."""
BATCH = 256
_LOWEST = 0.3
_BLOCK_ROWS = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """A threshold and what it rests on.

    Attributes:
        threshold: cosine.
        num_unlike: pairs of each population.
        num_false: of them those at or above the threshold.
        false_share: the bound that was kept.
        planted: rows and seed of the planted set.
    """

    threshold: float
    num_unlike: Mapping[str, int]
    num_false: Mapping[str, int]
    false_share: Mapping[str, float]
    planted: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def calibrate(encoder: Encoder, planted: PlantedSet, drawings: Sequence[Path], *, seed: int) -> Calibration:
    """The threshold of ``encoder``.

    Args:
        planted: a set whose seed the encoder was not trained with; ``seed`` is recorded.
        drawings: folders of drawings; of each only split ``calibrate`` is read. May be empty.

    Raises:
        TrainingError: no threshold up to 1 keeps the bounds: the encoder tells nothing apart.
    """
    grid: NDArray[np.float64] = np.arange(round(_LOWEST / STEP), round(1 / STEP) + 1).astype(np.float64) * STEP
    joined: dict[str, NDArray[np.int64]] = {}
    unlike: dict[str, int] = {}
    vectors, labels = _planted_vectors(encoder, planted)
    joined["planted"], unlike["planted"] = count_false(vectors, labels, grid)
    if drawings:
        joined["drawings"], unlike["drawings"] = np.zeros(len(grid), np.int64), 0
    for folder in drawings:
        index = {d.key: d for d in read_index(folder) if d.split == "calibrate" and not d.is_blank and d.copy_of == d.key}
        named = ((index[key].series, image) for key, image in read_images(folder, list(index)))
        vectors, labels = encode_all(encoder, named)
        counts, number = count_false(vectors, labels, grid)
        joined["drawings"] += counts
        unlike["drawings"] += number
    kept = np.all([joined[name] <= MAX_FALSE_SHARE[name] * unlike[name] for name in joined], axis=0)
    if not kept.any():
        raise TrainingError(
            f"At no threshold does {encoder.name} keep the bounds on false pairs {MAX_FALSE_SHARE}.",
            next_step="Train it for more steps.",
        )
    at = int(np.argmax(kept))
    return Calibration(
        threshold=round(float(grid[at]), 3),
        num_unlike=unlike,
        num_false={name: int(counts[at]) for name, counts in joined.items()},
        false_share={name: MAX_FALSE_SHARE[name] for name in joined},
        planted={"num_images": planted.num_images, "seed": seed},
    )


def encode_all(encoder: Encoder, named: Iterator[tuple[str, Image.Image]]) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Vectors (n, d) of images and their labels (n,), prepared as a scan prepares them."""
    labels: list[str] = []
    pixels: list[NDArray[np.uint8]] = []
    vectors: list[NDArray[np.float32]] = []
    for label, image in named:
        labels.append(label)
        pixels.append(fit(np.array(image.convert("RGB")), encoder.preprocess))
        if len(pixels) == BATCH:
            vectors.append(encoder.encode(np.stack(pixels)))
            pixels = []
    if pixels:
        vectors.append(encoder.encode(np.stack(pixels)))
    return np.concatenate(vectors), np.array(labels)


def count_false(
    vectors: NDArray[np.float32], labels: NDArray[np.str_], grid: NDArray[np.float64]
) -> tuple[NDArray[np.int64], int]:
    """Pairs of different label with a cosine at or above each of ``grid`` (ascending), and all pairs of different label."""
    codes = np.unique(labels, return_inverse=True)[1]
    above = np.zeros(len(grid) + 1, np.int64)
    for start in range(0, len(vectors), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        similarity = vectors[rows] @ vectors[start:].T
        later = np.arange(start, len(vectors))[None] > np.arange(start, min(start + _BLOCK_ROWS, len(vectors)))[:, None]
        chosen = similarity[later & (codes[rows, None] != codes[None, start:]) & (similarity >= grid[0])]
        # A cosine lies at or above the first ``place`` thresholds of the grid.
        above += np.bincount(np.searchsorted(grid, chosen, side="right"), minlength=len(grid) + 1)
    counts = np.bincount(codes)
    num_unlike = len(codes) * (len(codes) - 1) // 2 - int((counts * (counts - 1) // 2).sum())
    return above[::-1].cumsum()[::-1][1:], num_unlike


def _planted_vectors(encoder: Encoder, planted: PlantedSet) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Source pictures only: what is a copy tells nothing about strangers."""
    truth = planted.read_truth().select(["key", "copy", "kind", "planted_id"]).to_pylist()
    kinds = ("exact", "unique", "template", "outlier")
    wanted = {row["key"]: str(row["planted_id"]) for row in truth if row["copy"] == 0 and row["kind"] in kinds}
    return encode_all(encoder, ((wanted[key], image) for key, image in tar_images(Path(planted.source_url)) if key in wanted))
