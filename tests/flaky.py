"""A file system in memory that fails on demand, as drivers of object stores do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class HTTPClientError(Exception):
    """As botocore raises: of no class that Python knows."""


HTTPClientError.__module__ = "botocore.exceptions"


class FlakyFileSystem(MemoryFileSystem):
    """``flaky://``. ``fault(operation, path, number)`` may raise, or give bytes in place of those read; number counts from 1."""

    protocol = "flaky"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list] = [""]
    fault: ClassVar[Callable[[str, str, int], bytes | None]] = staticmethod(lambda operation, path, number: None)
    calls: ClassVar[Counter] = Counter()

    @classmethod
    def reset(cls) -> None:
        cls.store.clear()
        cls.pseudo_dirs[:] = [""]
        cls.calls.clear()
        cls.fault = staticmethod(lambda operation, path, number: None)

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("flaky://", "memory://", 1))

    def _meet(self, operation: str, path: str) -> bytes | None:
        type(self).calls[operation, path] += 1
        return type(self).fault(operation, path, type(self).calls[operation, path])

    def cat_file(self, path, start=None, end=None, **kwargs):
        path = self._strip_protocol(path)
        data = self._meet("read", path)
        return super().cat_file(path, start=start, end=end, **kwargs) if data is None else data

    def info(self, path, **kwargs):
        self._meet("info", self._strip_protocol(path))
        return super().info(path, **kwargs)

    def ls(self, path, detail=True, **kwargs):
        self._meet("list", self._strip_protocol(path))
        return super().ls(path, detail=detail, **kwargs)

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        path = self._strip_protocol(path)
        self._meet("write", path)
        super().pipe_file(path, value, mode=mode, **kwargs)
        self._meet("written", path)


fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
