from __future__ import annotations

import threading
import time

import pytest

from scanner.embed.prefetch import prefetch


def numbers(n, *, fail_at=None, closed=None):
    try:
        for i in range(n):
            if i == fail_at:
                raise ValueError("no more")
            yield i
    finally:
        if closed is not None:
            closed.set()


def test_order_is_kept():
    assert list(prefetch(numbers(1000), depth=3)) == list(range(1000))


def test_an_error_comes_after_what_was_drawn_before_it():
    iterator = prefetch(numbers(10, fail_at=4), depth=2)
    assert [next(iterator) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="no more"):
        next(iterator)


def test_it_runs_ahead_by_depth_and_no_further():
    drawn = []

    def items():
        for i in range(100):
            drawn.append(i)
            yield i

    iterator = prefetch(items(), depth=2)
    next(iterator)
    time.sleep(0.2)
    assert 2 <= len(drawn) <= 5
    iterator.close()


def test_closing_early_stops_the_thread_and_closes_the_items():
    closed = threading.Event()
    iterator = prefetch(numbers(10**9, closed=closed), depth=2)
    assert next(iterator) == 0
    iterator.close()
    assert closed.is_set()
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())
