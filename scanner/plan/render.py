"""A plan as text: a table of stages, totals, what limits it, and every rate with where it comes from."""

from __future__ import annotations

import textwrap

from scanner.core.amounts import show_bytes, show_number, show_seconds
from scanner.plan.plan import Plan
from scanner.plan.rates import Rate

WIDTH = 110


def plan_lines(plan: Plan) -> list[str]:
    """Lines for a terminal. The last column of the table names the rates of a stage by their number in the list below it."""
    rates = plan.rates
    num_assumed = sum(rate.status == "assumed" for rate in rates)
    width = len(str(len(rates)))
    lines = [*summary_lines(plan), "", "Rates:"]
    for index, rate in enumerate(rates, 1):
        lines += _wrapped(rate_text(rate), first=f"  {index:>{width}}  ", rest=" " * (width + 4))
    return [*lines, "", f"{num_assumed} of {len(rates)} rates are assumed: take the total for its order of magnitude."]


def summary_lines(plan: Plan) -> list[str]:
    """The same without the list of rates."""
    job, machine = plan.job, plan.job.machine
    flops = f", {show_number(job.model.gflops)} GFLOPs an image" if job.model.gflops else ""
    search = f"search in {job.num_cells:,} cells" if job.search == "cells" else "join of all pairs"
    heading = f"{job.images:,} images, {job.model.name} ({job.dim} numbers{flops}), {machine.words()}, "
    heading += f"{show_bytes(machine.memory_bytes)} for the search, {search}"

    number = {rate: index for index, rate in enumerate(plan.rates, 1)}
    rows: list[tuple[str, ...]] = [("stage", "time", "tables", "scratch", "memory", "bound by", "time is", "rates")]
    for stage in plan.stages:
        sizes = map(_size, (stage.table_bytes, stage.scratch_bytes, stage.memory_bytes))
        marks = ",".join(str(number[rate]) for rate in stage.rates)
        rows.append((stage.stage, show_seconds(stage.duration_s), *sizes, stage.bound_by, stage.status, marks))
    sizes = map(_size, (plan.table_bytes, plan.scratch_bytes, plan.memory_bytes))
    rows.append(("total", show_seconds(plan.duration_s), *sizes, "", "", ""))

    together = next(phase for phase in plan.phases if phase.name == plan.stages[0].phase)
    text = f"The first two stages run together and take {show_seconds(together.duration_s)}. "
    text += f"Read from the source: {show_bytes(job.source_bytes)}."
    if machine.gpus:
        text += f" GPUs at work: {show_number(float(f'{plan.gpu_hours:.3g}'))} hours."
    return [*_wrapped(heading), "", *_grid(rows), "", *_wrapped(text), *_wrapped(plan.limit())]


def rate_text(rate: Rate) -> str:
    """``name: value; status: source``."""
    is_size = rate.unit.startswith("bytes") and rate.value >= 1e6
    value = show_bytes(rate.value) + rate.unit.removeprefix("bytes") if is_size else f"{show_number(rate.value)} {rate.unit}"
    return f"{rate.name}: {value}; {rate.origin()}"


def _grid(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns side by side: the four of numbers to the right, the others to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numbers = range(1, 5)
    padded = [
        [cell.rjust(widths[c]) if c in numbers else cell.ljust(widths[c]) for c, cell in enumerate(row)] for row in rows
    ]  # fmt: skip
    return ["  ".join(row).rstrip() for row in padded]


def _size(num_bytes: float) -> str:
    return show_bytes(num_bytes) if num_bytes else "-"


def _wrapped(text: str, *, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )  # fmt: skip
