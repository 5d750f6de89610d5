"""A planted set as the arrays that the small diffusion models are trained on and judged by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import ConfigError
from scanner.lab.drawings import squash
from scanner.lab.planted import tar_images
from scanner.lab.truth_rows import NO_PICTURE_KINDS, read_truth

SIDE = 32
"""Pixels of a side; both are brought to it whatever the aspect."""

_OF_THE_LAB = "Give a folder that `scanner lab make --as webdataset` wrote."


@dataclass(frozen=True, kw_only=True, eq=False)
class ToySet:
    """The n readable rows of a planted set, in the order of its truth.

    Attributes:
        images: uint8 (n, 32, 32, 3).
        captions: n texts.
        planted_id: (n,) the picture; equal for its copies.
        is_source: (n,) whether the row is the picture's source file: one row a picture.
        k: (n,) rows of the picture.
        kind, regime, scene: n words each, as in the truth.
        held_out: captions that no image carries, with their kind.
        made_with: arguments of ``make_planted``, as the set's manifest has them.
    """

    images: NDArray[np.uint8]
    captions: tuple[str, ...]
    planted_id: NDArray[np.int64]
    is_source: NDArray[np.bool_]
    k: NDArray[np.int64]
    kind: tuple[str, ...]
    regime: tuple[str, ...]
    scene: tuple[str, ...]
    held_out: tuple[tuple[str, str], ...]
    made_with: dict[str, Any]

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def digest(self) -> str:
        """64 hex digits: of pixels and captions, in order."""
        total = hashlib.sha256(self.images.tobytes())
        total.update(json.dumps(self.captions).encode())
        return total.hexdigest()

    @cached_property
    def is_picture(self) -> NDArray[np.bool_]:
        """(n,) whether the row shows something: no blank and no placeholder, which are alike and nobody's."""
        return np.array([kind not in NO_PICTURE_KINDS for kind in self.kind])

    @cached_property
    def sources(self) -> NDArray[np.int64]:
        """Rows of the source files, one a picture: the set without its duplicates."""
        return np.flatnonzero(self.is_source)

    @cached_property
    def distinct(self) -> NDArray[np.int64]:
        """Rows with pixels that no earlier row has: sources and near copies."""
        flat = self.images.reshape(len(self), -1)
        return np.sort(np.unique(flat, axis=0, return_index=True)[1])


def read_toy_set(folder: Path) -> ToySet:
    """The set that ``planted.make_planted`` wrote to ``folder``, as tars. Files that do not decode are left out.

    Raises:
        ConfigError: the folder holds no planted set, or a row of its truth has no file.
    """
    import pyarrow.parquet as pq

    truth = read_truth(folder)
    if not any((folder / "shards").glob("*.tar")) or not (folder / "held_out.parquet").is_file():
        raise ConfigError(f"{folder} holds no shards of tars with held-out captions.", next_step=_OF_THE_LAB)
    columns = {name: truth[name].to_pylist() for name in ("planted_id", "key", "source_image", "k", "kind", "regime", "caption")}
    columns["scene"] = pq.read_table(folder / "truth.parquet", columns=["scene"])["scene"].to_pylist()
    files = _small_images(folder / "shards")
    absent = [key for key in columns["key"] if key not in files]
    if absent:
        raise ConfigError(f"{folder} lacks the files of {len(absent)} rows, {absent[0]} among them.", next_step=_OF_THE_LAB)
    rows = [row for row, key in enumerate(columns["key"]) if files[key] is not None]
    kept = {name: [values[row] for row in rows] for name, values in columns.items()}
    held_out = pq.read_table(folder / "held_out.parquet", columns=["prompt", "kind"])
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    return ToySet(
        images=np.stack([pixels for key in kept["key"] if (pixels := files[key]) is not None]),
        captions=tuple(kept["caption"]),
        planted_id=np.array(kept["planted_id"], np.int64),
        is_source=np.array([key == source for key, source in zip(kept["key"], kept["source_image"], strict=True)]),
        k=np.array(kept["k"], np.int64),
        kind=tuple(kept["kind"]),
        regime=tuple(kept["regime"]),
        scene=tuple(kept["scene"]),
        held_out=tuple(zip(held_out["prompt"].to_pylist(), held_out["kind"].to_pylist(), strict=True)),
        made_with=dict(manifest["made_with"]),
    )


def _small_images(folder: Path) -> dict[str, NDArray[np.uint8] | None]:
    """Key to (32, 32, 3) pixels, bicubic and antialiased; None for files that do not decode."""
    files: dict[str, NDArray[np.uint8] | None] = {}
    for key, image in tar_images(folder):
        try:
            files[key] = squash(image.convert("RGB"), SIDE)
        except (OSError, SyntaxError):
            files[key] = None
    return files
