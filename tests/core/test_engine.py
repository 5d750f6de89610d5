from __future__ import annotations

import functools
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from pool_tasks import die_in_set_up, fail_to_set_up, work

from scanner.core.engine import WINDOW_PER_WORKER, TaskFailure, WorkerPool

MIB = 2**20
pytestmark = pytest.mark.timeout(120)


def pool(workers=2, timeout_s=30.0, memory_bytes=256 * MIB, fn=work, **kwargs):
    return WorkerPool(fn, workers=workers, timeout_s=timeout_s, memory_bytes=memory_bytes, **kwargs)


def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(pids, seconds=10.0):
    deadline = time.monotonic() + seconds
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [pid for pid in pids if is_running(pid)]


def test_results_come_in_order_and_the_workers_are_several():
    with pool() as p:
        assert list(p.map(("double", i) for i in range(300))) == [2 * i for i in range(300)]
        assert list(p.map([])) == []
        slow_first = [("sleep", 0.3), *(("double", i) for i in range(10))]
        assert list(p.map(slow_first)) == [0.3, *(2 * i for i in range(10))]
        assert len(set(p.map([("pid", 0.1)] * 12))) == 2


def test_large_items_and_results_pass_and_arrays_can_be_written():
    big = np.arange(3 * MIB, dtype=np.uint8)
    with pool(fn=functools.partial(np.add, 1)) as p:
        for result in p.map([big] * 12):
            assert np.array_equal(result, big + np.uint8(1))
            result[0] = 9
    with pool() as p:
        assert [r.nbytes for r in p.map([("array", 0), ("array", (5 * MIB,)), ("array", (2, 3))])] == [0, 5 * MIB, 6]


def test_items_are_pulled_lazily():
    pulled = itertools.count()
    last = 0

    def endless():
        nonlocal last
        while True:
            last = next(pulled)
            yield ("double", last)

    with pool() as p:
        results = p.map(endless())
        for i in range(40):
            assert next(results) == 2 * i
            assert last <= i + 2 * WINDOW_PER_WORKER
        results.close()


@pytest.mark.parametrize(
    ("bad", "reason", "message"),
    [
        (("kill", signal.SIGSEGV), "crashed", "SIGSEGV"),
        (("kill", signal.SIGKILL), "crashed", "SIGKILL"),
        (("exit", 5), "crashed", "exit code 5"),
        (("hang", None), "timeout", "longer than 0.5 s"),
        (("spin", None), "timeout", "longer than 0.5 s"),
        (("allocate", 512 * MIB), "memory", "0.25 GiB"),
        (("raise", "oh"), "error", "KeyError: 'oh'"),
        (("unpicklable", None), "error", "local object"),
    ],
)
def test_one_bad_item_fails_alone(bad, reason, message):
    items = [("double", i) for i in range(20)]
    items[4] = items[5] = items[17] = bad
    with pool(timeout_s=0.5) as p:
        outcomes = list(p.map(items))
        for i, outcome in enumerate(outcomes):
            if i in (4, 5, 17):
                assert isinstance(outcome, TaskFailure)
                assert (outcome.item, outcome.reason) == (bad, reason)
                assert message in outcome.message
            else:
                assert outcome == 2 * i
        assert list(p.map([("double", 1)])) == [2], "the pool works on"


def test_an_error_keeps_its_traceback_and_its_worker():
    with pool(workers=1) as p:
        before, failure, after = p.map([("pid", 0), ("raise", "x"), ("pid", 0)])
        assert before == after
        assert "raise KeyError(argument)" in failure.traceback


def test_memory_is_counted_from_what_the_worker_has_after_setup():
    with pool(workers=1, memory_bytes=100 * MIB, preload=("numpy",)) as p:
        below, above, again = p.map([("allocate", 60 * MIB), ("allocate", 110 * MIB), ("allocate", 60 * MIB)])
        assert below == again == 60 * MIB
        assert above.reason == "memory"


def test_an_item_larger_than_the_memory_of_a_worker_fails_alone():
    with pool(workers=1, memory_bytes=64 * MIB, fn=len) as p:
        assert [r if isinstance(r, int) else r.reason for r in p.map([b"abc", bytes(100 * MIB), b"ab"])] == [3, "memory", 2]


def test_a_caller_slower_than_the_time_limit_loses_nothing():
    with pool(workers=1, timeout_s=0.3) as p:
        results = p.map([("array", (3 * MIB,))] * 4)  # more than the pipe holds
        for _ in range(4):
            assert next(results).nbytes == 3 * MIB
            time.sleep(0.5)


def test_closing_early_kills_busy_workers_and_leaves_no_zombie():
    p = pool(timeout_s=60)
    with p:
        results = p.map([("double", 1), *[("hang", None)] * 10])
        assert next(results) == 2
        busy = p.pids()
        results.close()
        assert wait_until_gone(busy) == []
        assert list(p.map([("double", 4)])) == [8], "a new map starts new workers"
        idle = p.pids()
    assert wait_until_gone(idle) == []
    with pytest.raises(RuntimeError, match="closed"):
        next(p.map([]))


def test_a_second_map_at_the_same_time_is_refused():
    with pool() as p:
        results = p.map([("double", 1), ("double", 2)])
        next(results)
        with pytest.raises(RuntimeError, match="one map at a time"):
            next(p.map([("double", 3)]))
        assert next(results) == 4


def test_an_error_of_the_source_reaches_the_caller():
    def source():
        yield ("double", 1)
        raise ValueError("broken shard")

    with pool() as p:
        with pytest.raises(ValueError, match="broken shard"):
            list(p.map(source()))
        assert list(p.map([("double", 1)])) == [2]


def test_workers_that_cannot_start_are_an_error_with_the_reason():
    with pytest.raises(RuntimeError, match="no such codec"), pool(setup=fail_to_set_up) as p:
        list(p.map([("double", 1)]))
    with pytest.raises(RuntimeError, match="exit code 3"), pool(setup=die_in_set_up) as p:
        list(p.map([("double", 1)]))


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="positive"):
        pool(workers=0)
    with pytest.raises(TypeError, match="cannot import"):
        pool(fn=lambda item: item)


def test_workers_have_no_stdin_and_ignore_interrupts():
    with pool(workers=1) as p:
        assert list(p.map([("stdin", None)])) == [("", b"")]
        (pid,) = p.pids()
        os.kill(pid, signal.SIGINT)
        assert list(p.map([("pid", 0)])) == [pid]


def test_it_runs_in_a_thread():
    results = []
    with pool() as p:
        thread = threading.Thread(target=lambda: results.extend(p.map([("double", i) for i in range(50)])))
        thread.start()
        thread.join(60)
    assert results == [2 * i for i in range(50)]


SCRIPT = """
import os, signal, sys, time
from scanner.core.engine import WorkerPool
sys.path.insert(0, {here!r})
from pool_tasks import work
pool = WorkerPool(work, workers=2, timeout_s=1.0, memory_bytes=2**28)
{body}
"""


def run_script(tmp_path, body, **kwargs):
    """A script of its own, without a guard around its body."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.format(here=str(Path(__file__).parents[1]), body=textwrap.dedent(body)))
    return subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)


def test_a_script_without_a_guard_runs_once_and_ends_without_close(tmp_path):
    process = run_script(
        tmp_path, 'print(list(pool.map([("double", 4)] * 3)))\nnext(pool.map([("double", 1)] + [("hang", 0)] * 9))'
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "[8, 8, 8]\n", "")


def test_a_function_of_the_script_itself_is_refused(tmp_path):
    process = run_script(tmp_path, "def f(x): return x\nWorkerPool(f, workers=1, timeout_s=1, memory_bytes=1)")
    assert "move it to a module" in process.communicate(timeout=60)[1]


def test_interrupt_stops_the_caller_and_its_workers_quietly(tmp_path):
    # A shell starts what it runs in the background with interrupts ignored, and so would all that it starts.
    body = """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pool:
            results = pool.map([("pid", 0)] + [("sleep", 0.9)] * 1000)
            next(results)
            print(*pool.pids(), flush=True)
            list(results)
    except KeyboardInterrupt:
        print("interrupted")
    """
    process = run_script(tmp_path, body, start_new_session=True)
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 2
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=30)
    assert (out, err) == ("interrupted\n", "")
    assert wait_until_gone(pids) == []


@pytest.mark.parametrize("verb", ["sleep", "hang"])
def test_workers_end_when_the_parent_is_killed(tmp_path, verb):
    body = f"""
    import scanner.core.engine
    scanner.core.engine._ORPHAN_GRACE_S = 1.0
    with pool:
        results = pool.map([("pid", 0)] * 2 + [({verb!r}, 0.1)] * 1000)
        next(results)
        next(results)
        print(*pool.pids(), flush=True)
        time.sleep(1000)
    """
    process = run_script(tmp_path, body)
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 2
    assert all(is_running(pid) for pid in pids)
    process.kill()
    process.communicate()
    assert wait_until_gone(pids) == []
