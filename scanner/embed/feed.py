"""Feeds an encoder without a gap, and with smaller batches once memory ran out."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import EncoderError
from scanner.embed.batches import Batch
from scanner.embed.runner import Runner, Wait
from scanner.models.device import is_out_of_memory

log = logging.getLogger("scanner.embed")

CPU_BATCH = 256
"""Of ``auto`` on a CPU, where a larger one gains nothing."""
FIRST_BATCH, MOST_BATCH = 64, 2048
"""Sizes that are tried on a GPU, each twice the one before."""
LEAST_GAIN = 1.05
"""In images a second, of twice the size; with less the smaller one does, and leaves memory to others."""
_TURNS = 3


class Feed:
    """Batches in, vectors out, in order.

    Attributes:
        size: images a batch now.
        sizes: of the current part: that it began with, and those that it went on with after memory ran out.
        seconds: that starting batches and waiting for vectors took, all parts together.
    """

    def __init__(self, runner: Runner, *, size: int) -> None:
        self.runner, self.size = runner, size
        self.sizes = [size]
        self.seconds = 0.0

    def begin_part(self) -> None:
        """Of the next part, ``sizes`` are told anew."""
        self.sizes = [self.size]

    def run(self, batches: Iterable[Batch]) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Ids and vectors of each batch, or of each piece of one.

        Where memory does not hold a batch, those under way are finished, the batch is halved, and so are all that follow: each
        image is encoded once.

        Raises:
            EncoderError: memory does not hold a single image, or a vector is not finite.
        """
        under_way: deque[tuple[list[int], Wait]] = deque()
        for batch in batches:
            todo = deque([batch] if batch.ids else [])
            while todo:
                piece = todo.popleft()
                if len(piece.ids) > self.size:
                    todo.appendleft(piece.cut(self.size, len(piece.ids)))
                    piece = piece.cut(0, self.size)
                wait = self._start(piece)
                if wait is None:
                    is_alone = not under_way
                    while under_way:
                        yield self._finished(under_way)
                    self.runner.release()
                    # A single image that did not fit beside others is tried again without them.
                    if is_alone or len(piece.ids) > 1:
                        self._halve(len(piece.ids))
                    todo.appendleft(piece)
                    continue
                under_way.append((piece.ids, wait))
                while len(under_way) > self.runner.depth:
                    yield self._finished(under_way)
        while under_way:
            yield self._finished(under_way)

    def _start(self, piece: Batch) -> Wait | None:
        """None where memory ran out. The error is gone then, and with it all that its traceback held."""
        start = time.perf_counter()
        try:
            return self.runner.start(piece.pixels)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return None
        finally:
            self.seconds += time.perf_counter() - start

    def _finished(self, under_way: deque[tuple[list[int], Wait]]) -> tuple[list[int], NDArray[np.float32]]:
        ids, wait = under_way.popleft()
        start = time.perf_counter()
        vectors = wait()
        self.seconds += time.perf_counter() - start
        return ids, vectors

    def _halve(self, num_images: int) -> None:
        if num_images == 1:
            raise EncoderError(
                "memory does not hold one image beside the encoder",
                next_step="Free the GPU of other programs, or take a smaller encoder or device cpu.",
            )
        self.size = num_images // 2
        self.sizes.append(self.size)
        log.warning("memory ran out at %d images a batch: going on with %d", num_images, self.size)


def find_batch_size(runner: Runner, *, clock: Callable[[], float] = time.perf_counter) -> int:
    """The size past which twice as much gains less than a twentieth, or does not fit; measured on made pixels.

    Half of what just fits, where memory is what ends it: pictures that are resized on the device need some of it too.
    """
    best, best_rate = 1, 0.0
    size = FIRST_BATCH
    while size <= MOST_BATCH:
        rate = _rate(runner, size, clock)
        if rate is None:
            best = max(1, best // 2) if best_rate else _fitting_below(runner, size, clock)
            break
        if rate < LEAST_GAIN * best_rate:
            break
        best, best_rate = size, rate
        size *= 2
    log.info("batches of %d images, %.0f images/s of the encoder alone", best, best_rate)
    return best


def _fitting_below(runner: Runner, size: int, clock: Callable[[], float]) -> int:
    """The largest half of a half ... of ``size`` that fits; 1 where none does, and ``Feed`` will tell."""
    while size > 1:
        size //= 2
        if _rate(runner, size, clock) is not None:
            return size
    return 1


def _rate(runner: Runner, size: int, clock: Callable[[], float]) -> float | None:
    """Images a second of some batches in a row, after one that does not count; None where memory does not hold them."""
    image = np.random.default_rng(0).integers(0, 256, (*runner.size, 3), np.uint8)
    waits: deque[Wait] = deque()
    seconds = 0.0
    try:
        pixels = runner.pack([image] * size)
        runner.start(pixels)()
        start = clock()
        for _ in range(_TURNS):
            waits.append(runner.start(pixels))
            if len(waits) > runner.depth:
                waits.popleft()()
        while waits:
            waits.popleft()()
        seconds = clock() - start
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    if not seconds:
        # Outside the handler, where the traceback no longer holds what filled the memory.
        for wait in waits:
            wait()
        runner.release()
        return None
    return _TURNS * size / seconds
