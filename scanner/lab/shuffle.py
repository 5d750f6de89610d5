"""A shuffle of 0 .. n-1 that is computed, not stored: any place can be asked for, either way, at constant memory."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 6


class Shuffle:
    """A permutation drawn by ``seed``: a Feistel network over the next even power of two, walked until it lands below ``n``
    (Black and Rogaway 2002, "Ciphers with arbitrary finite domains", method of cycle walking)."""

    def __init__(self, n: int, *, seed: int) -> None:
        self.n = n
        self._half = max(1, ((n - 1).bit_length() + 1) // 2)
        self._mask = np.uint64((1 << self._half) - 1)
        digest = hashlib.sha256(f"shuffle/{seed}/{n}".encode()).digest() * 2
        self._keys = [np.uint64(int.from_bytes(digest[8 * i : 8 * i + 8], "big")) for i in range(_ROUNDS)]

    def place_of(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where each index stands once shuffled."""
        return self._walk(index, self._keys, is_forward=True)

    def index_at(self, place: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which index stands at each place: the inverse of ``place_of``."""
        return self._walk(place, self._keys[::-1], is_forward=False)

    def _walk(self, values: NDArray[np.int64], keys: list[np.uint64], *, is_forward: bool) -> NDArray[np.int64]:
        out = self._network(values.astype(np.uint64), keys, is_forward=is_forward)
        while (outside := out >= self.n).any():
            out[outside] = self._network(out[outside], keys, is_forward=is_forward)
        return out.astype(np.int64)

    def _network(self, values: NDArray[np.uint64], keys: list[np.uint64], *, is_forward: bool) -> NDArray[np.uint64]:
        shift = np.uint64(self._half)
        left, right = values >> shift, values & self._mask
        for key in keys:
            if is_forward:
                left, right = right, left ^ self._mix(right, key)
            else:
                left, right = right ^ self._mix(left, key), left
        return (left << shift) | right

    def _mix(self, half: NDArray[np.uint64], key: np.uint64) -> NDArray[np.uint64]:
        """The finaliser of splitmix64 (Steele, Lea and Flood 2014); products wrap on purpose."""
        with np.errstate(over="ignore"):
            z = half + key
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            return (z ^ (z >> np.uint64(31))) & self._mask
