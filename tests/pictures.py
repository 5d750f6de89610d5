"""Pictures, tars and samples for tests: procedural, no network, no shared data."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def draw(seed: int, *, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """A picture unlike those of other seeds: coarse coloured noise."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format_: str = "PNG", **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def sample(key: str, image: bytes, caption: str | None = None, extension: str = "png", **facts: str) -> list[tuple[str, bytes]]:
    """Members of one webdataset sample."""
    members = [(f"{key}.{extension}", image)]
    if caption is not None:
        members.append((f"{key}.txt", caption.encode()))
    if facts:
        members.append((f"{key}.json", json.dumps(facts).encode()))
    return members
