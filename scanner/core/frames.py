"""Python objects over pipes: pickles of protocol 5 with their buffers beside them, on descriptors that block or do not.

A frame is the number of segments, their lengths, then the segments: the pickle and each of its out-of-band buffers (arrays
travel so, without a copy inside the pickle). Only for pipes between a process and its own workers: never for untrusted data.
"""

from __future__ import annotations

import os
import pickle
import struct
from collections import deque

_LENGTH = struct.Struct("<Q")


def encode(value: object) -> list[memoryview]:
    """The pieces of a frame, in the order they are written. They share memory with the arrays in ``value``."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    segments = [memoryview(body), *(buffer.raw() for buffer in buffers)]
    header = b"".join(_LENGTH.pack(n) for n in (len(segments), *(segment.nbytes for segment in segments)))
    return [memoryview(header), *segments]


def write_some(fd: int, outbox: deque[memoryview]) -> int:
    """Write what the descriptor takes, remove it from ``outbox`` and return the number of bytes.

    Raises:
        BrokenPipeError: nobody reads.
    """
    total = 0
    while outbox:
        if not outbox[0].nbytes:
            outbox.popleft()
            continue
        try:
            written = os.writev(fd, [outbox[i] for i in range(min(len(outbox), 64))])
        except BlockingIOError:
            break
        total += written
        while written:
            if written < outbox[0].nbytes:
                outbox[0] = outbox[0][written:]
                break
            written -= outbox.popleft().nbytes
    return total


def write_all(fd: int, frame: list[memoryview]) -> None:
    """Write a frame to a descriptor that blocks."""
    write_some(fd, deque(frame))


class FrameReader:
    """Reads frames from a descriptor; on one that does not block it keeps what came until the rest follows."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._segments: list[bytearray] = []
        self._begin()
        self.has_moved = False

    def _begin(self) -> None:
        self._stage = 0  # the count, then the lengths, then the segments
        self._targets = [bytearray(_LENGTH.size)]
        self._position = 0  # within the last target

    def read(self) -> list[bytearray] | None:
        """The segments of the next frame, or None where the descriptor has no more for now.

        ``has_moved`` tells whether any byte was read.

        Raises:
            EOFError: the writer is gone.
        """
        self.has_moved = False
        while True:
            target = self._targets[-1]
            while self._position < len(target):
                try:
                    num_read = os.readv(self._fd, [memoryview(target)[self._position :]])
                except BlockingIOError:
                    return None
                if not num_read:
                    raise EOFError
                self._position += num_read
                self.has_moved = True
            if self._stage == 0:
                self._stage, self._position = 1, 0
                self._targets = [bytearray(_LENGTH.size * _LENGTH.unpack(target)[0])]
            elif self._stage == 1:
                self._stage, self._position = 2, 0
                self._lengths = deque(length for (length,) in _LENGTH.iter_unpack(target))
                self._targets = [bytearray(self._lengths.popleft())]
            elif self._lengths:
                self._position = 0
                self._targets.append(bytearray(self._lengths.popleft()))
            else:
                frame = self._targets
                self._begin()
                return frame
