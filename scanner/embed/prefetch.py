"""Overlap of two loops: one prepares while the other encodes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class _End:
    """No more items; ``error`` is why, None where the iterator simply ended."""

    error: BaseException | None


def prefetch(items: Generator[T], *, depth: int) -> Iterator[T]:
    """Yields what ``items`` yields, drawn by a thread that runs up to ``depth`` items ahead.

    An exception of ``items`` is raised here, in its place. Closing this generator stops the thread and closes ``items``.
    """
    ready: queue.Queue[_Item[T] | _End] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: _Item[T] | _End) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def draw() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not put(_Item(item)):
                    break
        except BaseException as raised:  # handed to the consumer, whatever it is
            error = raised
        finally:
            items.close()
        put(_End(error))

    thread = threading.Thread(target=draw, name="prefetch", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item.value
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        thread.join()
