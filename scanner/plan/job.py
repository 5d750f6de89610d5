"""What is to be planned: a set, an encoder, and the machine that is to do it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Literal

from scanner.core.amounts import show_bytes
from scanner.core.errors import ConfigError
from scanner.plan.model import Model
from scanner.plan.rates import Rates

Search = Literal["auto", "join", "cells"]
Cpu = Literal["avx2", "avx512-bf16"]
Gpu = Literal["h100", "a100", "none"]
LEAST_ROWS_A_CELL = 39
"""faiss's least number of points a centroid (ClusteringParameters)."""
MOST_CELLS = 65_536
"""As scanner/search/cells.py has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Where it runs. ``memory_bytes`` is what the search may take; decoders and encoders have their own, before it."""

    gpus: int
    gpu: Gpu
    cores: int
    cpu: Cpu
    memory_bytes: int

    @classmethod
    def of(
        cls, rates: Rates, *, gpus: int | None, gpu: str | None, cores: int | None, cpu: Cpu = "avx2", memory_bytes: int
    ) -> Machine:
        """A machine from what a user says of it; what is not said is filled in.

        Without GPUs the cores are those of this machine, with them ``cores_a_gpu`` a GPU.

        Raises:
            ConfigError: a number below its least, or GPUs that contradict their kind.
        """
        num = gpus if gpus is not None else int(gpu not in (None, "none"))
        kind = gpu or ("h100" if num else "none")
        if num < 0:
            raise ConfigError(f"--gpus is {num}.", next_step="Give 0 for a machine without a GPU, or how many there are.")
        if kind not in ("h100", "a100", "none"):
            raise ConfigError(f"There are no rates for a GPU {kind!r}.", next_step="Give --gpu h100, a100 or none.")
        if (num > 0) != (kind != "none"):
            raise ConfigError(f"--gpus is {num} and --gpu is {kind}.", next_step="Give --gpus 0 --gpu none, or both of them.")
        if cores is None:
            cores = round(num * rates["cores_a_gpu"].value) if num else os.cpu_count() or 1
        if cores < 1:
            raise ConfigError(f"--cores is {cores}.", next_step="Give at least 1.")
        return cls(gpus=num, gpu=kind, cores=cores, cpu=cpu, memory_bytes=memory_bytes)  # type: ignore[arg-type]

    def words(self) -> str:
        cores = f"{self.cores} {'core' if self.cores == 1 else 'cores'}"
        return f"{self.gpus} x {self.gpu.upper()}, {cores}" if self.gpus else f"{cores} ({self.cpu}), no GPU"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One scan to be planned. Every number of its size follows from the four fields and the rates."""

    images: int
    model: Model
    machine: Machine
    rates: Rates
    search: Literal["join", "cells"]

    @property
    def dim(self) -> int:
        return self.model.dim

    @property
    def vector_bytes(self) -> int:
        """Of all embeddings as they lie in the table: 2 bytes a dimension."""
        return 2 * self.dim * self.images

    @property
    def source_bytes(self) -> float:
        return self.images * self.rates["bytes_an_image"].value

    @property
    def num_links(self) -> float:
        """Images that are a copy of an earlier one: a group of m has m - 1, and so many links span it."""
        return self.images * self.rates["duplicate_share"].value

    @property
    def num_groups(self) -> float:
        return self.num_links / (self.rates["images_a_group"].value - 1)

    @property
    def num_grouped(self) -> float:
        return self.num_links + self.num_groups

    @property
    def num_cells(self) -> int:
        """Cells of the k-means: about sqrt(1.25 rows), fewer where memory cannot hold a sample for so many."""
        wanted = self.rates["cells_per_sqrt_row"].value * math.sqrt(self.images)
        held = self._sample_rows_held / LEAST_ROWS_A_CELL
        return max(1, round(min(wanted, held, self.images / LEAST_ROWS_A_CELL, MOST_CELLS)))

    @property
    def sample_rows(self) -> float:
        """Rows that the k-means is fitted on, in fp32 and in memory."""
        return min(float(self.images), self._sample_rows_held, self.num_cells * self.rates["cell_sample_rows"].value)

    @property
    def _sample_rows_held(self) -> float:
        return max(1.0, (self.machine.memory_bytes - self.search_floor_bytes) / 2 / (4 * self.bound_numbers))

    @property
    def bound_numbers(self) -> float:
        """Numbers of a bound, in which cells are found too."""
        return min(self.rates["join_width"].value, self.dim)

    @property
    def guests_a_row(self) -> float:
        """Cells that a row visits beside its own."""
        return min(self.rates["cells_a_row"].value, self.num_cells) - 1

    @property
    def num_compared(self) -> float:
        """Pairs of rows that the join looks at: n (n - 1) / 2, or that sum over the cells."""
        if self.search == "join":
            return self.images * (self.images - 1) / 2
        # Of each cell its own rows with one another and with its guests.
        in_cells = self.images**2 / self.num_cells * (0.5 + self.guests_a_row) * self.rates["cell_skew"].value
        # Skew is a factor of many cells. With few it would count more pairs than there are.
        return min(in_cells, self.images**2 / 2)

    @property
    def workers_bytes(self) -> float:
        """What the workers of the join hold together, where CPUs do it."""
        return 0.0 if self.machine.gpus else self.machine.cores * self.rates["join_worker_bytes"].value

    @property
    def search_floor_bytes(self) -> float:
        """Least memory of any search: the process and its workers."""
        return self.rates["search_base_bytes"].value + self.workers_bytes

    @property
    def least_memory_bytes(self) -> float:
        """What the search cannot do without. The exact join holds all vectors and their bounds; cells are streamed."""
        if self.search == "join":
            width = min(self.rates["join_width"].value, self.dim)
            return self.search_floor_bytes + self.images * (2 * self.dim + 8 * width + self.rates["collapse_bytes"].value)
        return self.search_floor_bytes + 4 * LEAST_ROWS_A_CELL * self.dim

    def check_memory(self) -> None:
        """Raises ConfigError where the search cannot be done in its memory."""
        least, memory = self.least_memory_bytes, self.machine.memory_bytes
        if least <= memory:
            return
        held = "all vectors and their bounds in memory" if self.search == "join" else f"{self.machine.cores} workers"
        other = ", or take --search cells" if self.search == "join" else ", or fewer --cores"
        raise ConfigError(
            f"--memory is {show_bytes(memory)}, and the search ({held}) takes {show_bytes(least)} at least.",
            next_step=f"Give --memory {math.ceil(least / 1e9)}GB or more{other}.",
        )
