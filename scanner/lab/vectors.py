"""Planted embeddings: rows with groups of near copies whose pairs are known, on two backgrounds. No images, so any size.

``isotropic`` rows are unrelated at cosine 0; ``clip`` rows share a mean direction, as CLIP's do, and are unrelated at cosine 0.4
to 0.7. A member of a group lies at a cosine to the group's centre that is drawn from a range; copies may also be exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Background = Literal["isotropic", "clip"]
Law = Literal["zipf", "geometric", "uniform", "equal", "pairs"]

MEAN_SHARES = (0.4, 0.7)
"""Of the energy of a ``clip`` row, what lies along the common mean: the cosine of two unrelated rows is the geometric mean."""
CHUNK_ROWS = 65_536


@dataclass(frozen=True, kw_only=True)
class PlantedVectors:
    """n rows of d numbers; drawn chunk by chunk, always the same.

    Attributes:
        grouped_share: of the rows, in groups of two and more.
        law: of the sizes of groups: ``zipf`` (exponent 1.7, from 2), ``geometric`` (mean 6), ``uniform`` (2 to 10), ``equal``
            (20 each), ``pairs``.
        largest: no group has more members.
        cosines: of a member with its centre, drawn evenly.
        exact_share: of the members, those that equal their group's first member.
    """

    n: int
    d: int = 512
    seed: int = 0
    background: Background = "isotropic"
    grouped_share: float = 0.25
    law: Law = "zipf"
    largest: int = 1000
    cosines: tuple[float, float] = (0.95, 0.999)
    exact_share: float = 0.0

    @cached_property
    def group(self) -> NDArray[np.int64]:
        """int64 (n,): the group of each row, -1 for rows that are in none; shuffled."""
        rng = np.random.default_rng([self.seed, 0])
        wanted = int(self.grouped_share * self.n)
        sizes: list[int] = []
        total = 0
        while total < wanted:
            size = min(_group_size(self.law, rng), self.largest, wanted - total)
            if size < 2:
                break
            sizes.append(size)
            total += size
        group = np.full(self.n, -1, np.int64)
        group[:total] = np.repeat(np.arange(len(sizes)), sizes)
        return rng.permutation(group)

    @cached_property
    def num_groups(self) -> int:
        return int(self.group.max(initial=-1)) + 1

    @cached_property
    def _mean(self) -> NDArray[np.float32]:
        mean: NDArray[np.float32] = _unit(_normal(np.random.default_rng([self.seed, 1]), 1, self.d))[0]
        return mean

    @cached_property
    def _centres(self) -> NDArray[np.float32]:
        return self._unrelated(np.random.default_rng([self.seed, 2]), self.num_groups)

    def _unrelated(self, rng: np.random.Generator, m: int) -> NDArray[np.float32]:
        noise = _unit(_normal(rng, m, self.d))
        if self.background == "isotropic":
            return noise
        noise -= (noise @ self._mean)[:, None] * self._mean
        share = rng.uniform(*MEAN_SHARES, (m, 1)).astype(np.float32)
        along, across = np.sqrt(share), np.sqrt(1 - share)
        return (along * self._mean + across * _unit(noise)).astype(np.float32)

    def chunks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """First row and unit rows float32 (at most 65,536, d) of each chunk."""
        for start in range(0, self.n, CHUNK_ROWS):
            rng = np.random.default_rng([self.seed, 3, start])
            group = self.group[start : start + CHUNK_ROWS]
            rows = self._unrelated(rng, len(group))
            member = np.flatnonzero(group >= 0)
            centres = self._centres[group[member]]
            noise = _normal(rng, len(member), self.d)
            noise -= np.einsum("nd,nd->n", noise, centres)[:, None] * centres
            cosine = rng.uniform(*self.cosines, (len(member), 1)).astype(np.float32)
            is_exact = rng.random(len(member)) < self.exact_share
            # Exact copies are at one place of their own, not at the centre, which no row need equal.
            cosine[is_exact] = 1
            rows[member] = cosine * centres + np.sqrt(1 - cosine**2) * _unit(noise)
            yield start, rows

    def rows(self) -> NDArray[np.float16]:
        """float16 (n, d), as the table of embeddings has them."""
        out = np.empty((self.n, self.d), np.float16)
        for start, chunk in self.chunks():
            out[start : start + len(chunk)] = chunk
        return out


def _normal(rng: np.random.Generator, m: int, d: int) -> NDArray[np.float32]:
    drawn: NDArray[np.float32] = rng.standard_normal((m, d), np.float32)
    return drawn


def _group_size(law: Law, rng: np.random.Generator) -> int:
    if law == "zipf":
        return int(rng.zipf(1.7)) + 1
    if law == "geometric":
        return 1 + int(rng.geometric(0.2))
    if law == "uniform":
        return int(rng.integers(2, 11))
    return 20 if law == "equal" else 2


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of norm 1."""
    lengths = np.sqrt(np.einsum("nd,nd->n", x, x))
    unit: NDArray[np.float32] = np.divide(x, lengths[:, None], dtype=np.float32)
    return unit
