"""What is told of a small diffusion model beside its files: how it was made, what it should have memorized, and their digests."""

from __future__ import annotations

import json
import platform
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import ConfigError
from scanner.core.progress import Progress
from scanner.images.distances import l2, unit
from scanner.lab.planted import VERSION as PLANTED_VERSION
from scanner.lab.planted import make_planted
from scanner.lab.toy_data import ToySet, read_toy_set
from scanner.models.weights import MANIFEST, folder_sha256

_PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "numpy", "pillow")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a model's folder.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{folder} has no {MANIFEST} that can be read: {error}", next_step="Give a folder that `scanner lab train` wrote."
        ) from error
    return dict(manifest)


def redraw_set(folder: Path, out: Path, *, workers: int = 1, progress: Progress | None = None) -> ToySet:
    """The set that the model in ``folder`` was trained on, drawn into ``out`` from its seed.

    Raises:
        ConfigError: the manifest names no set, or one that this version draws otherwise.
    """
    made_with = dict(read_manifest(folder).get("set", {}).get("made_with", {}))
    found = made_with.pop("version", None)
    if found != PLANTED_VERSION:
        raise ConfigError(
            f"{folder} was trained on a planted set of version {found}; sets of version {PLANTED_VERSION} are drawn here.",
            next_step="Give the set it was trained on, or train it again with `scanner lab train`.",
        )
    make_planted(
        str(out), num_images=made_with["num_images"], seed=made_with["seed"], as_=made_with["as"],
        shard_rows=made_with["shard_rows"], copied_share=made_with["copied_share"], workers=workers, progress=progress,
    )  # fmt: skip
    return read_toy_set(out)


def describe_set(toy_set: ToySet, rows: NDArray[np.int64]) -> dict[str, Any]:
    """What of the set the model saw, and which pictures it saw often.

    Args:
        rows: the rows that it was trained on.
    """
    shown = Counter(toy_set.planted_id[rows].tolist())
    captions: dict[int, set[str]] = {}
    for row in rows.tolist():
        captions.setdefault(int(toy_set.planted_id[row]), set()).add(toy_set.captions[row])
    planted = [row for row in toy_set.sources.tolist() if toy_set.k[row] > 1 and toy_set.is_picture[row]]
    return {
        "made_with": toy_set.made_with,
        "digest": toy_set.digest,
        "num_rows": len(rows),
        "num_pictures": len(shown),
        "num_captions": len({toy_set.captions[row] for row in rows.tolist()}),
        "num_held_out_captions": len(toy_set.held_out),
        "planted": [
            {
                "planted_id": int(toy_set.planted_id[row]),
                "k": int(toy_set.k[row]),
                "num_rows": shown[int(toy_set.planted_id[row])],
                "num_captions": len(captions[int(toy_set.planted_id[row])]),
                "regime": toy_set.regime[row],
                "scene": toy_set.scene[row],
                "caption": toy_set.captions[row],
            }
            for row in planted
        ],
    }


def round_trip_floor(toy_set: ToySet, back: NDArray[np.uint8], rows: NDArray[np.int64]) -> dict[str, dict[str, float]]:
    """How close the autoencoder comes: no generation can be expected closer. By scene, and over all pictures.

    Args:
        back: the images of ``rows``, once through the autoencoder.

    Returns:
        Scene to num_pictures, median_db (PSNR), mean_rms and max_rms (l2 of pixels in [0, 1]); ``all`` holds no blanks and no
        placeholders.
    """
    rms = l2(unit(toy_set.images[rows]), unit(back)).astype(np.float64)
    scenes = np.array([toy_set.scene[row] for row in rows.tolist()])
    chosen = {"all": toy_set.is_picture[rows]} | {str(scene): scenes == scene for scene in sorted(set(scenes.tolist()))}
    return {
        name: {
            "num_pictures": int(mask.sum()),
            "median_db": round(float(np.median(-20 * np.log10(np.maximum(rms[mask], 1e-6)))), 2),
            "mean_rms": round(float(rms[mask].mean()), 4),
            "max_rms": round(float(rms[mask].max()), 4),
        }
        for name, mask in chosen.items()
        if mask.any()
    }


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Adds versions and the digests of all files, and writes it last: where it is, the folder is whole."""
    versions = {"python": platform.python_version()} | {package: version(package) for package in _PACKAGES}
    manifest = {**facts, "versions": versions, "sha256": folder_sha256(folder)}
    unfinished = folder / f".{MANIFEST}"
    unfinished.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", "utf-8")
    unfinished.replace(folder / MANIFEST)
