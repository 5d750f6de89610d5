"""A take-down list of perceptual hashes: a text file, one a line, as people hand them on. What cannot be read is told by line.

A line is a hash in hex digits, 16 for a pHash of 64 bits or 64 for PDQ of 256, alone or as a field among others separated by
commas, tabs or semicolons. A quality of PDQ from 0 to 100 may stand beside it. So these are read: a bare list; the output of the
tools of Meta's ThreatExchange (``hash,quality,file`` and ``hash=…,quality=…``); CSV under a header that names columns ``hash``
(or ``pdq``, ``pdq_hash``, ``phash``) and ``quality``. Empty lines and lines that begin with ``#`` say nothing.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import SourceError
from scanner.core.remote import open_filesystem

HashKind = Literal["phash", "pdq"]

DIGITS: dict[int, HashKind] = {16: "phash", 64: "pdq"}
"""Hex digits of each kind."""
MAX_LINE = 1 << 16
"""Bytes of a line; a longer one is unusable, and never in memory."""
MAX_TOLD = 20
"""Unusable lines that are told one by one."""
_HASH_COLUMNS = ("hash", "pdq", "pdq_hash", "phash", "hash_value", "value", "indicator")
_QUALITY_COLUMNS = ("quality", "pdq_quality")
_SHOWN = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Unusable:
    """A line, counted from 1, and why it cannot be used."""

    line: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HashList:
    """The hashes of a list.

    Attributes:
        kind: of all of them.
        words: uint64 (m, 1) or (m, 4), the highest bits first.
        line: int64 (m,) from 1.
        text: each as it was given.
        unusable: lines that are no hash of this kind, or of too low a quality.
    """

    kind: HashKind
    words: NDArray[np.uint64]
    line: NDArray[np.int64]
    text: list[str]
    unusable: tuple[Unusable, ...]

    def told(self, where: str) -> list[str]:
        """What a person should know of the unusable lines."""
        if not self.unusable:
            return []
        rest = len(self.unusable) - MAX_TOLD
        return [
            f"{where}: {len(self.unusable):,} lines cannot be used:",
            *(f"  line {one.line:,}: {one.reason}" for one in self.unusable[:MAX_TOLD]),
            *([f"  and {rest:,} more"] if rest > 0 else []),
        ]


def read_hash_list(url: str, *, min_quality: int) -> HashList:
    """The list at any fsspec URL. Its first hash says which kind it is of.

    Args:
        min_quality: of PDQ, below which a hash is unusable where the list tells its quality.

    Raises:
        SourceError: it cannot be read, or holds no hash.
    """
    try:
        fs, path = open_filesystem(url, may_be_signed=True)
        with fs.open(path, "rb") as file:
            return _parse(_lines(file), url, min_quality)
    except (OSError, ValueError, ImportError) as error:
        raise SourceError(
            f"The list of hashes {url!r} cannot be read: {error}.", next_step="Give a text file with a hash a line."
        ) from error


def _lines(file: IO[bytes]) -> Iterator[tuple[int, str | None]]:
    """Number and text of each line; None for one that is too long."""
    number = 0
    while chunk := file.readline(MAX_LINE + 1):
        number += 1
        is_long = len(chunk) > MAX_LINE
        while is_long and not chunk.endswith(b"\n") and (chunk := file.readline(MAX_LINE)):
            pass
        yield number, None if is_long else chunk.decode("utf-8-sig" if number == 1 else "utf-8", "replace").strip()


def _parse(lines: Iterator[tuple[int, str | None]], url: str, min_quality: int) -> HashList:
    kind: HashKind | None = None
    columns: dict[str, int] | None = None
    texts, numbers, values, unusable = [], [], [], []
    is_first = True
    for number, text in lines:
        if text is None:
            unusable.append(Unusable(line=number, reason=f"longer than {MAX_LINE:,} bytes"))
            continue
        if not text or text.startswith("#"):
            continue
        fields = _fields(text)
        header = _header(fields) if is_first else None
        is_first = False
        if header is not None:
            columns = header
            continue
        found, quality = _hash_and_quality(fields, columns)
        reason = _why_unusable(found, quality, kind, min_quality)
        if reason:
            unusable.append(Unusable(line=number, reason=reason))
            continue
        kind = kind or DIGITS[len(found)]
        texts.append(found)
        numbers.append(number)
        values.append(int(found, 16))
    if kind is None:
        first = f" Line {unusable[0].line}: {unusable[0].reason}." if unusable else " It is empty."
        raise SourceError(
            f"The list of hashes {url!r} holds no hash that can be used.{first}",
            next_step="A hash has 16 hex digits (pHash of 64 bits) or 64 (PDQ of 256 bits), one a line.",
        )
    width = {"phash": 1, "pdq": 4}[kind]
    data = b"".join(value.to_bytes(8 * width, "big") for value in values)
    return HashList(
        kind=kind,
        words=np.frombuffer(data, ">u8").astype(np.uint64).reshape(-1, width),
        line=np.array(numbers, np.int64),
        text=texts,
        unusable=tuple(unusable),
    )


def _fields(text: str) -> list[str]:
    separator = next((sign for sign in (",", "\t", ";") if sign in text), None)
    try:
        fields = next(csv.reader([text], delimiter=separator), []) if separator else text.split()
    except csv.Error:  # a control character within
        fields = [text]
    return [field.strip() for field in fields]


def _header(fields: list[str]) -> dict[str, int] | None:
    """Position of the columns by name, if this is a header."""
    names = [field.lower() for field in fields]
    hashes = [names.index(name) for name in _HASH_COLUMNS if name in names]
    if not hashes:
        return None
    qualities = [names.index(name) for name in _QUALITY_COLUMNS if name in names]
    return {"hash": hashes[0]} | ({"quality": qualities[0]} if qualities else {})


def _hash_and_quality(fields: list[str], columns: dict[str, int] | None) -> tuple[str, int | None]:
    """The field that should be the hash, and the quality beside it if there is one."""
    named = {key.strip().lower(): value.strip() for key, equals, value in (field.partition("=") for field in fields) if equals}
    if columns is not None:
        found = fields[columns["hash"]] if columns["hash"] < len(fields) else ""
        told = fields[columns["quality"]] if columns.get("quality", len(fields)) < len(fields) else ""
    else:
        found = next((named[name] for name in _HASH_COLUMNS if name in named), fields[0] if fields else "")
        told = named.get("quality") or (fields[1] if len(fields) > 1 else "")
    found = re.sub(r"^(?:pdq|phash)[:=]", "", found.strip("'\""), flags=re.IGNORECASE)
    return re.sub(r"^0x", "", found, flags=re.IGNORECASE), _quality(told)


def _quality(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,3}", text) and int(text) <= 100 else None


def _why_unusable(found: str, quality: int | None, kind: HashKind | None, min_quality: int) -> str:
    """Empty where the hash can be used."""
    if not re.fullmatch(r"[0-9a-fA-F]+", found) or len(found) not in DIGITS:
        shown = ascii(found if len(found) <= _SHOWN else found[:_SHOWN] + "…")
        return f"{shown} is no hash of 16 or 64 hex digits"
    own = DIGITS[len(found)]
    if kind is not None and own != kind:
        return f"a hash of {4 * len(found)} bits in a list of hashes of {256 if kind == 'pdq' else 64}"
    if own == "pdq" and quality is not None and quality < min_quality:
        return f"quality {quality} is below {min_quality} (leak.min_pdq_quality)"
    return ""
