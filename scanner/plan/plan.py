"""The plan of a scan: every stage, their totals, and what limits it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from scanner.core.amounts import show_seconds
from scanner.core.errors import ConfigError
from scanner.plan.cost import ONE_CORE, StageCost
from scanner.plan.job import Job, Machine, Search
from scanner.plan.model import Model
from scanner.plan.rates import Rate, Rates
from scanner.plan.stages import costs

WORTH_IT = 0.1
"""Share of the whole time that cells must save before they are taken for the exact join."""
FORMAT_VERSION = 1
"""Of the JSON; raised when a field changes its meaning or goes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """Stages that run at the same time. ``seconds`` a resource are those of all of them together."""

    name: str
    seconds: dict[str, float]
    efficiency: float

    @property
    def duration_s(self) -> float:
        return max(self.seconds.values()) / self.efficiency

    @property
    def bound_by(self) -> str:
        return max(self.seconds, key=lambda resource: self.seconds[resource])


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """``stages`` in the order of a scan; everything else follows from them."""

    job: Job
    stages: tuple[StageCost, ...]

    @property
    def phases(self) -> list[Phase]:
        """One after another, each as long as its busiest resource works."""
        found: dict[str, Phase] = {}
        for stage in self.stages:
            name = stage.phase or stage.stage
            before = found.get(name)
            seconds = dict(before.seconds) if before else {}
            for resource, work in stage.work.items():
                seconds[resource] = seconds.get(resource, 0.0) + work.seconds
            efficiency = min(stage.efficiency, before.efficiency if before else 1.0)
            found[name] = Phase(name=name, seconds=seconds, efficiency=efficiency)
        return list(found.values())

    @property
    def duration_s(self) -> float:
        return sum(phase.duration_s for phase in self.phases)

    @property
    def table_bytes(self) -> float:
        return sum(stage.table_bytes for stage in self.stages)

    @property
    def scratch_bytes(self) -> float:
        return max(stage.scratch_bytes for stage in self.stages)

    @property
    def memory_bytes(self) -> float:
        """Of the phase that takes most; stages that run together add up."""
        phases: dict[str, float] = {}
        for stage in self.stages:
            name = stage.phase or stage.stage
            phases[name] = phases.get(name, 0.0) + stage.memory_bytes
        return max(phases.values())

    @property
    def gpu_hours(self) -> float:
        """Hours that GPUs are at work, all of them added up."""
        seconds = sum(stage.work["gpus"].seconds for stage in self.stages if "gpus" in stage.work)
        return seconds * self.job.machine.gpus / 3600

    @property
    def rates(self) -> list[Rate]:
        """Every rate that was used, each once, in order of first use."""
        return list(dict.fromkeys(rate for stage in self.stages for rate in stage.rates))

    def longest(self) -> Phase:
        return max(self.phases, key=lambda phase: phase.duration_s)

    def limit(self) -> str:
        """One sentence: which phase takes longest, what bounds it, and what twice as much of that would give."""
        phase, machine = self.longest(), self.job.machine
        share = phase.duration_s / self.duration_s
        words = {
            "gpus": (f"the {machine.gpus} GPUs" if machine.gpus > 1 else "the GPU", "twice as many"),
            "cores": (f"the {machine.cores} cores" if machine.cores > 1 else "the core", "twice as many"),
            "storage": ("the storage", "twice its speed"),
            ONE_CORE: ("one core, since its code has one thread", ""),
        }
        what, twice = words[phase.bound_by]
        text = f"The {phase.name} takes {share:.0%} of the time ({show_seconds(phase.duration_s)}), limited by {what}"
        more = self._with_twice(phase.bound_by)
        if more is None:
            return text + "."
        return f"{text}; with {twice} the whole would take {show_seconds(more.duration_s)}."

    def _with_twice(self, resource: str) -> Plan | None:
        """The same job with twice the resource; None where there is no more of it to have."""
        job, machine = self.job, self.job.machine
        if resource == "storage":
            doubled = replace(job, rates=job.rates.given(storage=2 * job.rates["storage"].value))
        elif resource == "gpus":
            doubled = replace(job, machine=replace(machine, gpus=2 * machine.gpus))
        elif resource == "cores":
            doubled = replace(job, machine=replace(machine, cores=2 * machine.cores))
        else:
            return None
        return Plan(job=doubled, stages=costs(doubled))

    def to_dict(self) -> dict[str, Any]:
        """The JSON of a plan: plain numbers, seconds and bytes."""
        job, machine = self.job, self.job.machine
        return {
            "format_version": FORMAT_VERSION,
            "inputs": {
                "images": job.images,
                "model": {
                    "name": job.model.name,
                    "dim": job.dim,
                    "gflops_an_image": job.model.gflops,
                    "source": job.model.source,
                },
                "gpus": machine.gpus,
                "gpu": machine.gpu,
                "cores": machine.cores,
                "cpu": machine.cpu,
                "memory_bytes": machine.memory_bytes,
            },
            "search": job.search,
            "num_cells": job.num_cells,
            "stages": [stage.to_dict() for stage in self.stages],
            "phases": [
                {"phase": phase.name, "seconds": phase.duration_s, "bound_by": phase.bound_by, "efficiency": phase.efficiency}
                for phase in self.phases
            ],
            "totals": {
                "seconds": self.duration_s,
                "gpu_hours": self.gpu_hours,
                "source_bytes": round(job.source_bytes),
                "table_bytes": round(self.table_bytes),
                "scratch_bytes": round(self.scratch_bytes),
                "memory_bytes": round(self.memory_bytes),
            },
            "limit": self.limit(),
            "rates": {rate.name: rate.to_dict() for rate in self.rates},
        }


def make_plan(*, images: int, model: Model, machine: Machine, rates: Rates, search: Search = "auto") -> Plan:
    """The plan of one scan.

    Args:
        images: of the set.
        rates: the shipped ones, with what the user knows better in their place.
        search: ``join`` compares all pairs, ``cells`` those that share a cell. ``auto`` takes the join, which misses nothing,
            unless it does not fit into memory or the cells save more than a tenth of the whole time.

    Raises:
        ConfigError: the search does not fit into the memory.
    """

    def plan_of(kind: Literal["join", "cells"]) -> Plan:
        job = Job(images=images, model=model, machine=machine, rates=rates, search=kind)
        job.check_memory()
        return Plan(job=job, stages=costs(job))

    if search != "auto":
        return plan_of(search)
    cells = plan_of("cells")
    try:
        exact = plan_of("join")
    except ConfigError:
        return cells
    return exact if exact.duration_s <= (1 + WORTH_IT) * cells.duration_s else cells
