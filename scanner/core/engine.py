"""A pool of worker processes that outlives what its tasks do to it: hangs, crashes and runaway memory.

``WorkerPool`` maps a function over items. Each worker is forked from a clean server process that has the heavy modules
imported already (plain ``fork`` of a process that runs torch or OpenMP threads can deadlock), so a replacement is ready in
milliseconds. A worker answers its items one by one, so when it dies the first unanswered item is the one to blame; those
queued behind it were never begun and go to another worker.

Items and results travel through pipes as pickles of protocol 5, arrays beside the pickle and not inside it. The parent's
ends never block: a few items wait in each worker's pipe, and the caller's thread runs the loop that feeds them.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import selectors
import signal
import sys
import threading
import time
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, Self, TypeVar, cast

from scanner.core.frames import FrameReader, encode, write_some
from scanner.core.memory import peak_memory_bytes
from scanner.core.worker import serve

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

In = TypeVar("In")
Out = TypeVar("Out")

FailureReason = Literal["crashed", "timeout", "memory", "error"]

QUEUED_PER_WORKER = 2
"""Items given to a worker at a time: one it works on, the next waits in its pipe."""
WINDOW_PER_WORKER = 3
"""Items a worker that are in flight or done and not yet yielded: what bounds the memory of ``map``."""

_PIPE_BYTES = 1 << 20  # the default of 64 KiB holds no image, so that a worker would wait for the parent
_MAX_FAILED_STARTS = 3
_START_TIMEOUT_S = 120.0
_ORPHAN_GRACE_S = 10.0
_main_swap = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskFailure(Generic[In]):
    """An item that has no result.

    Attributes:
        item: as it was given to ``map``.
        reason: ``crashed`` (its worker died), ``timeout``, ``memory`` (more than the limit) or ``error`` (the function raised).
        message: one line; for ``error`` the exception's type and text.
        traceback: of the worker, where the function raised.
    """

    item: In
    reason: FailureReason
    message: str
    traceback: str | None = None


class WorkerPool(Generic[In, Out]):
    """Maps ``fn`` over items in worker processes with a time limit per item and a memory limit per worker.

    POSIX only. The memory limit needs Linux; elsewhere it is not enforced. Not to be shared between threads, though it may
    be driven from any one of them.

    Args:
        fn: picklable by reference: a function at the top of an importable module, or a ``functools.partial`` of one.
        workers: number of processes.
        timeout_s: seconds of wall clock an item may take before its worker is killed.
        memory_bytes: address space a worker may take on top of what it has once ``setup`` has run.
        preload: modules that the server imports once, so that workers start with them. The server is one a process: of
            two pools with different ``preload`` the second's workers import what is missing themselves.
        setup: called once in each new worker, before the memory limit is set. Picklable like ``fn``.

    Raises:
        ValueError: a limit is not positive.
        TypeError: ``fn`` or ``setup`` cannot be pickled, or lives in ``__main__``, which workers do not import.
    """

    def __init__(
        self,
        fn: Callable[[In], Out],
        *,
        workers: int,
        timeout_s: float,
        memory_bytes: int,
        preload: tuple[str, ...] = (),
        setup: Callable[[], None] | None = None,
    ) -> None:
        if workers < 1 or timeout_s <= 0 or memory_bytes <= 0:
            raise ValueError(f"workers, timeout_s and memory_bytes must be positive, got {workers}, {timeout_s}, {memory_bytes}")
        self._calls = _pickle_calls(fn, setup)
        self.timeout_s = timeout_s
        self.memory_bytes = memory_bytes
        self._num_workers = workers
        has_forkserver = "forkserver" in multiprocessing.get_all_start_methods()
        self._context = multiprocessing.get_context("forkserver" if has_forkserver else "spawn")
        if preload:
            self._context.set_forkserver_preload(list(preload))
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker[In]] = []
        self._backlog: deque[_Task[In]] = deque()
        self._failed_starts = 0
        self._is_mapping = False
        self._is_closed = False

    def __enter__(self) -> Self:
        self._start_workers()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill every worker. The pool cannot be used afterwards."""
        self._kill_workers()
        self._selector.close()
        self._is_closed = True

    def peak_memory_bytes(self) -> int:
        """Highest resident memory of any worker alive now, over its life; 0 where the system does not tell."""
        return max((peak_memory_bytes(pid) for pid in self.pids()), default=0)

    def pids(self) -> list[int]:
        """Process ids of the workers alive now."""
        return [worker.process.pid for worker in self._workers if worker.process.pid is not None]

    def map(self, items: Iterable[In]) -> Iterator[Out | TaskFailure[In]]:
        """Results in the order of ``items``, which are pulled lazily, ``WINDOW_PER_WORKER`` a worker ahead at most.

        The loop runs while the caller waits for the next result; workers go on with what is queued while it does not.
        Leaving the iterator early kills the workers that are still busy.

        Raises:
            RuntimeError: the workers cannot start (with the traceback), or another ``map`` of this pool is under way.
        """
        if self._is_closed:
            raise RuntimeError("the pool is closed")
        if self._is_mapping:
            raise RuntimeError("one map at a time: this pool is still mapping other items")
        self._is_mapping = True
        source = iter(items)
        is_exhausted = False
        window: deque[_Task[In]] = deque()
        try:
            while True:
                while not is_exhausted and len(window) < WINDOW_PER_WORKER * self._num_workers:
                    try:
                        task = _Task(next(source))
                    except StopIteration:
                        is_exhausted = True
                        break
                    window.append(task)
                    self._backlog.append(task)
                    if len(self._backlog) == 1:  # else every worker has its fill
                        self._step(block=False)
                if not window:
                    return
                self._step(block=not window[0].is_done)
                # One result at a time, so that an item is pulled and the workers are fed for each that leaves.
                if window[0].is_done:
                    yield cast("Out | TaskFailure[In]", window.popleft().outcome)
        finally:
            self._is_mapping = False
            self._backlog.clear()
            if window:
                self._kill_workers()

    def _step(self, *, block: bool) -> None:
        """Move what can be moved; if ``block``, wait until something happened."""
        self._start_workers()
        self._assign()
        timeout = 0.0
        if block:
            deadlines = [w.deadline(self.timeout_s) for w in self._workers if w.queue or not w.is_ready]
            timeout = max(0.0, min(deadlines) - time.monotonic()) if deadlines else -1.0
        for key, events in self._selector.select(None if timeout < 0 else timeout):
            worker = cast("_Worker[In]", key.data)
            if worker not in self._workers:  # retired a moment ago
                continue
            if events & selectors.EVENT_WRITE:
                self._send(worker)
            if events & selectors.EVENT_READ:
                self._receive(worker)
        now = time.monotonic()
        for worker in [w for w in self._workers if w.deadline(self.timeout_s) <= now and (w.queue or not w.is_ready)]:
            if not worker.is_ready:
                raise RuntimeError(f"a worker process did not start within {_START_TIMEOUT_S:g} s")
            self._retire(worker, "timeout", f"took longer than {self.timeout_s:g} s")
        self._assign()

    def _assign(self) -> None:
        """Give waiting items to the workers with the shortest queues."""
        while self._backlog:
            ready = [worker for worker in self._workers if worker.is_ready and len(worker.queue) < QUEUED_PER_WORKER]
            if not ready:
                return
            worker = min(ready, key=lambda w: len(w.queue))
            task = self._backlog.popleft()
            if not worker.queue:
                worker.last_progress = time.monotonic()
            worker.queue.append(task)
            worker.outbox.extend(encode(task.item))
            self._send(worker)

    def _send(self, worker: _Worker[In]) -> None:
        with suppress(BrokenPipeError):  # it died: the end of its results tells
            if write_some(worker.tasks.fileno(), worker.outbox):
                worker.last_progress = time.monotonic()
        is_registered = worker.is_writing
        worker.is_writing = bool(worker.outbox)
        if worker.is_writing and not is_registered:
            self._selector.register(worker.tasks, selectors.EVENT_WRITE, worker)
        elif is_registered and not worker.is_writing:
            self._selector.unregister(worker.tasks)

    def _receive(self, worker: _Worker[In]) -> None:
        while True:
            try:
                frame = worker.reader.read()
            except EOFError:
                return self._bury(worker)
            if worker.reader.has_moved:
                worker.last_progress = time.monotonic()
            if frame is None:
                return None
            kind, *rest = cast("tuple[str, object]", pickle.loads(frame[0], buffers=frame[1:]))
            if kind == "ready":
                worker.is_ready = True
                self._failed_starts = 0
            elif kind == "setup":
                raise RuntimeError(f"a worker process could not start:\n{rest[0]}")
            elif kind == "memory":
                return self._retire(worker, "memory", f"needed more than {self.memory_bytes / 2**30:.2f} GiB of memory")
            elif kind == "error":
                task = worker.queue.popleft()
                message, trace = cast("tuple[str, str]", tuple(rest))
                task.finish(TaskFailure(item=task.item, reason="error", message=message, traceback=trace))
            else:
                worker.queue.popleft().finish(rest[0])

    def _bury(self, worker: _Worker[In]) -> None:
        """A worker's results ended without being asked to."""
        worker.process.join(5.0)
        code = worker.process.exitcode
        how = f"exit code {code}"
        if code is not None and code < 0:
            how = f"signal {-code}"
            with suppress(ValueError):
                how = signal.Signals(-code).name
        if not worker.is_ready:
            self._failed_starts += 1
            if self._failed_starts >= _MAX_FAILED_STARTS:
                raise RuntimeError(f"{_MAX_FAILED_STARTS} worker processes in a row died while starting ({how})")
        self._retire(worker, "crashed", f"the worker process died ({how})")

    def _retire(self, worker: _Worker[In], reason: FailureReason, message: str) -> None:
        """Kill a worker. The item it was at has failed; the others of its queue go back, in order."""
        self._workers.remove(worker)
        if worker.queue:
            task = worker.queue.popleft()
            task.finish(TaskFailure(item=task.item, reason=reason, message=message))
        self._backlog.extendleft(reversed(worker.queue))
        self._dispose(worker)
        worker.process.join(5.0)
        self._start_workers()

    def _start_workers(self) -> None:
        while len(self._workers) < self._num_workers:
            worker: _Worker[In] = _Worker(self._context, self._calls, self.memory_bytes, self.timeout_s)
            self._workers.append(worker)
            self._selector.register(worker.results, selectors.EVENT_READ, worker)

    def _kill_workers(self) -> None:
        workers, self._workers = self._workers, []
        for worker in workers:
            self._dispose(worker)
        for worker in workers:
            worker.process.join(5.0)

    def _dispose(self, worker: _Worker[In]) -> None:
        self._selector.unregister(worker.results)
        if worker.is_writing:
            self._selector.unregister(worker.tasks)
        worker.process.kill()
        worker.tasks.close()
        worker.results.close()


class _Task(Generic[In]):
    __slots__ = ("is_done", "item", "outcome")

    def __init__(self, item: In) -> None:
        self.item = item
        self.is_done = False
        self.outcome: object = None

    def finish(self, outcome: object) -> None:
        self.is_done = True
        self.outcome = outcome


class _Worker(Generic[In]):
    """The parent's view of one process: its two pipes, what it was given and when it was last heard of."""

    def __init__(self, context: multiprocessing.context.BaseContext, calls: bytes, memory_bytes: int, timeout_s: float) -> None:
        tasks_r, self.tasks = context.Pipe(duplex=False)
        self.results, results_w = context.Pipe(duplex=False)
        for end in (self.tasks, self.results):
            _enlarge(end.fileno())
            os.set_blocking(end.fileno(), False)
        self.process: BaseProcess = context.Process(  # type: ignore[attr-defined]
            target=serve, args=(tasks_r, results_w, calls, memory_bytes, 2 * timeout_s + _ORPHAN_GRACE_S), daemon=True
        )
        start_without_main(self.process)
        tasks_r.close()
        results_w.close()
        self.reader = FrameReader(self.results.fileno())
        self.outbox: deque[memoryview] = deque()
        self.queue: deque[_Task[In]] = deque()
        self.is_ready = False
        self.is_writing = False
        self.last_progress = time.monotonic()

    def deadline(self, timeout_s: float) -> float:
        # Counted from the last byte that moved: a large result that the caller was slow to collect is no hang.
        return self.last_progress + (timeout_s if self.is_ready else _START_TIMEOUT_S)


def _pickle_calls(fn: Callable[[In], Out], setup: Callable[[], None] | None) -> bytes:
    for call in (fn, setup):
        if getattr(getattr(call, "func", call), "__module__", "") == "__main__":
            raise TypeError(f"{call!r} lives in __main__, which workers do not import: move it to a module")
    try:
        return pickle.dumps((fn, setup), protocol=5)
    except (pickle.PicklingError, AttributeError) as error:
        raise TypeError(f"workers cannot import {fn!r}: {error}") from error


def _enlarge(fd: int) -> None:
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):  # the user's allowance for pipes is spent: slower, not wrong
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def start_without_main(process: BaseProcess) -> None:
    """Start a process that does not import the caller's ``__main__``: it may be a script without a guard, or slow."""
    with _main_swap:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            process.start()
        finally:
            sys.modules["__main__"] = main
