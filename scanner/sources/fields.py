"""The fields of a sample, made safe: whatever a source holds becomes valid text, a digest or a size, or nothing."""

from __future__ import annotations

import json
import math

MAX_TEXT_BYTES = 16 * 2**20
"""A caption or record file larger than this is not read; the sample goes without it and the source notes it."""

_REPLACEMENT = "\ufffd"


def clean_text(value: object) -> str | None:
    """Text as valid UTF-8 without NUL, otherwise unchanged; None where nothing is left to read.

    Undecodable bytes, lone surrogates and NUL become U+FFFD. A byte order mark belongs to the encoding and goes. Text of
    white space alone counts as none. Values that are not text (numbers, lists) are no captions: None.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8-sig", "replace")
    if not isinstance(value, str):
        return None
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if "\0" in value:
        value = value.replace("\0", _REPLACEMENT)
    return value if value and not value.isspace() else None


def clean_text_file(data: bytes) -> str | None:
    """The content of a ``.txt`` file: as ``clean_text``, without the newline that editors put at the end."""
    text = clean_text(data)
    return clean_text(text.removesuffix("\n").removesuffix("\r")) if text else None


def clean_key(value: object) -> str:
    """A name as text that every table can hold; names in tars and file systems are bytes of any kind."""
    return clean_text(value if isinstance(value, (str, bytes)) else str(value)) or ""


def read_sha256(value: object) -> bytes | None:
    """32 bytes from a digest written as 64 hexadecimal digits or as raw bytes; None for anything else."""
    if isinstance(value, bytes):
        if len(value) == 32:
            return value
        value = value.decode("ascii", "replace")
    if isinstance(value, str) and len(value) == 64:
        try:
            return bytes.fromhex(value)
        except ValueError:
            return None
    return None


def read_pixels(value: object) -> int | None:
    """A width or height in pixels; None for zero, negative, absurd or non-numeric values, which real sets contain."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float):
        if not math.isfinite(value) or value != int(value):
            return None
        value = int(value)
    return value if 0 < value < 2**31 else None


def read_record(data: bytes | str) -> dict[str, object] | None:
    """A JSON object, or None where the text is not one (broken, nested too deeply, a list)."""
    text = data.decode("utf-8-sig", "replace") if isinstance(data, bytes) else data
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
