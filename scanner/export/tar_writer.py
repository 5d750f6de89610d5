"""Tars that depend on nothing but the samples in them: GNU format, every member with time 0, owner 0 and mode 644."""

from __future__ import annotations

import tarfile
from typing import IO

from scanner.sources.base import Member
from scanner.sources.tar_stream import BLOCK

END_BYTES = tarfile.RECORDSIZE
"""A tar is filled with zeros to a multiple of this, as tar programs do; two blocks of them mark its end."""


class TarWriter:
    """Writes samples to ``file``, which is never read or sought in."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._num_bytes = 0

    def add(self, key: str, members: tuple[Member, ...]) -> None:
        """One sample: its members follow one another, each called ``<key>.<suffix>``."""
        for member in members:
            info = tarfile.TarInfo(f"{key}.{member.suffix}")
            info.size, info.mode = len(member.data), 0o644
            self._write(info.tobuf(format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"))
            self._write(member.data)
            self._write(bytes(-len(member.data) % BLOCK))

    def finish(self) -> None:
        """Writes the end of the archive."""
        self._write(bytes(2 * BLOCK))
        self._write(bytes(-self._num_bytes % END_BYTES))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._num_bytes += len(data)
