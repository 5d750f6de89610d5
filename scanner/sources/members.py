"""What the files of a sample are called in a tar, for sources that are none: image, ``.txt`` with the caption, ``.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from scanner.sources.base import Member, Sample
from scanner.sources.fields import clean_text, clean_text_file, read_record
from scanner.sources.names import IMAGE_EXTENSIONS, extension

_MAGIC = {
    "jpg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n", "gif": b"GIF8", "bmp": b"BM", "tif": b"II*\0", "tiff": b"MM\0*",
}  # fmt: skip


def image_suffix(name: str, data: bytes) -> str:
    """The extension of a file's name where that is one of an image, else that of its first bytes, else ``jpg``.

    Decoders go by the content whatever the name says, but readers of tars tell images by their names.
    """
    if (suffix := extension(name)) in IMAGE_EXTENSIONS:
        return suffix
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((suffix for suffix, magic in _MAGIC.items() if data.startswith(magic)), "jpg")


def sample_members(sample: Sample, *, file_name: str = "", record: Mapping[str, Any] | None = None) -> tuple[Member, ...]:
    """The members of a sample that is not kept as such.

    Args:
        file_name: of the image where it has one, for the extension; else the key.
        record: what goes into the ``.json``; the fields of the sample if left out.
    """
    members = []
    if sample.data is not None:
        members.append(Member(suffix=image_suffix(file_name or sample.key, sample.data), data=sample.data))
    if sample.caption is not None:
        members.append(caption_member(sample.caption))
    return (*members, record_member(record if record is not None else sample_record(sample)))


def caption_member(caption: str) -> Member:
    """A ``.txt`` that reads as ``caption``: one that ends in a newline gets another, which readers take for the editor's."""
    data = caption.encode()
    return Member(suffix="txt", data=data if clean_text_file(data) == caption else data + b"\n")


def tell_caption(members: Iterable[Member]) -> bool:
    """Whether a ``.txt`` or ``.json`` among them has a caption."""
    for member in members:
        if member.suffix.lower() == "txt" and clean_text_file(member.data) is not None:
            return True
        if member.suffix.lower() == "json" and clean_text((read_record(member.data) or {}).get("caption")) is not None:
            return True
    return False


def sample_record(sample: Sample) -> dict[str, Any]:
    """What is known of a sample, as img2dataset names it."""
    fields = {
        "key": sample.key, "caption": sample.caption, "url": sample.url, "width": sample.width, "height": sample.height,
        "sha256": sample.sha256.hex() if sample.sha256 else None,
    }  # fmt: skip
    return {name: value for name, value in fields.items() if value is not None}


def record_member(record: Mapping[str, Any]) -> Member:
    """A ``.json`` of one object, what JSON cannot hold made plain: bytes in hexadecimal digits, dates as text, NaN as null."""
    plain = {name: _plain(value) for name, value in record.items()}
    return Member(suffix="json", data=json.dumps(plain, ensure_ascii=False).encode("utf-8", "replace"))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def chosen(numbered: Iterable[tuple[int, Any]], rows: Iterable[int]) -> Iterator[tuple[int, Any]]:
    """Of rows that come in order those whose numbers are in ``rows`` (ascending); ends with the last of them."""
    wanted = iter(rows)
    row = next(wanted, None)
    for number, value in numbered:
        while row is not None and row < number:
            row = next(wanted, None)
        if row is None:
            return
        if number == row:
            yield number, value
            row = next(wanted, None)
            if row is None:
                return
