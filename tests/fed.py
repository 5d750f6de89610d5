"""For tests of how an encoder is fed: images whose vectors tell which they are, and stand-ins for devices."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections import deque

import numpy as np
import torch

from scanner.core.preprocess import Preprocess
from scanner.embed.batches import Batch, pack


def packed(images):
    return pack(images, np.empty(sum(image.size for image in images), np.uint8))


def batches(num_images, size):
    """Images of 2 x 2 pixels of one value, their id."""
    for first in range(0, num_images, size):
        ids = list(range(first, min(first + size, num_images)))
        yield Batch(ids=ids, pixels=packed([np.full((2, 2, 3), id_, np.uint8) for id_ in ids]))


class FakeClock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class FullRunner:
    """Holds ``room`` images at once, those under way counted; a vector is its image's first byte. ``log``: what it was asked."""

    size = (2, 2)

    def __init__(self, room, *, depth=1, error=None):
        self.room, self.depth = room, depth
        self.error = error or torch.OutOfMemoryError("CUDA out of memory")
        self.under_way = deque()
        self.log = []

    def pack(self, images):
        return packed(images)

    def start(self, pixels):
        if sum(self.under_way) + len(pixels) > self.room:
            self.log.append(("full", len(pixels)))
            raise self.error
        self.log.append(("start", len(pixels)))
        self.under_way.append(len(pixels))
        vectors = pixels.stacked()[:, 0, 0, :1].astype(np.float32)

        def wait():
            self.log.append(("wait", len(vectors)))
            self.under_way.popleft()
            return vectors

        return wait

    def release(self):
        assert not self.under_way, "memory is given back once nothing is under way"
        self.log.append(("release",))


class LateDevice:
    """A device that is late: what it was sent it reads when its results are waited for, not before.

    A buffer that nobody holds any more is overwritten, as page-locked memory is when it is used again: whoever lets go of one too
    early gets wrong vectors here. ``room`` bytes are all that it takes at once. ``log``: what it was asked.
    """

    def __init__(self, room=10**9):
        self.room = room
        self.log = []
        self._memory = []

    def buffer(self, num_bytes):
        memory = torch.zeros(num_bytes, dtype=torch.uint8)
        self._memory.append(memory)
        lent = memory.view(-1)
        weakref.finalize(lent, memory.fill_, 255)
        return lent

    def send(self, data):
        if len(data) > self.room:
            self.log.append("full")
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.log.append("send")
        # The same memory, but holding on to nothing.
        unowned = (ctypes.c_uint8 * len(data)).from_address(data.data_ptr())
        return torch.from_numpy(np.ctypeslib.as_array(unowned))

    def fetch(self, result):
        self.log.append("fetch")

        def wait():
            self.log.append("wait")
            return result.numpy().astype(np.float32)

        return wait

    def release(self):
        self.log.append("release")


class FirstByte:
    """An encoder on a device whose vectors are views of its pixels: the first byte of each image."""

    name, dim, weights_digest, device, precision = "first-byte", 1, "0" * 64, "cuda", "fp32"

    def __init__(self, size=(2, 2), **preprocess):
        self.preprocess = Preprocess(size=size, **preprocess)
        self.num_compiled = 0
        self.sizes = []

    def encode(self, pixels):
        return pixels[:, 0, 0, :1].astype(np.float32)

    def on_device(self, pixels):
        self.sizes.append(len(pixels))
        return pixels[:, 0, 0, :1]

    def checked(self, vectors):
        return vectors

    def compile(self):
        self.num_compiled += 1


class DyingSource:
    """A source that ends its process when it comes to one of its shards, in any process but the one that made it."""

    def __init__(self, source, url):
        self._source, self._url, self._home = source, url, os.getpid()

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._source, name)

    def samples(self, shard):
        if shard.url.endswith(self._url) and os.getpid() != self._home:
            os._exit(3)
        return self._source.samples(shard)
