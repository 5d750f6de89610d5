"""Threads that each multiply on one core; what they make comes in the order of the tasks, however many there are.

What multiplies much does so in torch and in such a thread, alone as it may be (but for the k-means of faiss). A library's own
threads spin while they wait for one another: on two cores of which another program held one, OpenBLAS took four seconds over
the axes of 512 numbers that one thread finds in a twentieth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(tasks: Iterable[T], work: Callable[[T], R], threads: int) -> Iterator[tuple[T, R]]:
    """Each task with its result, in the order of the tasks; never more than two results a thread wait to be fetched."""
    waiting: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(threads, initializer=_one_thread, thread_name_prefix="join") as pool:
        try:
            for task in tasks:
                waiting.append((task, pool.submit(work, task)))
                if len(waiting) > 2 * threads:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _one_thread() -> None:
    """Each worker multiplies alone: two threads on one small product gain nothing."""
    import torch

    torch.set_num_threads(1)


def alone(work: Callable[[], R]) -> R:
    """What ``work`` returns, done by one such thread."""
    with ThreadPoolExecutor(1, initializer=_one_thread, thread_name_prefix="join") as pool:
        return pool.submit(work).result()
