"""The exact threshold join on a GPU: candidates by a bf16 product that is never written (``join_kernel``), checked in fp32.

The same pairs as ``join.ThresholdJoin`` gives, ties within fp32 rounding apart. Rows may lie on the host, memory-mapped: blocks
that fit the device's memory come in while others are multiplied, and n rows cross the bus about n / (2 block) times.
At 10 million rows a block that should be a hundredth of the time their products take; no GPU has measured it yet.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import numpy as np

from scanner.core.errors import ConfigError
from scanner.search.bounds import Costs, fit_rotation
from scanner.search.device_blocks import BlockLoader, DeviceBlock, Name, on, plan_memory, steps
from scanner.search.join import JoinStats
from scanner.search.threshold import FloatRows, PairBlock, check_threshold
from scanner.search.tiles import BF16_ROUNDING

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("scanner")

PANEL_ROWS, PANEL_COLUMNS = 32_768, 131_072
"""Pairs of one launch: milliseconds of work, against which a launch and a look at its counter are nothing."""
ALIGNED_ROWS = 64
"""Parts of a split launch start on multiples of so many rows."""
FREE_SHARE = 0.8
"""Of the free device memory, what is used by default."""
GPU_COSTS = Costs(product=3.3e-15, bound=2e-13, check=1e-8, entry=float("inf"), widths=(64, 128, 192, 256, 384, 512, 768))
"""All assumed, none measured: 600 TFLOP/s; an epilogue of 1/8 of a product of 512; for a candidate two rows of 1 KiB gathered
at 1 TB/s and, as it is mostly alone in its tile, that tile's second look of about a microsecond of one multiprocessor. At
d = 512 a prefix of 128 numbers is taken where it leaves fewer than about one pair in ten thousand to be checked; where no
prefix does better the product is of full rows. Widths are multiples of what rows are padded to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuJoinStats(JoinStats):
    """``num_repeats``: launches that found more candidates than were kept, and were split and run again."""

    num_repeats: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Rows and columns of two blocks, both from 0 in their block; ``shift`` as in ``find_candidates``."""

    row: int
    num_rows: int
    column: int
    num_columns: int
    is_square: bool

    @property
    def shift(self) -> int | None:
        """None where every pair counts: two blocks, or all columns right of all rows."""
        return self.column - self.row if self.is_square and self.column < self.row + self.num_rows else None

    @property
    def num_pairs(self) -> int:
        """Row pairs that it compares: all, or those above the diagonal."""
        stop = self.column + self.num_columns
        whole = self.num_rows if not self.is_square else min(max(self.column - self.row, 0), self.num_rows)
        # From the first row on that the diagonal cuts, each has one fewer than the row before.
        most = max(0, stop - 1 - (self.row + whole))
        num_cut = min(self.num_rows - whole, most)
        return whole * self.num_columns + num_cut * (2 * most - num_cut + 1) // 2

    def split(self, parts: int) -> list[Panel]:
        """About ``parts`` panels, two at least, as square as can be."""
        side = max(1, math.isqrt(self.num_rows * self.num_columns // parts))
        # Whole tiles, and starts on the same alignment, for which the kernels are compiled already.
        side -= side % ALIGNED_ROWS if side > ALIGNED_ROWS else 0
        num_rows, num_columns = min(side, self.num_rows), min(side, self.num_columns)
        if (num_rows, num_columns) == (self.num_rows, self.num_columns):
            num_rows, num_columns = (-(-num_rows // 2), num_columns) if num_rows > 1 else (num_rows, -(-num_columns // 2))
        return list(_panels(self.row, self.num_rows, self.column, self.num_columns, num_rows, num_columns, self.is_square))


def _panels(
    row: int, num_rows: int, column: int, num_columns: int, most_rows: int, most_columns: int, is_square: bool
) -> Iterator[Panel]:
    """A rectangle in panels, row by row, without those that have no pair; in a square a row starts where the diagonal enters."""
    for first in range(row, row + num_rows, most_rows):
        height = min(most_rows, row + num_rows - first)
        start = max(column, first) if is_square else column
        for left in range(start, column + num_columns, most_columns):
            panel = Panel(
                row=first, num_rows=height, column=left, num_columns=min(most_columns, column + num_columns - left),
                is_square=is_square,
            )  # fmt: skip
            if panel.num_pairs:
                yield panel


@dataclass(kw_only=True, slots=True, eq=False)
class _Launch:
    """What one product writes: candidates, their number, and that number where the host can read it after ``done``."""

    keys: torch.Tensor
    count: torch.Tensor
    count_on_host: torch.Tensor
    done: torch.cuda.Event | None


@dataclass(kw_only=True)
class GpuThresholdJoin:
    """A join that is set up and can be run once: ``blocks`` yields the pairs, ``stats`` says how it went.

    Args:
        x: (n, d) float16 or float32, for instance memory-mapped. Rows are scaled to norm 1; those that are zero or not finite
            match nothing.
        threshold: smallest cosine similarity, in (0, 1].
        y: (m, d), the other set; None joins x with itself, each pair once.
        width: of the bounds; None leaves it to a pilot and ``GPU_COSTS``, d multiplies full rows.
        seed: of the sample behind the bounds; it changes the time only.
        device_memory_bytes: of the device, for everything; None takes 0.8 of what is free.
        device: ``cuda``, ``cuda:1`` ...; ``cpu`` only under Triton's interpreter.
        kernel: ``grid`` runs on any GPU that multiplies bf16; ``persistent`` needs Hopper or later. Which is faster there has not
            been measured.

    Raises:
        ConfigError: a threshold outside (0, 1]; rows of two lengths; triton or a fitting GPU is missing; too little memory.
    """

    x: FloatRows
    threshold: float
    y: FloatRows | None = None
    width: int | None = None
    seed: int = 0
    device_memory_bytes: int | None = None
    device: str = "cuda"
    kernel: Literal["grid", "persistent"] = "grid"
    stats: GpuJoinStats = field(init=False)

    def __post_init__(self) -> None:
        import torch

        self._radius = check_threshold(self.threshold)
        _require(self.device, self.kernel)
        from scanner.search.join_kernel import ALIGN

        self._device = torch.device(self.device)
        if self.device == "cuda":
            self._device = torch.device("cuda", torch.cuda.current_device())
        self._sets = [self.x] if self.y is None else [self.x, self.y]
        d = self.x.shape[1]
        if self._sets[-1].shape[1] != d:
            raise ConfigError(
                f"Rows of the first set have {d} numbers, those of the second {self._sets[-1].shape[1]}.",
                next_step="Join embeddings of one encoder.",
            )
        self._rotation = fit_rotation(
            max(self._sets, key=len), self.threshold, seed=self.seed, width=self.width, rounding=BF16_ROUNDING, costs=GPU_COSTS
        )
        self._cut = float(np.nextafter(np.float32(float(self._radius) - BF16_ROUNDING), np.float32(-1)))
        self._bound_numbers = -(-min(self._rotation.width, d) // ALIGN) * ALIGN
        self.stats = GpuJoinStats(width=self._rotation.width, precision="bf16")
        sizes = [len(rows) for rows in self._sets]
        self._plan = None
        if all(sizes):
            item_bytes = 2 if all(rows.dtype == np.float16 for rows in self._sets) else 4
            budget = self.device_memory_bytes or _default_budget(self._device)
            self._plan = plan_memory(sizes, d, item_bytes=item_bytes, bound_numbers=self._bound_numbers, budget=budget)
            logger.info(
                "exact join on %s: %s rows of %d, similarity >= %g, bf16 bounds of %d numbers (%.2g of the pairs need more), "
                "%d blocks of %s rows at once, %.1f GiB of its memory",
                self._device, " x ".join(f"{n:,}" for n in sizes), d, self.threshold, self._rotation.width,
                self._rotation.candidate_share, self._plan.num_slots, f"{self._plan.block_rows:,}", self._plan.num_bytes / 2**30,
            )  # fmt: skip

    def blocks(self, *, on_tile: Callable[[int], None] | None = None) -> Iterator[PairBlock]:
        """Every pair at or above the threshold, each once, in blocks of 1 to 4,194,304 pairs.

        Joined with itself, ``left < right``; between two sets ``left`` is a row of x and ``right`` one of y. A block's pairs are
        sorted by (left, right). Blocks come in one order on one machine with one budget; how a tile is computed, and so where
        a launch overflows and is split, may differ between machines. The pairs do not.

        Args:
            on_tile: called with the number of pairs just compared; the calls add up to n (n - 1) / 2, or n m.
        """
        import torch

        if self._plan is None:
            return
        sets, rows = self._sets, self._plan.block_rows
        numbers = [-(-len(x) // rows) for x in sets]
        order: list[tuple[Name, Name]] = steps(numbers[0], numbers[1] if self.y is not None else None)
        loader = BlockLoader(sets, self._rotation, self._plan, self._device, bound_numbers=self._bound_numbers)
        try:
            products, checks = _streams(self._device)
            launches = [self._launch_buffers() for _ in range(2)]
            for step, (left, right) in enumerate(order):
                blocks = loader.get(left, keep=(left, right)), loader.get(right, keep=(left, right))
                for other in order[step + 1] if step + 1 < len(order) else ():
                    loader.prefetch(other, keep=(left, right))
                is_square = left == right
                yield from self._meet(*blocks, is_square, launches, products, checks, on_tile)
        finally:
            loader.close()
            if self._device.type == "cuda":
                # Before memory that a launch still writes goes back to the allocator.
                torch.cuda.synchronize(self._device)

    def _meet(
        self, left: DeviceBlock, right: DeviceBlock, is_square: bool, launches: list[_Launch], products: torch.cuda.Stream | None,
        checks: torch.cuda.Stream | None, on_tile: Callable[[int], None] | None,
    ) -> Iterator[PairBlock]:  # fmt: skip
        """Pairs of two blocks. While the candidates of one panel are checked the next one is being multiplied."""
        waiting = deque(_panels(0, len(left), 0, len(right), PANEL_ROWS, self._panel_columns(), is_square))
        free = list(launches)
        running: deque[tuple[Panel, _Launch]] = deque()
        while waiting or running:
            while waiting and free:
                panel, launch = waiting.popleft(), free.pop()
                self._multiply(panel, launch, left, right, products)
                running.append((panel, launch))
            panel, launch = running.popleft()
            if launch.done is not None:
                launch.done.synchronize()
            count = int(launch.count_on_host)
            if count > len(launch.keys):
                # Twice as many parts as would do if candidates lay evenly. A panel of no more pairs than are kept ends it.
                waiting.extendleft(reversed(panel.split(-(-2 * count // len(launch.keys)))))
                self.stats = replace(self.stats, num_repeats=self.stats.num_repeats + 1)
                free.append(launch)
                continue
            block = self._check(panel, launch.keys[:count], left, right, checks) if count else None
            free.append(launch)
            self.stats = replace(
                self.stats,
                num_compared=self.stats.num_compared + panel.num_pairs,
                num_candidates=self.stats.num_candidates + count,
                num_pairs=self.stats.num_pairs + (len(block) if block else 0),
            )
            if on_tile:
                on_tile(panel.num_pairs)
            if block:
                yield block

    def _panel_columns(self) -> int:
        """So that the candidates which the pilot expects fill a quarter of the room for them."""
        assert self._plan is not None
        expected = 4 * self._rotation.candidate_share * PANEL_ROWS
        return min(PANEL_COLUMNS, max(1024, int(self._plan.capacity / expected))) if expected else PANEL_COLUMNS

    def _launch_buffers(self) -> _Launch:
        import torch

        assert self._plan is not None
        is_cuda = self._device.type == "cuda"
        return _Launch(
            keys=torch.empty(self._plan.capacity, dtype=torch.int64, device=self._device),
            count=torch.empty(1, dtype=torch.int64, device=self._device),
            count_on_host=torch.zeros(1, dtype=torch.int64, pin_memory=is_cuda),
            done=torch.cuda.Event() if is_cuda else None,  # type: ignore[no-untyped-call]
        )

    def _multiply(
        self, panel: Panel, launch: _Launch, left: DeviceBlock, right: DeviceBlock, stream: torch.cuda.Stream | None
    ) -> None:
        from scanner.search.join_kernel import find_candidates

        with on(stream):
            if stream is not None:
                for block in (left, right):
                    if block.ready is not None:
                        stream.wait_event(block.ready)
            find_candidates(
                left.bounds[panel.row : panel.row + panel.num_rows],
                right.bounds[panel.column : panel.column + panel.num_columns],
                launch.keys, launch.count, cut=self._cut, shift=panel.shift, is_persistent=self.kernel == "persistent",
            )  # fmt: skip
            launch.count_on_host.copy_(launch.count, non_blocking=True)
            if launch.done is not None:
                launch.done.record(stream)

    def _check(
        self, panel: Panel, keys: torch.Tensor, left: DeviceBlock, right: DeviceBlock, stream: torch.cuda.Stream | None
    ) -> PairBlock:
        """The candidates that an fp32 cosine confirms, sorted. Returns when the device has done with ``keys``."""
        import torch

        from scanner.search.join_kernel import confirm

        rows = slice(panel.row, panel.row + panel.num_rows)
        columns = slice(panel.column, panel.column + panel.num_columns)
        with on(stream):
            similarity = confirm(keys, left.rows[rows], right.rows[columns], left.norms[rows], right.norms[columns])
            near = similarity >= float(self._radius)
            found, order = torch.sort(keys[near])
            places, values = found.cpu().numpy(), similarity[near][order].cpu().numpy()
        return PairBlock(
            left=(places >> 32) + (left.first + panel.row),
            right=(places & 0xFFFFFFFF) + (right.first + panel.column),
            similarity=values,
        )


def gpu_join_available() -> bool:
    """Whether :class:`GpuThresholdJoin` runs here: triton, and an NVIDIA GPU that multiplies bf16 (Ampere or later)."""
    return _missing("cuda", "grid") is None


def _require(device: str, kernel: str) -> None:
    if (missing := _missing(device, kernel)) is not None:
        raise ConfigError(
            f"The join on the GPU cannot run on {device!r}: {missing}",
            next_step="Use the join on the CPU, whose pairs are the same, or a Linux machine with an NVIDIA GPU of compute "
            "capability 8.0 or later and torch built for CUDA, which brings triton.",
        )


def _missing(device: str, kernel: str) -> str | None:
    """What keeps the join from running there, or None."""
    if find_spec("triton") is None:
        return "triton is not installed."
    import torch

    if device.split(":")[0] == "cuda":
        if torch.version.cuda is None or not torch.cuda.is_available():
            return "torch sees no CUDA GPU."
        capability = torch.cuda.get_device_capability(device)
        needed = (9, 0) if kernel == "persistent" else (8, 0)
        if capability < needed:
            return f"its compute capability is {capability}, and the {kernel!r} kernel needs {needed}."
    from scanner.search.join_kernel import is_interpreted

    if device == "cpu" and not is_interpreted():
        return "only Triton's interpreter (TRITON_INTERPRET=1) runs kernels on the CPU."
    if device != "cpu" and is_interpreted():
        return "TRITON_INTERPRET is set, which runs kernels on the CPU."
    if device != "cpu" and not device.startswith("cuda"):
        return "it is no CUDA GPU."
    return None


def _default_budget(device: torch.device) -> int:
    import torch

    return int(FREE_SHARE * torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 2**28


def _streams(device: torch.device) -> tuple[torch.cuda.Stream | None, torch.cuda.Stream | None]:
    """For products and for checks, which go first: they are short and the host waits for them."""
    import torch

    if device.type != "cuda":
        return None, None
    return torch.cuda.Stream(device), torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]
