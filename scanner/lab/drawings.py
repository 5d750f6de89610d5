"""The two sets of real drawings that the bundled encoder learns from and is judged on, cut by series.

``openclipart-captioned`` (public domain) and ``noto-emoji-captioned`` (Apache-2.0) are webdataset tars with an ``index.tsv``.
Drawings come in series: one hand, one layout, another detail. A series never straddles the cut, or the judgement would be made
on sisters of what was learned. What makes a series is said by names alone, by no model: for openclipart the folder and the
first word of the file name, for noto-emoji the code points without their skin tones; series that share a pixel-identical image,
or a file that the package ships as a link, are one.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scanner.core.errors import SourceError

Split = Literal["train", "calibrate", "evaluate"]

SPLIT_SEED = 2
TRAIN_SHARE, CALIBRATE_SHARE = 1 / 2, 1 / 6
"""Of the series; the last third is for evaluation alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """One image of a set.

    Attributes:
        key: in the set's tars.
        caption: as the set gives it.
        series: key of the first drawing of its series.
        copy_of: key of the first drawing with exactly the same pixels; its own where there is none.
        is_blank: an empty rendering.
        split: what it is used for; the same for all of a series.
    """

    key: str
    caption: str
    series: str
    copy_of: str
    is_blank: bool
    split: Split


def read_index(folder: Path) -> list[Drawing]:
    """The drawings of a set, in the order of its index.

    Raises:
        SourceError: no index.tsv and exact_groups.tsv there, or none of the two known forms.
    """
    try:
        rows = _rows(folder / "index.tsv")
        exact = [row["keys"].split(",") for row in _rows(folder / "exact_groups.tsv")]
    except (OSError, KeyError) as error:
        raise SourceError(
            f"{folder} holds no index.tsv with exact_groups.tsv ({error})",
            next_step="Give the folder openclipart-captioned or noto-emoji-captioned.",
        ) from error
    if not rows or not {"key", "caption"} <= rows[0].keys() or not {"source_path", "family"} & rows[0].keys():
        raise SourceError(f"{folder}/index.tsv has columns that are not known", next_step="Give a set of one of the two forms.")
    blank = {row["key"] for row in rows if row.get("blank_image") == "1"}
    copy_of = {row["key"]: row["key"] for row in rows}
    for keys in exact:
        copy_of.update(dict.fromkeys(keys, min(keys)))
    parent = {row["key"]: row["key"] for row in rows}

    def root(key: str) -> str:
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    def join(key: str, other: str) -> None:
        first, second = sorted((root(key), root(other)))
        parent[second] = first

    of_path = {row["source_path"]: row["key"] for row in rows if "source_path" in row}
    first_of: dict[str, str] = {}
    for row in rows:
        if row["key"] in blank:
            continue  # blanks are alike whatever they were meant to be
        join(row["key"], first_of.setdefault(_series_name(row), row["key"]))
        if copy_of[row["key"]] not in blank:
            join(row["key"], copy_of[row["key"]])
        linked = of_path.get(row.get("debian_symlink_to") or "")
        if linked and linked not in blank:
            join(row["key"], linked)
    return [
        Drawing(
            key=row["key"], caption=row["caption"], series=root(row["key"]), copy_of=copy_of[row["key"]],
            is_blank=row["key"] in blank, split=split_of(folder.name, root(row["key"])),
        )
        for row in rows
    ]  # fmt: skip


def split_of(set_name: str, series: str) -> Split:
    """Drawn by hash, so that a set that grows moves no series."""
    digest = hashlib.sha256(f"{SPLIT_SEED}/{set_name}/{series}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return "train" if share < TRAIN_SHARE else "calibrate" if share < TRAIN_SHARE + CALIBRATE_SHARE else "evaluate"


def read_images(folder: Path, keys: Sequence[str]) -> Iterator[tuple[str, Image.Image]]:
    """Key and RGB image (alpha flattened on white) of the wanted drawings, in the order of the tars.

    Raises:
        SourceError: a key is in no tar.
    """
    wanted = set(keys)
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                if key in wanted and suffix in ("jpg", "png") and (file := tar.extractfile(member)):
                    wanted.discard(key)
                    yield key, flatten(Image.open(io.BytesIO(file.read())))
    if wanted:
        raise SourceError(f"{len(wanted)} drawings of {folder} are in none of its tars", next_step="Fetch the set again.")


def flatten(image: Image.Image) -> Image.Image:
    """RGB, transparency over white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def squash(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """(side, side, 3): both sides brought to ``side``, bicubic, antialiased."""
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), dtype=np.uint8)


def _series_name(row: dict[str, str]) -> str:
    if "family" in row:
        return row["family"]
    folder, _, name = row["source_path"].rpartition("/")
    return f"{folder}/{re.split('[-_.]', name)[0].rstrip('0123456789')}"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
