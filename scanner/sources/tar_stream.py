"""Members of a tar, front to back, each byte read once, nothing ever written to disk.

The standard library's tarfile takes several times as long for a member and does not tell an early end at a member's border
from a proper one. This reader knows the formats that occur: v7, ustar, GNU long names and pax.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

BLOCK = 512
_CHUNK = 2**20
_MAX_EXTENSION_BYTES = 2**20
_ZEROS = bytes(BLOCK)
_REGULAR = frozenset(b"0\0007")
_KINDS = {ord("1"): "hard link", ord("2"): "symbolic link", ord("3"): "device", ord("4"): "device", ord("5"): "directory",
          ord("6"): "named pipe", ord("S"): "sparse file"}  # fmt: skip
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = ord("L"), ord("K"), ord("x"), ord("g")


class TarBreak(Exception):
    """The tar cannot be read on from ``offset``."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"{reason} at byte {offset:,}")
        self.offset = offset
        self.reason = reason


@dataclass(kw_only=True, slots=True)
class TarMember:
    """One member: ``offset`` and ``size`` of its data in bytes; ``problem`` names what it is where it is no regular file."""

    name: str
    offset: int
    size: int
    problem: str | None


class TarStream:
    """Reads ``file`` (positioned at its start) member by member.

    ``next_member`` skips what was not taken of the one before. Sizes are claims: no memory is reserved for bytes that
    are not there.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._buffer = b""
        self._position = 0
        self._start = 0
        self._member_end = 0

    @property
    def offset(self) -> int:
        return self._start + self._position

    def next_member(self) -> TarMember | None:
        """The next member, None at the end-of-archive marker.

        Raises:
            TarBreak: the tar ends or turns into something else before its marker.
        """
        name = size = None
        sparse = False
        while True:
            self._skip_to(self._member_end)
            start = self.offset
            block = self._take(BLOCK)
            if len(block) < BLOCK:
                if start == 0 and not block:
                    raise TarBreak(0, "the file is empty")
                raise TarBreak(start, "it ends inside a header" if block else "it ends without the end-of-archive marker")
            if block == _ZEROS:
                return None
            if not _checksum_fits(block):
                raise TarBreak(start, "no tar header stands" if start else "it is no tar: no header stands")
            kind = block[156]
            claimed = _number(block[124:136])
            if claimed is None:
                raise TarBreak(start, "a header without a valid size stands")
            if kind in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL):
                if claimed > _MAX_EXTENSION_BYTES:
                    raise TarBreak(start, f"an extended header of {claimed:,} bytes stands")
                body = self._take(claimed)
                if len(body) < claimed:
                    raise TarBreak(self.offset, "it ends inside an extended header")
                self._member_end = _padded(start + BLOCK + claimed)
                if kind == _LONG_NAME:
                    name = _text(body.split(b"\0", 1)[0])
                elif kind == _PAX:
                    records = _pax_records(body)
                    if records is None:
                        raise TarBreak(start, "an extended header that cannot be read stands")
                    if b"path" in records:
                        name = _text(records[b"path"])
                    if b"size" in records:
                        size = _decimal(records[b"size"])
                        if size is None:
                            raise TarBreak(start, "an extended header with an invalid size stands")
                    sparse = any(key.startswith(b"GNU.sparse.") for key in records)
                continue
            if size is None:
                size = claimed
            if kind == ord("S"):
                self._skip_sparse_map(block)
            if name is None:
                name = _header_name(block)
            problem = _KINDS.get(kind)
            if sparse:
                problem = "sparse file"
            elif problem is None and name.endswith("/"):
                problem = "directory"
            elif problem is None and kind not in _REGULAR:
                problem = f"member of the unknown type {chr(kind)!r}"
            if kind in b"123456":  # links and devices have no data, whatever size they state
                size = 0
            offset = self.offset
            self._member_end = _padded(offset + size)
            return TarMember(name=name, offset=offset, size=size, problem=problem)

    def data(self, member: TarMember) -> bytes:
        """The data of the member just returned; shorter than ``member.size`` where the tar is cut."""
        assert self.offset == member.offset, "a member's data is read once, before the next member"
        return self._take(member.size)

    def rest_is_zero(self) -> bool:
        """Whether nothing but padding follows the end-of-archive marker."""
        while chunk := self._take(_CHUNK):
            if chunk.count(0) != len(chunk):
                return False
        return True

    def _take(self, size: int) -> bytes:
        """``size`` bytes, fewer only at the end of the file."""
        end = self._position + size
        if end <= len(self._buffer):
            data = self._buffer[self._position : end]
            self._position = end
            return data
        pieces = [self._buffer[self._position :]]
        missing = size - len(pieces[0])
        self._start += len(self._buffer)
        self._buffer, self._position = b"", 0
        while missing > 0:
            chunk = self._file.read(_CHUNK)
            if not chunk:
                break
            if len(chunk) > missing:
                self._buffer, self._position = chunk, missing
                pieces.append(chunk[:missing])
                break
            self._start += len(chunk)
            pieces.append(chunk)
            missing -= len(chunk)
        return b"".join(pieces)

    def _skip_to(self, end: int) -> None:
        while (left := end - self.offset) > 0:
            if not self._take(min(left, _CHUNK)):
                raise TarBreak(self.offset, f"it ends {left:,} bytes before the end of a member")

    def _skip_sparse_map(self, block: bytes) -> None:
        is_extended = block[482] != 0
        while is_extended:
            block = self._take(BLOCK)
            if len(block) < BLOCK:
                raise TarBreak(self.offset, "it ends inside a header")
            is_extended = block[504] != 0


def _padded(offset: int) -> int:
    return (offset + BLOCK - 1) // BLOCK * BLOCK


def _checksum_fits(block: bytes) -> bool:
    stored = _number(block[148:156])
    if stored is None:
        return False
    checksum = sum(block) - sum(block[148:156]) + 8 * 32
    if stored == checksum:
        return True
    # tars of the 1980s and some libraries summed signed bytes
    high = sum(byte >= 128 for byte in block[:148]) + sum(byte >= 128 for byte in block[156:])
    return stored == checksum - 256 * high


def _number(field: bytes) -> int | None:
    """Octal digits, or GNU's base 256 where the first bit is set; None for anything else or negative."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip()
    try:
        value = int(digits, 8) if digits else 0
    except ValueError:
        return None
    return value if value >= 0 else None


def _decimal(digits: bytes) -> int | None:
    return int(digits) if digits.isdigit() and len(digits) < 20 else None


def _header_name(block: bytes) -> str:
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0":
        prefix = block[345:500].split(b"\0", 1)[0]
        if prefix:
            name = prefix + b"/" + name
    return _text(name)


def _pax_records(body: bytes) -> dict[bytes, bytes] | None:
    """``"%d key=value\\n"`` records, the number being the length of the record; None where one is malformed."""
    records = {}
    position = 0
    while position < len(body) and body[position]:
        digits, space, _ = body[position : position + 10].partition(b" ")
        length = _decimal(digits) if space else None
        if not length or position + length > len(body) or body[position + length - 1] != ord("\n"):
            return None
        key, equals, value = body[position + len(digits) + 1 : position + length - 1].partition(b"=")
        if not equals:
            return None
        records[key] = value
        position += length
    return records


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
