"""Rates of the pass over the images on one machine: measured where they were, else scaled by a rule that is stated."""

from __future__ import annotations

import math

from scanner.plan.job import Job
from scanner.plan.model import find_model
from scanner.plan.rates import Rate

FURTHEST = 30.0
"""Up to so many times the FLOPs of a measured encoder, its FLOP/s are taken to hold; a tiny one tells nothing of a large one."""
SMALL_PICTURES = ("small", "pixels")
"""Encoders that look at 64 x 64 pixels, and so share what preparing an image costs."""


def encoder_rates(job: Job) -> tuple[Rate, ...]:
    """Images a second through the encoder, all GPUs or all cores together, and what that follows from; none for ``pixels``.

    On GPUs: peak x utilisation / FLOPs an image. On CPUs the measured rate of this encoder, or that of another one at the same
    FLOP/s.
    """
    if job.model.gflops == 0:
        return ()
    return _gpu_rates(job) if job.machine.gpus else (_cpu_rate(job),)


def _gpu_rates(job: Job) -> tuple[Rate, ...]:
    machine, rates = job.machine, job.rates
    peak, share, most = rates[f"gpu_bf16_{machine.gpu}"], rates["gpu_utilisation"], rates["gpu_images_most"]
    by_flops = peak.value * share.value / (job.model.gflops * 1e9)
    rule = f"{machine.gpus} GPUs x peak x utilisation / {job.model.gflops:.4g} GFLOPs an image ({job.model.source})"
    parts: tuple[Rate, ...] = (peak, share)
    if by_flops > most.value:
        rule, parts = f"{machine.gpus} GPUs at the most images a GPU", (most,)
    value = machine.gpus * min(by_flops, most.value)
    return (Rate(name="encode", stage="embed", value=value, unit="images/s", status="assumed", source=rule), *parts)


def _cpu_rate(job: Job) -> Rate:
    machine, model = job.machine, job.model
    measured = job.rates.measured("encode_")
    own = [rate for rate in measured if rate.model == model.name]
    own.sort(key=lambda rate: (rate.cpu != machine.cpu, rate.cores != machine.cores))
    # A CPU with more instructions is taken to be no faster, one with fewer is not taken to keep up.
    if own and (own[0].cpu == machine.cpu or machine.cpu != "avx2"):
        base = own[0]
        if (base.cpu, base.cores) == (machine.cpu, machine.cores):
            return base
        rule = f"in proportion to the cores ({machine.cores} against {base.cores})"
        rule += "" if base.cpu == machine.cpu else f", as on {base.cpu}"
        return base.scaled(base.value / base.cores * machine.cores, name="encode", unit="images/s", rule=rule)
    others = [(_distance(find_model(rate.model).gflops, model.gflops), rate) for rate in measured if rate.cpu == machine.cpu]
    flops_rate = next((rate for rate in job.rates if rate.name == f"encoder_flops_{machine.cpu.replace('-', '_')}"), None)
    if others:
        distance, base = min(others, key=lambda other: other[0])
        if distance <= math.log(FURTHEST) or flops_rate is None:
            known = find_model(base.model).gflops
            value = base.value / base.cores * machine.cores * known / model.gflops
            rule = f"at the FLOP/s of {base.model} ({model.gflops:.4g} GFLOPs an image against {known:.4g})"
            rule += f" and in proportion to the cores ({machine.cores} against {base.cores})"
            return base.scaled(value, name="encode", unit="images/s", rule=rule)
    assert flops_rate is not None, "rates.yaml has an encoder for every kind of CPU"
    rule = f"{machine.cores} cores at {flops_rate.value:.3g} FLOP/s and {model.gflops:.4g} GFLOPs an image"
    return flops_rate.scaled(flops_rate.value * machine.cores / (model.gflops * 1e9), name="encode", unit="images/s", rule=rule)


def _distance(gflops: float, other: float) -> float:
    return abs(math.log(gflops / other))


def preparation_rate(job: Job) -> Rate:
    """Images a second read, decoded and resized, all cores together: in inverse proportion to the bytes of an image.

    No faster on a core than the fastest that was measured, since small files have costs of their own.
    """
    machine, size = job.machine, job.rates["bytes_an_image"].value
    measured = job.rates.measured("prepare_")
    is_small = job.model.name in SMALL_PICTURES
    fitting = [rate for rate in measured if (rate.model in SMALL_PICTURES) == is_small]
    base = min(fitting, key=lambda r: (r.model != job.model.name, r.cpu != machine.cpu, r.cores != machine.cores))
    if (base.model, base.cpu, base.cores, base.image_bytes) == (job.model.name, machine.cpu, machine.cores, size):
        return base
    fastest = max(rate.value / rate.cores for rate in measured)
    a_core = min(base.value / base.cores * base.image_bytes / size, fastest)
    rule = f"in proportion to the cores ({machine.cores} against {base.cores})"
    rule += f" and in inverse proportion to the bytes of an image ({size:,.0f} against {base.image_bytes:,})"
    if a_core == fastest:
        rule += ", but no faster a core than was measured"
    return base.scaled(a_core * machine.cores, name="prepare", unit="images/s", rule=rule)


def overlap_rate(job: Job) -> Rate:
    """Share of the bound that the whole pass reaches, the bound being what its resources allow."""
    machine = job.machine
    measured = job.rates.measured("overlap_")
    base = min(measured, key=lambda r: (r.model != job.model.name, r.cpu != machine.cpu, -r.value))
    if not machine.gpus and (base.model, base.cpu, base.cores) == (job.model.name, machine.cpu, machine.cores):
        return base
    rule = "as on CPUs, where both share the cores" if machine.gpus else "as it was measured elsewhere"
    return base.scaled(base.value, name="overlap", unit=base.unit, rule=rule)
