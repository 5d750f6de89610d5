"""What a stage costs, as every stage of a plan says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from scanner.plan.rates import Rate, Status

ONE_CORE = "one core"
"""Work that the code does on one thread, however many there are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """Seconds that one resource is at work, and the rates that they follow from."""

    seconds: float
    rates: tuple[Rate, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class StageCost:
    """One line of a plan.

    Attributes:
        stage: its name.
        work: of each resource (``storage``, ``cores``, ``one core``, ``gpus``); they work at the same time.
        phase: stages of one phase run together and share resources; empty where a stage runs alone.
        efficiency: of the phase, the share of its bound that it reaches.
        tables: bytes of each table that it leaves in the run.
        scratch_bytes: on disk while it runs, and gone with the search.
        memory_bytes: resident at most, all processes together.
        size_rates: that bytes on disk and in memory follow from.
    """

    stage: str
    work: dict[str, Work]
    phase: str = ""
    efficiency: float = 1.0
    tables: dict[str, float] = field(default_factory=dict)
    scratch_bytes: float = 0.0
    memory_bytes: float = 0.0
    size_rates: tuple[Rate, ...] = ()

    @property
    def duration_s(self) -> float:
        """Seconds if it ran alone: those of the resource that works longest."""
        return self.work[self.bound_by].seconds

    @property
    def bound_by(self) -> str:
        return max(self.work, key=lambda resource: self.work[resource].seconds)

    @property
    def status(self) -> Status:
        """Of its duration: ``assumed`` if one of the rates is that bind it, ``given`` if all come from the user."""
        found = {rate.status for rate in self.work[self.bound_by].rates}
        return "assumed" if "assumed" in found else "measured" if "measured" in found else "given"

    @property
    def table_bytes(self) -> float:
        return sum(self.tables.values())

    @property
    def rates(self) -> list[Rate]:
        """All of them, each once, those of the duration first."""
        binding = self.work[self.bound_by]
        others = (work for work in self.work.values() if work is not binding)
        return list(dict.fromkeys([*binding.rates, *(rate for work in others for rate in work.rates), *self.size_rates]))

    def to_dict(self) -> dict[str, Any]:
        """What the JSON of a plan says of it; rates by name."""
        return {
            "stage": self.stage,
            "phase": self.phase or self.stage,
            "seconds": self.duration_s,
            "seconds_by_resource": {resource: work.seconds for resource, work in self.work.items()},
            "bound_by": self.bound_by,
            "status": self.status,
            "table_bytes": {table: round(size) for table, size in self.tables.items()},
            "scratch_bytes": round(self.scratch_bytes),
            "memory_bytes": round(self.memory_bytes),
            "rates": [rate.name for rate in self.rates],
        }
