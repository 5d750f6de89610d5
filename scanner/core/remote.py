"""Any file system of fsspec that is not the local disk, made dependable: failures are tried again, nothing comes short.

Drivers differ in what they try again, in what they raise, and in whether a body that was cut is noticed. ``RemoteFileSystem``
stands before the driver, for this package, for DuckDB and for Arrow alike, and makes them one: requests are tried again
(``core.retry``), what came is held against the length that the store states, a question that fails is never answered with
"not there", and a folder that cannot be listed is an error and no empty folder.

An instance is made where it is used and pickles by its driver, which fsspec makes anew in another process: connections are
never shared over a fork.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import IO, Any, TypeVar

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractBufferedFile

from scanner.core.retry import retried
from scanner.core.urls import public, refuse_credentials

T = TypeVar("T")

OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf"})
"""Protocols whose drivers list a whole prefix at once and can be called from several threads."""
_WITHOUT_CACHE = OBJECT_STORES - {"hf"}
"""Whose listings are asked for anew each time: another process may have written. The hub's cache also keeps which repositories
there are, and is dropped by whatever is written."""
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "hf": "hf"}

_PART = re.compile(r"/part-\d+-[0-9a-f]{8}\.parquet$")
_MOST_PARTS = 100_000

BLOCK_BYTES = 2**20
"""Read ahead of what is asked for, by default: tables are read by columns, here and there."""
STREAM_BYTES = 16 * 2**20
"""Read ahead in a file that is read from its start to its end."""


def open_filesystem(url: str, *, may_be_signed: bool = False) -> tuple[AbstractFileSystem, str]:
    """The file system of a URL, and the path for it. Touches no file.

    Raises:
        ConfigError: the URL holds credentials.
        ImportError, ValueError: no driver answers to its protocol.
    """
    refuse_credentials(url, may_be_signed=may_be_signed)
    protocol = url.partition("://")[0] if "://" in url else "file"
    options = {"use_listings_cache": False} if protocol in _WITHOUT_CACHE else {}
    fs, path = fsspec.core.url_to_fs(url, **options)
    return (fs if isinstance(fs, LocalFileSystem) else RemoteFileSystem(fs)), str(path)


def driver_hint(url: str) -> str:
    """What to do where no driver answers to the protocol of a URL."""
    extra = _EXTRAS.get(url.partition("://")[0])
    if extra:
        return f"Install its driver: pip install 'trainscan[{extra}]'."
    return "Install the fsspec package of that protocol."


class RemoteFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """A driver, made dependable. Paths are those of the driver.

    Every method raises, besides FileNotFoundError and its like:

        ObjectError: the store refuses the object, or fails at it alone.
        UnreachableError: the store does not answer.

    Args:
        inner: the driver.
    """

    cachable = False

    def __init__(self, inner: AbstractFileSystem) -> None:
        super().__init__()
        self.inner = inner
        self.protocol = inner.protocol
        self.root_marker = inner.root_marker
        self._strip_protocol = inner._strip_protocol

    @property
    def name(self) -> str:
        """The protocol, as URLs have it."""
        return self.protocol if isinstance(self.protocol, str) else str(self.protocol[0])

    @property
    def is_object_store(self) -> bool:
        return self.name in OBJECT_STORES

    @property
    def is_concurrent(self) -> bool:
        """Whether requests may be made from several threads at once."""
        return bool(self.inner.async_impl) or self.name in {*OBJECT_STORES, "memory"}

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """The bytes of a file or of a range of it, all of them."""
        return self._tried(path, lambda: self._read(path, start, end, None, kwargs))

    def cat_whole(self, path: str, *, size: int) -> bytes:
        """The bytes of a file that was listed with ``size``: one request, where it has not changed since."""
        return self._tried(path, lambda: self._read(path, None, None, size, {}))

    def _read(self, path: str, start: int | None, end: int | None, size: int | None, options: dict[str, Any]) -> bytes:
        data: bytes = self.inner.cat_file(path, start=start, end=end, **options)
        is_range = start is not None and end is not None and 0 <= start <= end
        asked = end - start if is_range and start is not None and end is not None else size
        if len(data) == asked:
            return data
        size = (self._parts().get(self._strip_protocol(path)) or self.inner.info(path)).get("size")
        if size is None:
            return data
        expected = len(range(size)[slice(start, end)])
        if len(data) != expected:
            raise ConnectionResetError(f"{len(data):,} of {expected:,} bytes came")
        return data

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        parts, plain = self._parts(), self._strip_protocol(path)
        if plain in parts and not kwargs:
            return parts[plain]
        found: dict[str, Any] = self._tried(path, lambda: self.inner.info(path, **kwargs))
        if _PART.search(plain):
            parts[plain] = found
        return found

    def _parts(self) -> dict[str, dict[str, Any]]:
        """What is known of parts, by path without the protocol. Parts never change, and DuckDB asks for each several times a
        statement. Kept with the driver, which is one for all that ask."""
        known: dict[str, dict[str, Any]] = self.inner.__dict__.setdefault("_known_parts", {})
        if len(known) > _MOST_PARTS:
            known.clear()
        return known

    def _forget(self, path: str) -> None:
        self._parts().pop(self._strip_protocol(path), None)

    def exists(self, path: str, **kwargs: Any) -> bool:
        # fsspec's own takes every failure for "not there", and what is finished would be made again, or worse, overwritten.
        try:
            self.info(path, **kwargs)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def isfile(self, path: str) -> bool:
        return self._type(path) == "file"

    def isdir(self, path: str) -> bool:
        return self._type(path) == "directory"

    def _type(self, path: str) -> str | None:
        try:
            return str(self.info(path).get("type"))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        found: list[Any] = self._tried(path, lambda: self.inner.ls(path, detail=detail, **kwargs))
        return found

    def walk(self, path: str, maxdepth: int | None = None, topdown: bool = True, on_error: Any = "raise", **kwargs: Any) -> Any:
        # fsspec's own leaves a folder that cannot be listed out without a word.
        return super().walk(path, maxdepth=maxdepth, topdown=topdown, on_error=on_error, **kwargs)

    def find(self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **kwargs: Any) -> Any:
        if self.is_object_store:
            return self._tried(path, lambda: self.inner.find(path, maxdepth=maxdepth, withdirs=withdirs, detail=detail, **kwargs))
        return super().find(path, maxdepth=maxdepth, withdirs=withdirs, detail=detail, **kwargs)

    def glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> Any:
        if not any(sign in path for sign in "*?[") and not kwargs:
            return [self._strip_protocol(path)] if self.exists(path) else []
        return self._tried(path, lambda: self.inner.glob(path, maxdepth=maxdepth, **kwargs))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """Writes an object whole, by one PUT or one multipart upload: it is there when all of it is.

        Raises:
            FileExistsError: ``mode`` is ``create`` and the object is there, maybe by an earlier try whose answer was lost.
        """
        options = {**kwargs, "mode": mode} if mode != "overwrite" else kwargs
        self._forget(path)
        try:
            self._tried(path, lambda: self.inner.pipe_file(path, value, **options))
        except (FileExistsError, ConnectionError):
            raise
        except OSError as error:
            # Some drivers have no word of their own for a condition that does not hold.
            if mode == "create" and self.exists(path):
                raise FileExistsError(path) from error
            raise

    def put_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        self._forget(rpath)
        self._tried(rpath, lambda: self.inner.put_file(lpath, rpath, **kwargs))

    def rm_file(self, path: str) -> None:
        self._forget(path)
        self._tried(path, lambda: self.inner.rm_file(path))

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        self._parts().clear()
        self._tried(path, lambda: self.inner.rm(path, recursive=recursive, maxdepth=maxdepth))

    def put(self, lpath: str, rpath: str, recursive: bool = False, **kwargs: Any) -> None:
        self._parts().clear()
        self._tried(rpath, lambda: self.inner.put(lpath, rpath, recursive=recursive, **kwargs))

    def created(self, path: str) -> Any:
        return self._tried(path, lambda: self.inner.created(path))

    def modified(self, path: str) -> Any:
        return self._tried(path, lambda: self.inner.modified(path))

    def invalidate_cache(self, path: str | None = None) -> None:
        if path is None:
            self._parts().clear()
        else:
            self._forget(path)
        self.inner.invalidate_cache(path)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        cache_type: str = "readahead",
        **kwargs: Any,
    ) -> IO[bytes]:
        if mode == "rb":
            found = self.info(path)
            if found.get("type") == "directory":
                raise IsADirectoryError(path)
            is_ranged = bool(found.get("partial", not self.name.startswith("http")))
            if is_ranged and isinstance(size := found.get("size"), int):
                block = block_size or BLOCK_BYTES
                return RemoteFile(self, path, mode, block, cache_type=cache_type, cache_options=cache_options, size=size)
        file: IO[bytes] = self._tried(path, lambda: self.inner.open(path, mode, block_size=block_size, **kwargs))
        return file

    def _tried(self, path: str, call: Callable[[], T]) -> T:
        path = self._strip_protocol(path)
        return retried(call, what=public(f"{self.name}://{path.lstrip('/')}"), is_up=lambda: self._is_up(path))

    def _is_up(self, path: str) -> bool:
        """Whether the store answers to a question about the folder of an object that it failed at."""
        try:
            self.inner.info(posixpath.dirname(path.rstrip("/")) or path)
        except FileNotFoundError:
            return True
        except Exception:
            return False
        return True


class RemoteFile(AbstractBufferedFile):  # type: ignore[misc]
    """A file read by ranges, each of them tried again and whole."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        data: bytes = self.fs.cat_file(self.path, start, end)
        return data
