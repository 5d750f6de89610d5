"""Small pictures of the images that the report shows, read again from the source and decoded in worker processes.

The originals are as hostile as they were during the scan, so they go through the same bounded decoder.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import ImagesConfig
from scanner.core.preprocess import Preprocess
from scanner.core.progress import Bar
from scanner.core.sql import query_rows
from scanner.images.geometry import place
from scanner.images.prepare import ImageLimits, ImagePreparer
from scanner.sources.base import Source
from scanner.sources.originals import FileRef, Originals

if TYPE_CHECKING:
    import duckdb

SIDE = 128
"""Pixels of the longer side."""
MAX_PICTURES = 2000
"""Thumbnails of one page. One is about 4 kB and never above 25 kB, so that they bound the file."""
LEFT_OUT = f"left out: a page holds {MAX_PICTURES:,} pictures"
CHANGED = "the source has changed since the scan"
_QUALITY = 80
_FIT = Preprocess(size=(SIDE, SIDE), resize_mode="longest", fill_color=255)


@dataclass(frozen=True, kw_only=True, slots=True)
class Thumbnail:
    """A JPEG as a ``data:`` URI with its size in pixels, or the reason why there is none."""

    data_uri: str = ""
    width: int = 0
    height: int = 0
    reason: str = ""


REDACTED = Thumbnail(reason="redacted")
"""Stands in place of every picture of a page that is to be shared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownImage:
    """A row of ``report/shown_images``: an image's file as the scan saw it, and its caption."""

    file: FileRef
    caption: str | None


def find_images(connection: duckdb.DuckDBPyConnection, image_ids: Sequence[int]) -> dict[int, ShownImage]:
    """Images of a run by their ids, those that could be read, in the order asked for."""
    if not image_ids:
        return {}
    rows = query_rows(connection, "report/shown_images", {"image_ids": ",".join(map(str, image_ids))})
    found = {row["image_id"]: ShownImage(file=FileRef.of_row(row), caption=row["caption"]) for row in rows}
    return {id_: found[id_] for id_ in image_ids if id_ in found}


def make_thumbnails(
    files: Sequence[FileRef], sources: Mapping[str, Source], limits: ImagesConfig, *, workers: int, bar: Bar
) -> dict[int, Thumbnail]:
    """Thumbnails by image_id, of the first ``MAX_PICTURES`` files.

    What cannot be read or decoded again, is not what the scan saw, or is one too many has one with a reason; nothing here
    stops the report, but for a store that does not answer.

    Raises:
        UnreachableError: a report of which most pictures are missing would stand for the scan's.
    """
    thumbnails = {file.image_id: Thumbnail(reason=LEFT_OUT) for file in files[MAX_PICTURES:]}
    # Images lie in the order of their ids, so each shard is gone through once.
    wanted = sorted(files[:MAX_PICTURES], key=lambda file: file.image_id)
    originals = Originals(sources)

    def readable() -> Iterator[tuple[FileRef, bytes]]:
        for file, data in zip(wanted, originals.read_all(wanted), strict=True):
            if data is None:
                thumbnails[file.image_id] = Thumbnail(reason=originals.last_failure)
                bar.advance()
            else:
                yield file, data

    if not originals.has_images:
        list(readable())  # none of them has bytes: each gets its reason
        return thumbnails
    with ImagePreparer(_FIT, ImageLimits.of(limits), workers=workers) as preparer:
        for file, facts, pixels in preparer.prepare(readable()):
            if pixels is None or facts.width is None or facts.height is None:
                thumbnails[file.image_id] = Thumbnail(reason=facts.error_message or facts.status)
            elif not file.is_as_scanned(facts.sha256, facts.phash):
                thumbnails[file.image_id] = Thumbnail(reason=CHANGED)
            else:
                thumbnails[file.image_id] = _encode(pixels, width=facts.width, height=facts.height)
            bar.advance()
    return thumbnails


def _encode(pixels: NDArray[np.uint8], *, width: int, height: int) -> Thumbnail:
    """A JPEG of the picture alone, without the padding around it; never larger than the original."""
    from PIL import Image

    at = place(height, width, _FIT)
    top, left = max(-at.top, 0), max(-at.left, 0)
    image = Image.fromarray(pixels[top : top + at.height, left : left + at.width])
    if max(width, height) < SIDE:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Thumbnail(data_uri=uri, width=image.width, height=image.height)
