"""Functions for worker processes in tests: here, because workers import them by name."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np


def work(item):
    """What a worker does: (verb, argument)."""
    verb, argument = item
    if verb == "double":
        return 2 * argument
    if verb == "hang":
        time.sleep(3600)
    if verb == "spin":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        while True:
            pass
    if verb == "kill":
        os.kill(os.getpid(), argument)
        time.sleep(10)
    if verb == "exit":
        os._exit(argument)
    if verb == "allocate":
        return len(bytearray(argument))
    if verb == "array":
        return np.full(argument, 7, dtype=np.uint8)
    if verb == "sleep":
        time.sleep(argument)
        return argument
    if verb == "raise":
        raise KeyError(argument)
    if verb == "unpicklable":
        return lambda: None
    if verb == "stdin":
        return sys.stdin.read() if sys.stdin else "", os.read(0, 10)
    if verb == "pid":
        time.sleep(argument)
        return os.getpid()
    raise AssertionError(verb)


def fail_to_set_up():
    raise OSError("no such codec")


def die_in_set_up():
    os._exit(3)


def broken_decode(data, *, max_pixels, min_side):
    """A decoder with bugs that single files set off."""
    from scanner.images.decode import decode

    if data == b"hang":
        time.sleep(3600)
    if data == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(10)
    if data == b"memory":
        bytearray(2**40)
    if data == b"mistake":
        raise ZeroDivisionError("ours")
    return decode(data, max_pixels=max_pixels, min_side=min_side)


def set_up_broken_decoder(preprocess):
    from scanner.images import prepare

    prepare.decode = broken_decode
