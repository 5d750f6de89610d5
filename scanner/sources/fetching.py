"""Many small requests to a distant store at once: files of a folder read ahead, prefixes listed side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from threading import local
from typing import TYPE_CHECKING, Any, TypeVar

from scanner.core.remote import RemoteFileSystem

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

A = TypeVar("A")
R = TypeVar("R")

THREADS = 16
"""Requests under way at once: a store answers each in tens of milliseconds, however many there are."""
_AHEAD_FILES = 64
_AHEAD_BYTES = 64 * 2**20
_MAX_PREFIXES = 1024
"""Above which a folder is listed in one go: a page of a flat listing holds a thousand names, a prefix maybe one."""


_here = local()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="fetch", initializer=lambda: setattr(_here, "is_fetching", True))


def _submit(call: Callable[..., R], *arguments: Any, **options: Any) -> Future[R]:
    """In a thread of the pool; at once where this is one: all waiting for work that none is left to do would never end."""
    if not getattr(_here, "is_fetching", False):
        return _threads().submit(call, *arguments, **options)
    done: Future[R] = Future()
    try:
        done.set_result(call(*arguments, **options))
    except BaseException as error:
        done.set_exception(error)
    return done


def is_slow(fs: AbstractFileSystem) -> bool:
    """Whether requests are worth making side by side, and may be."""
    return isinstance(fs, RemoteFileSystem) and fs.is_concurrent


def fetch(fs: AbstractFileSystem, files: Iterable[tuple[str, int]]) -> Iterator[bytes | Exception]:
    """The bytes of each (path, size) in order, or the error that stood in the way; of a distant store several at once, ahead.

    What a distant store gives is as long as was listed, or as the store says that the file is by now.
    """
    if not is_slow(fs):
        for path, size in files:
            try:
                yield fs.cat_whole(path, size=size) if isinstance(fs, RemoteFileSystem) else Path(path).read_bytes()
            except OSError as error:
                yield error
        return
    yield from ahead(lambda file: fs.cat_whole(file[0], size=file[1]), files, size_of=lambda file: file[1])


def ahead(call: Callable[[A], R], items: Iterable[A], *, size_of: Callable[[A], int]) -> Iterator[R | Exception]:
    """What ``call`` gives for each item, in order, or the OSError that it raised; so many items, or bytes, are under way."""
    waiting: deque[tuple[int, Future[R]]] = deque()
    num_bytes = 0
    try:
        for item in items:
            size = size_of(item)
            while waiting and (len(waiting) == _AHEAD_FILES or num_bytes + size > _AHEAD_BYTES):
                num_bytes -= waiting[0][0]
                yield _outcome(waiting.popleft()[1])
            waiting.append((size, _submit(call, item)))
            num_bytes += size
        while waiting:
            yield _outcome(waiting.popleft()[1])
    finally:
        for _, future in waiting:
            future.cancel()


def _outcome(future: Future[Any]) -> Any:
    try:
        return future.result()
    except OSError as error:
        return error


def find_all(fs: AbstractFileSystem, root: str) -> list[dict[str, Any]]:
    """What lies below a folder of a distant store, folders included; those directly in it are listed side by side."""
    if not (isinstance(fs, RemoteFileSystem) and fs.is_object_store):
        return list(fs.find(root, withdirs=True, detail=True).values())
    found = [info for info in fs.ls(root, detail=True) if info["name"].rstrip("/") != root]
    prefixes = [info["name"].rstrip("/") for info in found if info.get("type") == "directory"]
    if len(prefixes) == len(found) == 1:
        return [*found, *find_all(fs, prefixes[0])]
    if len(prefixes) > _MAX_PREFIXES:
        return list(fs.find(root, withdirs=True, detail=True).values())
    listings = [_submit(fs.find, prefix, withdirs=True, detail=True) for prefix in prefixes]
    by_name = {info["name"].rstrip("/"): info for info in found}
    for listing in listings:
        by_name.update((info["name"].rstrip("/"), info) for info in listing.result().values())
    return list(by_name.values())
