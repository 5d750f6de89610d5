"""Small pictures of the images that the report shows, read again from the source and decoded in worker processes.

The originals are as hostile as they were during the scan, so they go through the same bounded decoder.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import ImagesConfig
from scanner.core.errors import ScannerError
from scanner.core.ids import row_of
from scanner.core.preprocess import Preprocess
from scanner.core.progress import Bar
from scanner.images.geometry import place
from scanner.images.prepare import ImageLimits, ImagePreparer
from scanner.report.content import Member
from scanner.sources.base import ImageRef, Source

SIDE = 128
"""Pixels of the longer side."""
_QUALITY = 80
_FIT = Preprocess(size=(SIDE, SIDE), resize_mode="longest", fill_color=255)


@dataclass(frozen=True, kw_only=True, slots=True)
class Thumbnail:
    """A JPEG as a ``data:`` URI with its size in pixels, or the reason why there is none."""

    data_uri: str = ""
    width: int = 0
    height: int = 0
    reason: str = ""


def make_thumbnails(
    members: Iterable[Member], sources: Mapping[str, Source], limits: ImagesConfig, *, workers: int, bar: Bar
) -> dict[int, Thumbnail]:
    """Thumbnails by image_id. What cannot be read or decoded again has one with a reason; nothing here stops the report."""
    wanted = sorted({member.image_id: member for member in members}.values(), key=lambda member: member.image_id)
    thumbnails: dict[int, Thumbnail] = {}

    def originals() -> Iterator[tuple[Member, bytes]]:
        for member in wanted:
            data = _read(member, sources)
            if isinstance(data, bytes):
                yield member, data
            else:
                thumbnails[member.image_id] = data
                bar.advance()

    bounds = ImageLimits.of(limits)
    # Images lie in the order of their ids, so each shard is gone through once.
    if not any(_is_readable(sources.get(member.dataset)) for member in wanted):
        return {member.image_id: _unread(member, sources) for member in wanted}
    with ImagePreparer(_FIT, bounds, workers=workers) as preparer:
        for member, facts, pixels in preparer.prepare(originals()):
            if pixels is None or facts.width is None or facts.height is None:
                thumbnails[member.image_id] = Thumbnail(reason=facts.error_message or facts.status)
            else:
                thumbnails[member.image_id] = _encode(pixels, width=facts.width, height=facts.height)
            bar.advance()
    return thumbnails


def _is_readable(source: Source | None) -> bool:
    return source is not None and source.embedding_dim is None


def _unread(member: Member, sources: Mapping[str, Source]) -> Thumbnail:
    if member.dataset in sources:
        return Thumbnail(reason="the source holds embeddings, not images")
    return Thumbnail(reason=f"source {member.dataset} is not at hand")


def _read(member: Member, sources: Mapping[str, Source]) -> bytes | Thumbnail:
    source = sources.get(member.dataset)
    if source is None or source.embedding_dim is not None:
        return _unread(member, sources)
    ref = ImageRef(
        shard_url=member.shard,
        row=row_of(member.image_id),
        key=member.key,
        byte_offset=member.byte_offset,
        num_bytes=member.num_bytes,
    )
    try:
        return source.read(ref)
    except ScannerError as error:
        return Thumbnail(reason=error.message)
    except Exception as error:
        # Any filesystem may stand behind a source, and each has its own errors; the page is worth more than one picture.
        return Thumbnail(reason=f"cannot be read again: {type(error).__name__}: {error}")


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
