"""What every score is made of: shares and means, each with its 95 % interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959964


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """``num_hits`` of ``num_trials``. The interval takes trials as independent; the pairs of one picture are not, so that of
    pairs is too narrow: ``Mean`` over pictures or groups is the one to judge by."""

    num_hits: int
    num_trials: int

    @property
    def value(self) -> float:
        """NaN where nothing was tried."""
        return self.num_hits / self.num_trials if self.num_trials else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson score interval at 95 % (Wilson 1927; Brown, Cai and DasGupta 2001, eq. 4); (0, 1) where nothing was tried."""
        n, p, z = self.num_trials, self.value, Z_95
        if not n:
            return 0.0, 1.0
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)

    def __str__(self) -> str:
        return f"{self.num_hits:,}/{self.num_trials:,} = {_shown(self.value, self.interval)}"

    def to_dict(self) -> dict[str, int | float | None]:
        """For JSON: counts, value (None where nothing was tried) and interval."""
        low, high = self.interval
        return {
            "num_hits": self.num_hits, "num_trials": self.num_trials, "value": json_number(self.value), "low": low, "high": high,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Mean:
    """The mean of one share an item (a picture, a group), every item counted once whatever its size.

    Attributes:
        value: NaN where there is no item.
        std: sample standard deviation of the items (divided by n - 1); NaN for fewer than two.
    """

    value: float
    std: float
    num_items: int

    @classmethod
    def of(cls, shares: NDArray[np.float64]) -> Mean:
        """Mean of ``shares`` (n,), each in [0, 1]."""
        n = len(shares)
        std = float(shares.std(ddof=1)) if n > 1 else math.nan
        return cls(value=float(shares.mean()) if n else math.nan, std=std, num_items=n)

    @property
    def interval(self) -> tuple[float, float]:
        """Normal approximation at 95 % over the items: mean +- z s / sqrt(n), cut to [0, 1]; (0, 1) for fewer than two items.

        Items are taken as independent. Where all agree it has no width, which says only that none among n was unlike the rest.
        """
        if self.num_items < 2:
            return 0.0, 1.0
        half = Z_95 * self.std / math.sqrt(self.num_items)
        return max(0.0, self.value - half), min(1.0, self.value + half)

    def __str__(self) -> str:
        return _shown(self.value, self.interval)

    def to_dict(self) -> dict[str, int | float | None]:
        """For JSON: number of items, value (None without items) and interval."""
        low, high = self.interval
        return {"num_items": self.num_items, "value": json_number(self.value), "low": low, "high": high}


def json_number(value: float) -> float | None:
    """JSON has no NaN: None instead."""
    return None if math.isnan(value) else value


def _shown(value: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
