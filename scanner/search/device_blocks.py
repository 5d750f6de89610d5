"""Blocks of rows on the device: how its memory is shared out, and copies that run while the block before is multiplied.

Of a row lie there: its numbers as given, which the fp32 check reads; its bound in bf16, which the product reads; its norm.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from scanner.core.errors import ConfigError
from scanner.search.bounds import SQUARE_ROUNDING, Rotation
from scanner.search.threshold import MAX_BLOCK_PAIRS, FloatRows

if TYPE_CHECKING:
    import torch

Name: TypeAlias = tuple[int, int]
"""Set (0 is x, 1 is y) and block."""

ROW_ALIGN = 128
CANDIDATE_BYTES = 96
"""A candidate lies in two buffers (8 each), its check takes 13 more, and the survivors are sorted (up to 60)."""
MIN_CAPACITY = 4096
CHUNK_BYTES = 2**28
"""Temporaries of one chunk of rows on its way in, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryPlan:
    """Attributes:
    block_rows: rows of a block.
    num_slots: blocks held at once: two that are multiplied and the next one; fewer where the sets have fewer.
    capacity: candidates of one launch that are kept; more and it is split and repeated.
    chunk_rows: rows copied at once.
    num_bytes: of device memory, for all of it.
    """

    block_rows: int
    num_slots: int
    capacity: int
    chunk_rows: int
    num_bytes: int


def plan_memory(sizes: Iterable[int], d: int, *, item_bytes: int, bound_numbers: int, budget: int) -> MemoryPlan:
    """How ``budget`` bytes hold blocks of sets of these sizes.

    Args:
        sizes: rows of each set, at least 1.
        d: numbers of a row, of ``item_bytes`` bytes each.
        bound_numbers: of a bound, padding included.

    Raises:
        ConfigError: the budget does not hold three blocks of 128 rows.
    """
    sizes = list(sizes)
    row_bytes = d * item_bytes + 2 * bound_numbers + 4
    capacity = min(max(budget // 8 // CANDIDATE_BYTES, MIN_CAPACITY), MAX_BLOCK_PAIRS)
    # Of a row on its way: f32 three times and, where it is rotated, f64.
    chunk_row_bytes = 12 * d + 16 * bound_numbers + 8 * d
    chunk_rows = max(1, min(CHUNK_BYTES, budget // 16) // chunk_row_bytes, min(ROW_ALIGN, max(sizes)))
    fixed = capacity * CANDIDATE_BYTES + chunk_rows * chunk_row_bytes + 8 * d * bound_numbers
    fitting = max(0, budget - fixed) // row_bytes
    most = max(sizes)
    for num_slots in (1, 2, 3):
        block_rows = min(fitting // num_slots, 2**30)
        if block_rows and sum(-(-n // block_rows) for n in sizes) <= num_slots:
            break
    if block_rows < min(ROW_ALIGN, most):
        raise ConfigError(
            f"A join on the GPU cannot work in {budget:,} bytes of its memory: {fixed:,} go to candidates and copies, and three "
            f"blocks of {ROW_ALIGN} rows need {3 * ROW_ALIGN * row_bytes:,} more.",
            next_step=f"Give it at least {fixed + 3 * ROW_ALIGN * row_bytes:,} bytes.",
        )
    # Blocks of one size: a last one of a few rows would be copied for next to no work.
    even = -(-most // -(-most // block_rows))
    block_rows = min(block_rows, -(-even // ROW_ALIGN) * ROW_ALIGN, most)
    return MemoryPlan(
        block_rows=block_rows, num_slots=num_slots, capacity=capacity, chunk_rows=chunk_rows,
        num_bytes=fixed + num_slots * block_rows * row_bytes,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DeviceBlock:
    """Attributes:
    first: row of the set that the block starts with.
    rows: f16 or f32 (m, d), as they were given.
    bounds: bf16 (m, k), padded with zeros.
    norms: f32 (m,); 0 for a row that is zero or not finite.
    ready: the event after which they may be read; None on the CPU.
    """

    first: int
    rows: torch.Tensor
    bounds: torch.Tensor
    norms: torch.Tensor
    ready: torch.cuda.Event | None

    def __len__(self) -> int:
        return len(self.norms)


class BlockLoader:
    """Brings blocks to the device, in a thread and a stream of its own. To be closed.

    Args:
        sets: x, or x and y; float16 or float32, for instance memory-mapped.
        bound_numbers: width of the bounds with padding.
    """

    def __init__(
        self, sets: list[FloatRows], rotation: Rotation, plan: MemoryPlan, device: torch.device, *, bound_numbers: int
    ) -> None:
        import torch

        self._sets, self._rotation, self._plan, self._device = sets, rotation, plan, device
        d = sets[0].shape[1]
        dtype = torch.float16 if all(x.dtype == np.float16 for x in sets) else torch.float32
        is_cuda = device.type == "cuda"
        self._slots = [
            (
                torch.empty((plan.block_rows, d), dtype=dtype, device=device),
                torch.zeros((plan.block_rows, bound_numbers), dtype=torch.bfloat16, device=device),
                torch.empty(plan.block_rows, dtype=torch.float32, device=device),
            )
            for _ in range(plan.num_slots)
        ]
        # In fp64, which is cheap for one factor this small and which no setting of the process turns into TF32.
        prefix = rotation.axes[:, : rotation.width - 1].astype(np.float64)
        self._axes = torch.from_numpy(prefix).to(device) if rotation.width < d else None
        self._staging = [torch.empty((plan.chunk_rows, d), dtype=dtype, pin_memory=is_cuda) for _ in range(2)]
        self._staged: list[torch.cuda.Event | None] = [None, None]
        self._stream = torch.cuda.Stream(device) if is_cuda else None  # type: ignore[no-untyped-call]
        if is_cuda:
            torch.cuda.synchronize(device)  # The slots were filled with zeros on another stream.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="join-copy")
        self._loaded: dict[Name, tuple[int, Future[DeviceBlock]]] = {}

    def get(self, name: Name, keep: Iterable[Name] = ()) -> DeviceBlock:
        """A block, once it is there; work that reads it must wait for ``ready``."""
        self.prefetch(name, keep)
        return self._loaded[name][1].result()

    def prefetch(self, name: Name, keep: Iterable[Name] = ()) -> None:
        """Starts to bring a block, in the place of one that is not in ``keep`` and that nothing reads any more."""
        if name in self._loaded:
            return
        taken = {slot for slot, _ in self._loaded.values()}
        free = next((slot for slot in range(len(self._slots)) if slot not in taken), None)
        if free is None:
            oldest = next(other for other in self._loaded if other not in set(keep))
            free = self._loaded.pop(oldest)[0]
        self._loaded[name] = (free, self._pool.submit(self._load, name, free))

    def close(self) -> None:
        """Waits for the copy under way; blocks must not be read any more."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._stream is not None:
            self._stream.synchronize()

    def _load(self, name: Name, slot: int) -> DeviceBlock:
        import torch

        x = self._sets[name[0]]
        first = name[1] * self._plan.block_rows
        size = min(self._plan.block_rows, len(x) - first)
        rows, bounds, norms = (tensor[:size] for tensor in self._slots[slot])
        with on(self._stream):
            for turn, start in enumerate(range(0, size, self._plan.chunk_rows)):
                chunk = slice(start, min(start + self._plan.chunk_rows, size))
                self._copy(turn % 2, x[first + chunk.start : first + chunk.stop], rows[chunk])
                self._prepare(rows[chunk], bounds[chunk], norms[chunk])
            ready = torch.cuda.Event() if self._stream is not None else None  # type: ignore[no-untyped-call]
            if ready is not None:
                ready.record(self._stream)
        return DeviceBlock(first=first, rows=rows, bounds=bounds, norms=norms, ready=ready)

    def _copy(self, turn: int, source: FloatRows, target: torch.Tensor) -> None:
        import torch

        if (event := self._staged[turn]) is not None:
            event.synchronize()
        staging = self._staging[turn][: len(source)]
        np.copyto(staging.numpy(), source, casting="same_kind")
        target.copy_(staging, non_blocking=True)
        if self._stream is not None:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(self._stream)
            self._staged[turn] = event

    def _prepare(self, rows: torch.Tensor, bounds: torch.Tensor, norms: torch.Tensor) -> None:
        """Norms and bounds of rows, by the formulas of ``unit_rows`` and ``Rotation.bounds``."""
        import torch

        unit = rows.float()
        length = (unit * unit).sum(dim=1).sqrt()
        is_usable = torch.isfinite(length) & (length > 0)
        norms.copy_(torch.where(is_usable, length, 0))
        unit = torch.where(is_usable[:, None], unit / length[:, None], 0)
        if self._axes is None:
            bounds[:, : unit.shape[1]] = unit
            return
        width = self._rotation.width
        prefix = (unit.double() @ self._axes).float()
        rest = ((1 - (prefix * prefix).sum(dim=1)).clamp_min(0) + SQUARE_ROUNDING).sqrt()
        bounds[:, : width - 1] = prefix
        bounds[:, width - 1] = torch.where(is_usable, rest, 0)


def on(stream: torch.cuda.Stream | None) -> AbstractContextManager[Any]:
    """Work inside goes to that stream, and device; nothing where there is none. Not to be held across a yield."""
    import torch

    return torch.cuda.stream(stream) if stream is not None else nullcontext()


def steps(num_left: int, num_right: int | None) -> list[tuple[Name, Name]]:
    """Pairs of blocks in an order in which each needs at most one block that the one before did not have.

    Columns are walked there and back. Of one set (``num_right`` None) only blocks with left <= right meet.
    """
    found: list[tuple[Name, Name]] = []
    for left in range(num_left):
        columns = list(range(num_right)) if num_right is not None else list(range(left, num_left))
        side = 0 if num_right is None else 1
        found += [((0, left), (side, right)) for right in (columns if left % 2 == 0 else reversed(columns))]
    return found
