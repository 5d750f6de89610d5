"""The other side of ``core.engine``: what runs in a worker process, and the limits it puts on itself."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from scanner.core.frames import FrameReader, encode, write_all

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def serve(tasks: Connection, results: Connection, calls: bytes, memory_bytes: int, orphan_s: float) -> None:
    """Body of a worker process: answer items until the parent closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C reaches the whole process group; the parent decides
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    with suppress(BrokenPipeError):
        try:
            fn, setup = cast("tuple[Callable[[object], object], Callable[[], None] | None]", pickle.loads(calls))
            if setup is not None:
                setup()
            _limit_memory(memory_bytes)
        except BaseException:
            write_all(results.fileno(), encode(("setup", traceback.format_exc())))
            return
        write_all(results.fileno(), encode(("ready",)))
        reader = FrameReader(tasks.fileno())
        while True:
            try:
                answer = _answer(fn, reader, orphan_s)
            except EOFError:
                return
            except MemoryError:
                answer = None
            # Outside the handler, where the traceback no longer holds what filled the memory.
            write_all(results.fileno(), encode(("memory",)) if answer is None else answer)
            if answer is None:
                return


def _answer(fn: Callable[[object], object], reader: FrameReader, orphan_s: float) -> list[memoryview]:
    """Read one item and encode its result.

    Raises:
        EOFError: no more items.
        MemoryError: reading, working or encoding went over the limit.
    """
    frame = reader.read()
    assert frame is not None, "a worker's pipe blocks"
    # Nobody is left to kill a hung worker whose parent was killed: the alarm's default action does, even inside C code.
    signal.setitimer(signal.ITIMER_REAL, orphan_s)
    try:
        return encode(("ok", fn(pickle.loads(frame[0], buffers=frame[1:]))))
    except MemoryError:
        raise
    except BaseException as error:
        return encode(("error", f"{type(error).__name__}: {error}", traceback.format_exc()))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit_memory(memory_bytes: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return
    num_pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = num_pages * resource.getpagesize() + memory_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
