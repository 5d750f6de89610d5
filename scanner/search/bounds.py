"""Upper bounds of cosines at a fraction of their cost, so that an exact search need not compute most of them.

A rotation R that puts most of the rows' energy into its first axes turns a unit row x into z = x R. Cut after k - 1
coordinates, Cauchy and Schwarz give

    x . y = z . w <= z[:k-1] . w[:k-1] + |z[k-1:]| |w[k-1:]|

which is the inner product of two vectors of k numbers: the prefix, and the norm of the rest. Pairs whose bound is below the
threshold are settled; the others are computed in full.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scanner.core.hardware import cpu_has_amx
from scanner.search.threshold import FloatRows, unit_rows
from scanner.search.workers import alone, in_order

if TYPE_CHECKING:
    import torch

WIDTHS = (16, 32, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512, 768)
"""Widths that are tried. Multiples of 16: kernels of matrix products have no remainder to handle."""
FP32_WIDTHS = tuple(sorted({*WIDTHS, *range(24, 128, 8)}))
"""In fp32 a product takes as long as it is wide: 56 and 112 numbers took a twelfth less than 64 and 128 (a core with AVX2)."""
SAMPLE_ROWS = 4096
WIDE = 1024
"""Rows of more numbers than that have as many axes at most, more than any width that is tried, from a sample of as many rows: the
time goes with the cube (minutes for 4,096)."""
GRAM_ROWS = 1024
"""Of the sample, multiplied by one thread at once; the sum is the same for any number of threads."""
PILOT_ROWS = 1024
"""Other rows than those of the sample where there are enough: on its own rows a rotation looks better than it is."""

GROUP_SPREAD = 4
"""Two rows at the threshold's distance from a third one differ by up to four times it (in 1 - cosine)."""
ENTRIES_A_CHECK = 5
"""Cosines computed for one that a bound does not settle, where those lie together: from the time of 50,000 planted rows, of which
2.5 million such pairs took about 0.15 s."""

ROUNDING = 1e-5
"""Of an fp32 bound: a dozen times the error of 768 products of unit vectors (2 sqrt(768) 2^-24)."""
SQUARE_ROUNDING = 4e-6
"""Added to the square of the norm of the rest, which is had as 1 - |prefix|^2 and so loses its last digits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What the pilot weighs widths by, against one another: seconds of one core, or of a device.

    Attributes:
        product: of one multiplication and addition of a bound.
        bound: of a bound, whatever its width: storing it and looking at it.
        check: of fetching two rows and computing their cosine.
        entry: of a cosine where all rows of a tile are multiplied.
        widths: those that are tried.
    """

    product: float
    bound: float
    check: float = 5e-7
    entry: float = 1.2e-8
    widths: tuple[int, ...] = WIDTHS


CPU_COSTS = {
    "fp32": Costs(product=2.0e-11, bound=1.0e-10, widths=FP32_WIDTHS),
    "bf16": Costs(product=9.3e-12, bound=1.0e-10),
    "amx": Costs(product=1.0e-12, bound=3.5e-10),
}
"""Measured in tiles of a million bounds, d = 512: on a core with AVX-512-bf16 (EPYC of 2022), and on one with AMX (Xeon of 2023),
where a product of few numbers takes as long as storing what comes out; checks and entries on the first only."""


def cpu_costs(precision: str) -> Costs:
    """Of this machine's CPU in ``fp32`` or ``bf16``."""
    return CPU_COSTS["amx" if precision == "bf16" and cpu_has_amx() else precision]


@dataclass(frozen=True, kw_only=True, eq=False)
class Rotation:
    """Attributes:
    axes: float32 (d, r), orthonormal columns, those of most energy first.
    width: k, numbers of a bound; d where no prefix settles enough, and then a bound is the cosine itself.
    candidate_share: of the pairs of the pilot, those that a bound does not settle (and that are no neighbours).
    """

    axes: NDArray[np.float32]
    width: int
    candidate_share: float

    @cached_property
    def _prefix_axes(self) -> NDArray[np.float32]:
        return np.ascontiguousarray(self.axes[:, : self.width - 1])

    def bounds(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (m, width) of unit rows (m, d): their inner products bound the cosines from above, within ``ROUNDING``.

        Rows of zeros come out as zeros and reach no threshold.
        """
        d = rows.shape[1]
        if self.width >= d:
            return rows
        import torch

        # torch, whose workers have one thread each: numpy's BLAS would start its own in each.
        prefix = torch.mm(torch.from_numpy(rows), torch.from_numpy(self._prefix_axes)).numpy()
        out = np.empty((len(rows), self.width), np.float32)
        out[:, :-1] = prefix
        out[:, -1] = _rest(prefix)
        out[np.vecdot(rows, rows) < 0.5, -1] = 0  # those of zeros; all others have norm 1
        return out


def fit_rotation(
    x: FloatRows,
    threshold: float,
    *,
    seed: int = 0,
    width: int | None = None,
    precision: str = "fp32",
    rounding: float = ROUNDING,
    costs: Costs | None = None,
    threads: int = 1,
) -> Rotation:
    """Principal axes (about the origin) of a seeded sample, and the width that a pilot on sampled pairs finds cheapest.

    Args:
        x: (n, d) float16 or float32.
        threshold: cosine that is searched with.
        precision: ``fp32`` or ``bf16``, of the bounds; it decides what a product costs.
        rounding: of a bound in that precision: pairs this far below the threshold are computed too.
        width: to be taken as it is, without a pilot.
        costs: of the machine that multiplies; None is one core of a CPU in that precision.
    """
    n = len(x)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(n, size=min(n, SAMPLE_ROWS + PILOT_ROWS), replace=False)
    num_pilot = min(PILOT_ROWS, len(chosen) // 4)
    axes = _principal_axes(x, np.sort(chosen[num_pilot:]), threads)
    return alone(lambda: _choose_width(x, chosen[:num_pilot], axes, threshold, width, costs or cpu_costs(precision), rounding))


def _choose_width(
    x: FloatRows,
    pilot: NDArray[np.int64],
    axes: NDArray[np.float32],
    threshold: float,
    width: int | None,
    costs: Costs,
    rounding: float,
) -> Rotation:
    """Of the pairs of one half of the pilot with the other."""
    import torch

    d = x.shape[1]
    if width is not None or len(pilot) < 2:
        return Rotation(axes=axes, width=d if width is None or width > axes.shape[1] else width, candidate_share=0.0)
    rows = torch.from_numpy(unit_rows(x[pilot]))
    half = len(rows) // 2
    z = torch.mm(rows, torch.from_numpy(axes)).numpy()
    most = min(d, axes.shape[1] + 1)
    cosine = torch.mm(rows[:half], rows[half:].T).numpy()
    is_alike = cosine >= threshold
    # Members of one group that are too far apart lie together in the order of the search, where a tile's rows are multiplied all
    # at once.
    alike, together = np.flatnonzero(is_alike), np.flatnonzero(~is_alike & (cosine >= 1 - GROUP_SPREAD * (1 - threshold)))
    best = (costs.product * d + costs.bound, d, 0.0)
    for k in costs.widths:
        if k >= most or costs.product * k + costs.bound >= best[0]:
            break
        prefix = z[:, : k - 1]
        side = torch.from_numpy(np.column_stack([prefix, _rest(prefix)]))
        unsettled = torch.mm(side[:half], side[half:].T).numpy().reshape(-1) >= threshold - rounding
        num_unsettled = int(np.count_nonzero(unsettled)) - int(np.count_nonzero(unsettled[alike]))
        num_together = int(np.count_nonzero(unsettled[together]))
        share_lone = (num_unsettled - num_together) / cosine.size
        joint_check = min(costs.check, ENTRIES_A_CHECK * costs.entry)
        check = min(costs.check * share_lone + joint_check * num_together / cosine.size, costs.entry)
        best = min(best, (costs.product * k + costs.bound + check, k, num_unsettled / cosine.size))
    return Rotation(axes=axes, width=best[1], candidate_share=best[2])


def _principal_axes(x: FloatRows, sample: NDArray[np.int64], threads: int) -> NDArray[np.float32]:
    """float32 (d, r): orthonormal columns, those of most energy of the sampled rows first; r < d where those are fewer."""
    import torch

    d = x.shape[1]
    if d > WIDE:
        sample = sample[:: max(1, -(-len(sample) // WIDE))]
    if len(sample) >= d:
        # The products decide which axes come first, not whether they are orthonormal: fp32 does for them.
        gram = torch.zeros((d, d), dtype=torch.float32)
        for _, part in in_order(range(0, len(sample), GRAM_ROWS), lambda at: _gram(x[sample[at : at + GRAM_ROWS]]), threads):
            gram += part
        vectors = alone(lambda: torch.linalg.eigh(gram.double())[1])
        return np.ascontiguousarray(vectors.numpy()[:, ::-1], dtype=np.float32)

    def few() -> NDArray[np.float32]:
        rows = torch.from_numpy(unit_rows(x[sample])).double()
        # Of a wide matrix the small product has the same eigenvalues; those of its null space are noise.
        values, vectors = torch.linalg.eigh(rows @ rows.T)
        kept = vectors[:, values > 1e-9 * (values.max() if len(values) else 0)].flip(1)
        return np.ascontiguousarray(torch.linalg.qr(rows.T @ kept)[0].numpy(), dtype=np.float32)

    return alone(few)


def _gram(rows: FloatRows) -> torch.Tensor:
    """(d, d)."""
    import torch

    unit = torch.from_numpy(unit_rows(rows))
    return torch.mm(unit.T, unit)


def _rest(prefix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Norm of what is left of unit rows, from above."""
    squares = np.vecdot(prefix, prefix)
    rest: NDArray[np.float32] = np.sqrt(np.maximum(1 - squares, 0) + np.float32(SQUARE_ROUNDING))
    return rest
