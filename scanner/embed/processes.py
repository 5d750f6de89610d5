"""Several GPUs: one process each, which asks for a part whenever it has none.

Parts are files that stand for themselves, so the processes share nothing but the list of parts to do. What one of them leaves
undone, by an error or by dying, is for the caller: making it there raises the error where it is told, or succeeds.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from scanner.core.config import RunConfig, override
from scanner.core.engine import start_without_main
from scanner.core.progress import Bar
from scanner.core.store import Store
from scanner.embed.part_maker import PartMaker, PartPlan, Work
from scanner.sources.base import ReadCounts, Source

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from multiprocessing.synchronize import Lock


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What a process is told at its start."""

    gpu: str
    store_url: str
    config: RunConfig
    sources: dict[str, Source]


@dataclass(kw_only=True, slots=True)
class _Worker:
    process: BaseProcess
    connection: Connection
    gpu: str


def make_on_gpus(
    gpus: Sequence[str],
    plans: Sequence[PartPlan],
    store: Store,
    config: RunConfig,
    sources: dict[str, Source],
    *,
    bar: Bar,
    batch_size: int | None = None,
) -> Work:
    """Makes parts by one process a GPU; which process makes a part does not show in it.

    Args:
        gpus: each as ``CUDA_VISIBLE_DEVICES`` names it. What a process runs on besides is the config's.
        batch_size: of ``batch_size: auto``; None lets the first process measure it, for all.

    Returns:
        What the processes did. Parts that are not there afterwards were left undone, and the bar was told why.
    """
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    size, lock = context.Value("q", batch_size or 0, lock=False), context.Lock()
    todo, total = deque(plans), Work()
    workers: list[_Worker] = []
    try:
        for gpu in gpus:
            ours, theirs = context.Pipe()
            share = Share(gpu=gpu, store_url=store.url, config=_share_of_cores(config, len(gpus)), sources=sources)
            process = context.Process(target=_work, args=(share, theirs, size, lock), name=f"gpu-{gpu}")
            start_without_main(process)
            theirs.close()
            workers.append(_Worker(process=process, connection=ours, gpu=gpu))
        alive = {worker.connection: worker for worker in workers}
        while alive:
            for ready in wait(list(alive)):
                assert isinstance(ready, Connection)
                try:
                    message = ready.recv()
                    _answer(message, ready, todo, total, sources, bar, alive[ready].gpu)
                except (EOFError, OSError):
                    worker = alive.pop(ready)
                    worker.process.join()
                    if worker.process.exitcode:
                        bar.say(f"GPU {worker.gpu}: its process ended with {worker.process.exitcode}; its part is made later")
        return total
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()
            worker.connection.close()


def _answer(
    message: tuple[Any, ...], to: Connection, todo: deque[PartPlan], total: Work, sources: dict[str, Source], bar: Bar, gpu: str
) -> None:
    kind, *values = message
    if kind == "next":
        to.send(todo.popleft() if todo else None)
    elif kind == "advance":
        bar.advance(values[0])
    elif kind == "say":
        bar.say(values[0])
    elif kind == "failed":
        # The same would happen to the next part: what is left is for the others, or for the caller.
        bar.say(f"GPU {gpu}: {values[0]}")
    else:
        assert kind == "done", kind
        work, counts = values
        total.add(work)
        for name, found in counts.items():
            _add(sources[name].counts, found)


def _add(counts: ReadCounts, more: ReadCounts) -> None:
    """What another process has read of a source."""
    counts.num_shards += more.num_shards
    counts.num_samples += more.num_samples
    counts.num_without_caption += more.num_without_caption
    counts.num_missing += more.num_missing
    counts.num_duplicate_keys += more.num_duplicate_keys
    counts.notes.extend(note for note in more.notes if note not in counts.notes)


def _share_of_cores(config: RunConfig, num_processes: int) -> RunConfig:
    """The config of one of so many processes: its part of the decoding workers."""
    workers = config.compute.workers
    count = os.cpu_count() or 1 if workers == "auto" else workers
    return override(config, {"compute.workers": max(1, count // num_processes)})


class _Relay:
    """The bar of a process: tells the parent. Its two threads (reading and encoding) take turns."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()

    def send(self, *message: Any) -> None:
        with self._lock:
            self._connection.send(message)

    def advance(self, amount: int = 1) -> None:
        self.send("advance", amount)

    def expect(self, total: int) -> None: ...

    def say(self, text: str) -> None:
        self.send("say", text)


def _work(share: Share, connection: Connection, size: Any, lock: Lock) -> None:
    """Body of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C reaches the whole process group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Before anything asks CUDA: the process then sees one GPU, and nothing else needs to know which.
    os.environ["CUDA_VISIBLE_DEVICES"] = share.gpu

    def choose(measure: Callable[[], int]) -> int:
        with lock:
            size.value = size.value or measure()
            return int(size.value)

    relay = _Relay(connection)
    sources = {name: _unread(source) for name, source in share.sources.items()}
    with PartMaker(Store(share.store_url), share.config, sources, choose=choose) as maker:
        try:
            while True:
                relay.send("next")
                plan = connection.recv()
                if plan is None:
                    break
                maker.make(plan, relay)
            maker.wait()
        except Exception as error:
            relay.send("failed", " ".join(str(error).split())[:500] or type(error).__name__)
        relay.send("done", maker.work(), {name: source.counts for name, source in sources.items()})


def _unread(source: Source) -> Source:
    """Counts from here on: those before are known to the parent."""
    source.counts = ReadCounts()
    return source


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
