from __future__ import annotations

from collections import Counter

import pytest
import torch
from fed import FakeClock, FullRunner, batches

from scanner.core.errors import EncoderError
from scanner.embed.feed import CPU_BATCH, FIRST_BATCH, MOST_BATCH, Feed, find_batch_size


def run(runner, *, num_images=100, size=16):
    feed = Feed(runner, size=size)
    ids, values = [], []
    for found, vectors in feed.run(batches(num_images, size)):
        ids += found
        values += vectors[:, 0].tolist()
    return feed, ids, values


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("room", [1000, 31, 16, 15, 7, 3, 1])
def test_every_image_comes_once_and_in_order_whatever_memory_holds(depth, room):
    feed, ids, values = run(FullRunner(room, depth=depth))
    assert ids == list(range(100))
    assert values == ids
    assert feed.size <= max(1, room)
    assert feed.sizes[-1] == feed.size


def test_a_full_memory_halves_the_batch_and_all_that_follow():
    runner = FullRunner(9, depth=0)
    feed, _, _ = run(runner, num_images=48, size=16)
    assert feed.sizes == [16, 8]
    assert [size for kind, *size in runner.log if kind == "start"] == [[8]] * 6
    assert [kind for kind, *_ in runner.log].count("full") == 1


def test_what_is_under_way_is_finished_before_memory_is_given_back():
    runner = FullRunner(20, depth=1)
    _, ids, _ = run(runner, num_images=40, size=16)
    assert ids == list(range(40))
    assert runner.log[:4] == [("start", 16), ("full", 16), ("wait", 16), ("release",)]


def test_the_next_batch_is_started_before_the_one_before_is_waited_for():
    runner = FullRunner(1000, depth=1)
    run(runner, num_images=48, size=16)
    assert [kind for kind, _ in runner.log] == ["start", "start", "wait", "start", "wait", "wait"]


def test_on_a_host_each_batch_is_computed_when_it_comes():
    runner = FullRunner(1000, depth=0)
    run(runner, num_images=48, size=16)
    assert [kind for kind, _ in runner.log] == ["start", "wait"] * 3


def test_a_memory_that_does_not_hold_one_image_is_told():
    with pytest.raises(EncoderError, match="does not hold one image") as raised:
        run(FullRunner(0))
    assert raised.value.next_step


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)  # fmt: skip
def test_every_way_to_say_that_memory_ran_out_is_known(error):
    assert run(FullRunner(10, error=error))[1] == list(range(100))


def test_other_errors_are_not_taken_for_it():
    with pytest.raises(RuntimeError, match="illegal memory access"):
        run(FullRunner(10, error=RuntimeError("CUDA error: an illegal memory access was encountered")))


def test_sizes_are_those_of_a_part():
    feed, _, _ = run(FullRunner(9, depth=0))
    feed.begin_part()
    assert feed.sizes == [8]
    list(feed.run(batches(20, 8)))
    assert feed.sizes == [8]


def test_seconds_are_those_of_starting_and_waiting():
    feed, _, _ = run(FullRunner(1000))
    assert feed.seconds > 0
    assert CPU_BATCH == 256, "as before there was anything to find: vectors on a CPU keep their bits"


class Timed(FullRunner):
    """A device of which a batch of n images takes ``seconds(n)`` of the clock."""

    def __init__(self, clock, seconds, room=10**9):
        super().__init__(room)
        self.clock, self.seconds = clock, seconds

    def start(self, pixels):
        self.clock.now += self.seconds(len(pixels))
        return super().start(pixels)


@pytest.mark.parametrize(
    ("seconds", "room", "expected"),
    [
        (lambda n: 1.0, 10**9, MOST_BATCH),  # launches are all that it takes
        (lambda n: n / 1000, 10**9, FIRST_BATCH),  # nothing gained by more
        (lambda n: 0.1 + n / 1000, 10**9, 1024),  # at 2048: 953 images/s, less than a twentieth above 911
        (lambda n: 1.0, 2 * 512, 256),  # 512 just fits beside another
        (lambda n: 1.0, 2 * FIRST_BATCH, FIRST_BATCH // 2),
        (lambda n: 1.0, 20, 8),
        (lambda n: 1.0, 0, 1),
    ],
)
def test_the_size_is_where_more_gains_little_or_does_not_fit(seconds, room, expected):
    clock = FakeClock()
    assert find_batch_size(Timed(clock, seconds, room), clock=clock) == expected


def test_what_is_tried_leaves_nothing_behind():
    clock = FakeClock()
    runner = Timed(clock, lambda n: 1.0, room=600)
    find_batch_size(runner, clock=clock)
    kinds = Counter(kind for kind, *_ in runner.log)
    assert kinds["release"] == kinds["full"] == 1
    assert not runner.under_way
