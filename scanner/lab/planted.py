"""Image–caption sets with planted duplicates and the truth about them, for the demo, tests, training and benchmarks.

``plan.Plan`` says what is planted and how often; ``pictures`` draws it. Images are drawn, so a set holds nobody's picture.
A set of a million rows streams to disk at constant memory.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import platform
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL
from PIL import Image

from scanner.core.engine import TaskFailure, WorkerPool
from scanner.core.errors import ConfigError, SourceError
from scanner.core.progress import Progress
from scanner.lab import copies, pictures
from scanner.lab.plan import COPY_COUNTS, COPY_KINDS, DEFAULT_COPIED_SHARE, Layout, Plan, PlannedImage

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 2
"""Of the drawing: raised when the same seed gives other images."""
SHARD_ROWS = 500
MIN_HELD_OUT = 100
MEMORIZED_COUNT = 64
"""Held-out captions share words with those of pictures of at least so many copies, or of the most there are."""

_SHARD_TIMEOUT_S, _SHARD_MEMORY_BYTES = 600.0, 2 * 2**30
_FOLDER = {"webdataset": "shards", "folder": "images"}


@dataclass(frozen=True, kw_only=True, slots=True)
class PlantedSet:
    """A written set: what to scan, and beside it what is true of it.

    Attributes:
        source_url: folder of tars or of images.
        truth_path: Parquet, a row an image; ``make_planted`` says what the columns hold.
        held_out_path: Parquet of captions that no image carries.
        manifest_path: JSON with seed, schedule, bounds and versions. Written last: where it is, the set is whole.
        num_planted: pictures that occur more than once.
        num_copies: rows of those pictures.
    """

    source_url: str
    truth_path: str
    held_out_path: str
    manifest_path: str
    layout: Layout
    num_images: int
    num_planted: int
    num_copies: int

    @property
    def copied_share(self) -> float:
        """Share of the images that are a planted copy or its source."""
        return self.num_copies / self.num_images

    def read_truth(self) -> pa.Table:
        """A row an image."""
        import pyarrow.parquet as pq

        return pq.read_table(self.truth_path)

    def read_held_out(self) -> pa.Table:
        """Columns prompt, kind (``unrelated`` or ``shares_words``) and planted_id (whose words it shares, else null)."""
        import pyarrow.parquet as pq

        return pq.read_table(self.held_out_path)


def make_planted(
    out: str,
    *,
    num_images: int,
    seed: int,
    as_: Layout = "webdataset",
    shard_rows: int = SHARD_ROWS,
    copied_share: float = DEFAULT_COPIED_SHARE,
    workers: int = 1,
    progress: Progress | None = None,
) -> PlantedSet:
    """Writes ``out``/shards (tars) or ``out``/images (a folder), truth.parquet, held_out.parquet and manifest.json.

    The same arguments give the same bytes on the same versions of Pillow and numpy, and pixels within 3 of 255 on others. A
    set that is there already is left as it is; one that was interrupted goes on after its last whole shard.

    truth.parquet has a row an image, its key (planted_id, copy): ``planted_id`` (equal for copies of one picture), ``copy``
    (0 is the source file), ``key`` (as in table ``images``), ``source_image`` (key of the row that holds the source file),
    ``kind``, ``k``, ``regime`` (``plan.PlannedImage`` says what they mean), ``family`` (of templates, else null), ``scene``
    (what was drawn) and ``caption``.

    Args:
        out: local folder; made if need be.
        num_images, seed, copied_share: see ``plan.Plan``.
        as_: ``webdataset``: tars of ``shard_rows`` samples with .jpg, .txt and .json; ``folder``: .jpg with sidecar .txt.
        shard_rows: samples a tar, files a subfolder.
        workers: processes that draw; 1 draws in this one.

    Raises:
        ConfigError: a number out of range, or ``out`` holds something else.
    """
    plan = Plan(num_images=num_images, seed=seed, copied_share=copied_share)
    if shard_rows < 1:
        raise ConfigError(f"A shard of {shard_rows} rows holds nothing.", next_step="Take at least 1.")
    progress = progress or Progress(quiet=True)
    root = Path(out)
    planted = PlantedSet(
        source_url=str(root / _FOLDER[as_]), truth_path=str(root / "truth.parquet"),
        held_out_path=str(root / "held_out.parquet"), manifest_path=str(root / "manifest.json"), layout=as_,
        num_images=num_images, num_planted=plan.num_groups, num_copies=plan.sections["copies"],
    )  # fmt: skip
    made_with = {
        "version": VERSION, "num_images": num_images, "seed": seed, "as": as_, "shard_rows": shard_rows,
        "copied_share": copied_share,
    }  # fmt: skip
    if _is_made(planted, made_with):
        return planted
    if any(os.path.lexists(path) for path in (planted.source_url, planted.truth_path, planted.manifest_path)):
        raise ConfigError(f"{out!r} holds another set already.", next_step="Give an empty folder, or delete that one.")
    # Named after the arguments, so that only the same set is taken up again.
    unfinished = root / f".tmp-{hashlib.sha256(json.dumps(made_with).encode()).hexdigest()[:12]}"
    parts = unfinished.with_name(f"{unfinished.name}-truth")
    for folder in (unfinished, parts):
        folder.mkdir(parents=True, exist_ok=True)
    _write_shards(unfinished, plan, as_=as_, shard_rows=shard_rows, workers=workers, progress=progress)
    _join_truth(unfinished, -(-num_images // shard_rows), root / ".tmp-truth")
    _write_held_out(plan, root / ".tmp-held-out")
    (root / ".tmp-manifest").write_text(json.dumps(_manifest(plan, made_with), indent=1), "utf-8")
    unfinished.rename(planted.source_url)
    os.replace(root / ".tmp-truth", planted.truth_path)
    os.replace(root / ".tmp-held-out", planted.held_out_path)
    os.replace(root / ".tmp-manifest", planted.manifest_path)
    shutil.rmtree(parts)
    return planted


def open_planted(folder: str) -> PlantedSet:
    """The set that ``make_planted`` left in ``folder``.

    Raises:
        ConfigError: there is none, or it was made by another version.
    """
    path = Path(folder) / "manifest.json"
    try:
        made_with = json.loads(path.read_text("utf-8"))["made_with"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{folder!r} holds no planted set.", next_step="Make one with `scanner lab make`.") from error
    if made_with.get("version") != VERSION:
        raise ConfigError(
            f"The planted set in {folder!r} is of version {made_with.get('version')}, not {VERSION}.", next_step="Make it again."
        )
    arguments = {key: made_with[key] for key in ("num_images", "seed", "shard_rows", "copied_share")}
    return make_planted(folder, as_=made_with["as"], **arguments)


def tar_images(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    """Key and image, not yet decoded, of every .jpg in the tars of a planted set.

    Raises:
        SourceError: no tars there.
    """
    paths = sorted(folder.glob("*.tar"))
    if not paths:
        raise SourceError(f"{folder} holds no tars", next_step="Make the planted set as webdataset.")
    for path in paths:
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                if suffix == "jpg" and (file := tar.extractfile(member)):
                    with Image.open(io.BytesIO(file.read())) as image:
                        yield key, image


def key_of(place: int, shard_rows: int, as_: Layout) -> str:
    """The sample's key in its tar, or the path of its file in the folder."""
    shard, row = divmod(place, shard_rows)
    name = f"{shard:05d}{row:0{max(4, len(str(shard_rows - 1)))}d}"
    return name if as_ == "webdataset" else f"{shard:05d}/{name}.jpg"


def write_shard(shard: int, *, folder: str, plan: Plan, as_: Layout, shard_rows: int) -> int:
    """Draws one shard and its rows of the truth, unless they are there, and says how many rows it holds.

    Whole or absent: written aside, then renamed.
    """
    start, stop = shard * shard_rows, min((shard + 1) * shard_rows, plan.num_images)
    final = Path(folder) / (f"{shard:05d}.tar" if as_ == "webdataset" else f"{shard:05d}")
    if final.exists():
        return stop - start
    half = final.with_name(f".{final.name}")
    shutil.rmtree(half, ignore_errors=True)
    keys = [key_of(place, shard_rows, as_) for place in range(start, stop)]
    rows = list(plan.rows(start, stop))
    captions = [pictures.caption(row, plan.seed) for row, _ in rows]
    sources = [key_of(source, shard_rows, as_) for _, source in rows]
    files = (
        (key, pictures.image_file(row, plan.seed), caption, pictures.url(row, plan.seed))
        for key, (row, _), caption in zip(keys, rows, captions, strict=True)
    )
    (_write_tar if as_ == "webdataset" else _write_folder)(half, files)
    _write_truth(_truth_part(Path(folder), shard), plan, keys, [row for row, _ in rows], sources, captions)
    half.rename(final)
    return stop - start


def _write_shards(folder: Path, plan: Plan, *, as_: Layout, shard_rows: int, workers: int, progress: Progress) -> None:
    task = functools.partial(write_shard, folder=str(folder.resolve()), plan=plan, as_=as_, shard_rows=shard_rows)
    shards = range(-(-plan.num_images // shard_rows))
    with progress.bar("draw", total=plan.num_images, unit="images") as bar:
        if workers == 1 or len(shards) == 1:
            for shard in shards:
                bar.advance(task(shard))
            return
        pool: WorkerPool[int, int] = WorkerPool(
            task, workers=workers, timeout_s=_SHARD_TIMEOUT_S, memory_bytes=_SHARD_MEMORY_BYTES, preload=("scanner.lab.planted",)
        )
        with closing(pool), pool:
            for outcome in pool.map(iter(shards)):
                if isinstance(outcome, TaskFailure):
                    raise RuntimeError(f"drawing shard {outcome.item} failed: {outcome.message}\n{outcome.traceback}")
                bar.advance(outcome)


def _write_tar(path: Path, files: Iterator[tuple[str, bytes, str, str]]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, image, caption, url in files:
            record = json.dumps({"key": key, "url": url, "caption": caption}).encode()
            for suffix, data in (("jpg", image), ("txt", caption.encode()), ("json", record)):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def _write_folder(folder: Path, files: Iterator[tuple[str, bytes, str, str]]) -> None:
    folder.mkdir()
    for key, image, caption, _ in files:
        path = folder / key.rpartition("/")[2]
        path.write_bytes(image)
        path.with_suffix(".txt").write_text(caption, "utf-8")


def _truth_part(folder: Path, shard: int) -> Path:
    """Beside the folder of shards, which is to hold nothing but shards."""
    return folder.with_name(f"{folder.name}-truth") / f"{shard:05d}.parquet"


def _write_truth(
    path: Path, plan: Plan, keys: list[str], rows: list[PlannedImage], sources: list[str], captions: list[str]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "planted_id": pa.array([row.planted_id for row in rows], pa.int64()),
        "copy": pa.array([row.copy for row in rows], pa.int64()),
        "key": pa.array(keys, pa.string()),
        "source_image": pa.array(sources, pa.string()),
        "kind": pa.array([row.kind for row in rows], pa.string()),
        "k": pa.array([row.k for row in rows], pa.int64()),
        "regime": pa.array([row.regime for row in rows], pa.string()),
        "family": pa.array([row.family if row.kind == "template" else None for row in rows], pa.int64()),
        "scene": pa.array([pictures.scene_of(row, plan.seed) for row in rows], pa.string()),
        "caption": pa.array(captions, pa.string()),
    }
    pq.write_table(pa.table(columns), path)


def _join_truth(folder: Path, num_shards: int, path: Path) -> None:
    """One file of the shards' parts, a row group each."""
    import pyarrow.parquet as pq

    parts = [_truth_part(folder, shard) for shard in range(num_shards)]
    with pq.ParquetWriter(path, pq.read_schema(parts[0])) as writer:
        for part in parts:
            writer.write_table(pq.read_table(part))


def _write_held_out(plan: Plan, path: Path) -> None:
    """Half of the captions share nothing on purpose; half begin as the caption of a picture that a model will have memorized."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = max(MIN_HELD_OUT, plan.num_images // 40)
    least = min(MEMORIZED_COUNT, max(k for k, _, _ in plan.unit))
    memorized = [g for g in range(plan.num_groups) if plan.unit[g % len(plan.unit)][0] >= least]
    rows = []
    for i in range(number):
        like, planted_id = "", None
        if i % 2:
            planted_id = memorized[(i // 2) % len(memorized)]
            like = pictures.source(plan.seed, planted_id, "scene", -1).subject
        prompt = pictures.held_out_caption(plan.seed, plan.num_pictures + i, like)
        rows.append({"prompt": prompt, "kind": "shares_words" if like else "unrelated", "planted_id": planted_id})
    schema = pa.schema([("prompt", pa.string()), ("kind", pa.string()), ("planted_id", pa.int64())])
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


def _manifest(plan: Plan, made_with: dict[str, Any]) -> dict[str, Any]:
    pictures_by_count = {str(k): plan.num_units * sum(count == k for count, _, _ in plan.unit) for k in COPY_COUNTS}
    return {
        "made_with": made_with,
        "rows": plan.sections,
        "pictures_by_k": {k: number for k, number in pictures_by_count.items() if number},
        "copy_kinds": COPY_KINDS,
        "template_families": plan.families,
        "held_out_captions": max(MIN_HELD_OUT, plan.num_images // 40),
        "bounds": {
            "jpeg_quality": copies.JPEG_QUALITY, "resize_factor": copies.RESIZE_FACTOR, "crop_share": copies.CROP_SHARE,
            "watermark_area": copies.WATERMARK_AREA, "brightness_share": copies.BRIGHTNESS_SHARE,
            "border_share": copies.BORDER_SHARE, "template_area": pictures.TEMPLATE_AREA,
        },
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "pillow": PIL.__version__},
    }  # fmt: skip


def _is_made(planted: PlantedSet, made_with: dict[str, Any]) -> bool:
    """Whether the very set is there, whole."""
    files = (planted.truth_path, planted.held_out_path, planted.manifest_path)
    if not all(map(os.path.isfile, files)) or not os.path.isdir(planted.source_url):
        return False
    try:
        found = json.loads(Path(planted.manifest_path).read_text("utf-8"))["made_with"]
    except (ValueError, KeyError):
        return False
    return bool(found == made_with)
