"""A small image–caption set with planted duplicates and the truth about them, for the demo, tests and benchmarks.

What is planted: images that occur k = 2, 4, 8, 16 and 32 times, as exact and near copies, with one caption for all copies or
another for each; a caption that different images share; placeholders (blanks) under different captions; a file cut short. All
else occurs once. Rows are shuffled over the shards. Images are drawn, so the set holds nobody's picture.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from scanner.core.errors import ConfigError
from scanner.lab.copies import ALTERATIONS
from scanner.lab.scenes import draw_scene
from scanner.lab.scoring import GroupScore as GroupScore
from scanner.lab.scoring import score_groups as score_groups
from scanner.lab.words import NOUNS, varied_captions

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1
"""Of the drawing: raised when the same seed gives other images."""
COPY_COUNTS = (2, 4, 8, 16, 32)
REGIMES = ("same", "varied")
COPY_KINDS = ("exact", *ALTERATIONS)
MIN_IMAGES = 200
MAX_COPIED_SHARE = 0.4
TRAP_IMAGES = 6
JPEG_QUALITY = 92

Layout = Literal["webdataset", "folder"]

# Streams of random numbers that must not run in step: each is seeded by (seed, stream, ids).
_PLAN, _SOURCE, _ALTER, _CAPTIONS, _HOST = range(5)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlantedSet:
    """A written set. ``source_url`` is what to scan; ``truth_path`` the Parquet file that says what was planted, beside it."""

    source_url: str
    truth_path: str
    layout: Layout
    num_images: int
    num_planted: int
    num_copies: int

    @property
    def copied_share(self) -> float:
        """Share of the images that are a planted copy or its source."""
        return self.num_copies / self.num_images

    def read_truth(self) -> pa.Table:
        """A row an image; ``make_planted`` says what the columns hold."""
        import pyarrow.parquet as pq

        return pq.read_table(self.truth_path)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedImage:
    """One row to be. ``copy`` 0 is the source file itself; all else is the row of truth.parquet."""

    planted_id: int
    copy: int
    kind: str
    k: int
    regime: str
    key: str = ""


def make_planted(out: str, *, num_images: int, seed: int, as_: Layout = "webdataset", shard_rows: int = 500) -> PlantedSet:
    """Writes ``out``/shards (tars) or ``out``/images (a folder) and ``out``/truth.parquet.

    The same arguments give the same bytes on the same versions of Pillow and numpy. A set that is there already, made with
    the same arguments, is left as it is.

    truth.parquet has a row an image: planted_id (equal for copies of one picture), key (as in table ``images``), source_image
    (key of the row that holds the source file), kind (``exact``, a name in ``copies.ALTERATIONS``, ``unique``, ``blank`` or
    ``broken``), k (rows of the picture) and regime (``same`` or ``varied`` captions, ``trap``: one caption on different
    images, ``single``).

    Args:
        out: local folder; made if need be.
        num_images: rows of the set, at least 200; at most 40 % of them (but at least one of each k and regime) are copies.
        as_: ``webdataset``: tars of ``shard_rows`` samples with .jpg, .txt and .json; ``folder``: .jpg with sidecar .txt.
        shard_rows: samples a tar, files a subfolder.

    Raises:
        ConfigError: a number out of range, or ``out`` holds something else.
    """
    if num_images < MIN_IMAGES:
        raise ConfigError(f"A planted set of {num_images} images is too small.", next_step=f"Take at least {MIN_IMAGES}.")
    if shard_rows < 1:
        raise ConfigError(f"A shard of {shard_rows} rows holds nothing.", next_step="Take at least 1.")
    if seed < 0:
        raise ConfigError(f"Seed {seed} is negative.", next_step="Take 0 or more.")
    rows = plan(num_images, seed=seed, shard_rows=shard_rows, as_=as_)
    root, name = Path(out), {"webdataset": "shards", "folder": "images"}[as_]
    copied = [row for row in rows if row.regime in REGIMES and row.kind != "blank"]
    planted = PlantedSet(
        source_url=str(root / name), truth_path=str(root / "truth.parquet"), layout=as_, num_images=num_images,
        num_planted=len({row.planted_id for row in copied}), num_copies=len(copied),
    )  # fmt: skip
    made_with = json.dumps({"version": VERSION, "num_images": num_images, "seed": seed, "as": as_, "shard_rows": shard_rows})
    if _is_made(planted, made_with):
        return planted
    if os.path.lexists(planted.source_url) or os.path.lexists(planted.truth_path):
        raise ConfigError(f"{out!r} holds another set already.", next_step="Give an empty folder, or delete that one.")
    unfinished = root / f".tmp-{name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    write = _write_tar if as_ == "webdataset" else _write_folder
    for start in range(0, num_images, shard_rows):
        write(unfinished, start // shard_rows, _files(rows, rows[start : start + shard_rows], seed=seed))
    _write_truth(rows, root / ".tmp-truth", made_with)
    # The truth goes last: where it is, the set is whole.
    unfinished.rename(planted.source_url)
    os.replace(root / ".tmp-truth", planted.truth_path)
    return planted


def plan(num_images: int, *, seed: int, shard_rows: int, as_: Layout) -> list[PlannedImage]:
    """Every row of the set in the order in which it is written: what make_planted draws, without drawing it."""
    rng = np.random.default_rng([seed, _PLAN])
    rows: list[PlannedImage] = []
    next_id = 0
    ladder = len(REGIMES) * sum(COPY_COUNTS)
    dealt = 0
    for _ in range(max(1, int(MAX_COPIED_SHARE * num_images / ladder))):
        for k in COPY_COUNTS:
            for regime in REGIMES:
                rows.append(PlannedImage(planted_id=next_id, copy=0, kind="exact", k=k, regime=regime))
                for copy in range(1, k):
                    # Dealt in turn over all groups, so that every kind occurs equally often whatever the number of images.
                    kind = COPY_KINDS[dealt % len(COPY_KINDS)]
                    rows.append(PlannedImage(planted_id=next_id, copy=copy, kind=kind, k=k, regime=regime))
                    dealt += 1
                next_id += 1
    num_blank = max(3, num_images // 100)
    rows += [PlannedImage(planted_id=next_id, copy=i, kind="blank", k=num_blank, regime="varied") for i in range(num_blank)]
    next_id += 1
    for _ in range(TRAP_IMAGES * max(1, num_images // 500)):
        rows.append(PlannedImage(planted_id=next_id, copy=0, kind="unique", k=1, regime="trap"))
        next_id += 1
    rows.append(PlannedImage(planted_id=next_id, copy=0, kind="broken", k=1, regime="single"))
    next_id += 1
    left = num_images - len(rows)
    rows += [PlannedImage(planted_id=next_id + i, copy=0, kind="unique", k=1, regime="single") for i in range(left)]
    digits = max(4, len(str(shard_rows - 1)))
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    return [replace(row, key=_key(i // shard_rows, i % shard_rows, digits, as_)) for i, row in enumerate(shuffled)]


def _key(shard: int, row: int, digits: int, as_: Layout) -> str:
    name = f"{shard:05d}{row:0{digits}d}"
    return name if as_ == "webdataset" else f"{shard:05d}/{name}.jpg"


@lru_cache(maxsize=1024)
def _source(seed: int, planted_id: int) -> tuple[bytes, str]:
    """File and subject of a picture."""
    scene = draw_scene(np.random.default_rng([seed, _SOURCE, planted_id]))
    return _jpeg(scene.image), scene.subject


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def draw_blank(rng: np.random.Generator) -> Image.Image:
    """A placeholder: white, grey or black with noise of one level, as "image not available" without the words."""
    size = [int(side) for side in rng.integers(100, 301, 2)]
    tone = (252, 238, 204, 128, 3)[rng.integers(5)]
    noise = rng.integers(-1, 2, (size[1], size[0], 1))
    return Image.fromarray(np.repeat(tone + noise, 3, axis=2).astype(np.uint8))


def _image_file(row: PlannedImage, seed: int) -> bytes:
    rng = np.random.default_rng([seed, _ALTER, row.planted_id, row.copy])
    if row.kind == "blank":
        return _jpeg(draw_blank(rng))
    data, _ = _source(seed, row.planted_id)
    if row.kind == "broken":
        return data[: len(data) * 2 // 5]
    if row.kind in ALTERATIONS:
        with Image.open(io.BytesIO(data)) as image:
            return _jpeg(ALTERATIONS[row.kind](image.convert("RGB"), rng))
    return data


def _caption(row: PlannedImage, seed: int, trap_number: int) -> str:
    if row.kind == "blank":
        return f"{NOUNS[row.copy % len(NOUNS)]} {100 + row.copy}, picture not available"
    _, subject = _source(seed, row.planted_id)
    if row.regime == "trap":
        return f"limited edition print, series {trap_number}"
    if row.regime == "varied":
        rng = np.random.default_rng([seed, _CAPTIONS, row.planted_id])
        return varied_captions(rng, subject, row.k)[row.copy]
    return subject


def _files(rows: list[PlannedImage], shard: list[PlannedImage], *, seed: int) -> Iterator[tuple[str, bytes, str, str]]:
    """Key, image file, caption and url of the rows of one shard."""
    traps = sorted(row.planted_id for row in rows if row.regime == "trap")
    number = {planted_id: i // TRAP_IMAGES + 1 for i, planted_id in enumerate(traps)}
    for row in shard:
        host = int(np.random.default_rng([seed, _HOST, row.planted_id, row.copy]).integers(40))
        url = f"https://images-{host}.example/{row.planted_id}/{row.copy}.jpg"
        yield row.key, _image_file(row, seed), _caption(row, seed, number.get(row.planted_id, 0)), url


def _write_tar(folder: Path, shard: int, files: Iterator[tuple[str, bytes, str, str]]) -> None:
    with tarfile.open(folder / f"{shard:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, image, caption, url in files:
            record = json.dumps({"key": key, "url": url, "caption": caption}).encode()
            for suffix, data in (("jpg", image), ("txt", caption.encode()), ("json", record)):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def _write_folder(folder: Path, shard: int, files: Iterator[tuple[str, bytes, str, str]]) -> None:
    (folder / f"{shard:05d}").mkdir()
    for key, image, caption, _ in files:
        (folder / key).write_bytes(image)
        (folder / key).with_suffix(".txt").write_text(caption, "utf-8")


def _write_truth(rows: list[PlannedImage], path: Path, made_with: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sources = {row.planted_id: row.key for row in rows if row.copy == 0}
    table = pa.table(
        {
            "planted_id": pa.array([row.planted_id for row in rows], pa.int64()),
            "key": pa.array([row.key for row in rows], pa.string()),
            # Blanks have no source file: each is its own.
            "source_image": pa.array([row.key if row.kind == "blank" else sources[row.planted_id] for row in rows], pa.string()),
            "kind": pa.array([row.kind for row in rows], pa.string()),
            "k": pa.array([row.k for row in rows], pa.int64()),
            "regime": pa.array([row.regime for row in rows], pa.string()),
        }
    )
    pq.write_table(table.replace_schema_metadata({"made_with": made_with}), path)


def _is_made(planted: PlantedSet, made_with: str) -> bool:
    """Whether the very set is there, whole."""
    if not (os.path.isfile(planted.truth_path) and os.path.isdir(planted.source_url)):
        return False
    import pyarrow.parquet as pq

    return (pq.read_schema(planted.truth_path).metadata or {}).get(b"made_with") == made_with.encode()
