"""``plan``."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from scanner.plan.extraction import ExtractionPlan


@click.command()
@click.option("--images", metavar="N", help="Images of the set: 5e9, 5_000_000_000 or 400M.")
@click.option("--extract", "is_extraction", is_flag=True, help="Plan an extraction instead of a scan.")
@click.option("--prompts", metavar="N", help="Of an extraction: captions of lane duplicate (default: extract.max_prompts).")
@click.option("--config", "config_path", metavar="FILE", help="Of an extraction: its settings (default: sd_extraction).")
@click.option("--passes-a-second", type=float, metavar="RATE", help="Of an extraction: evaluations of the network, a device.")
@click.option("--model", default="ViT-B-32", show_default=True, help="open_clip's name, an --encoder of a scan, small or pixels.")
@click.option(
    "--gpus",
    type=click.IntRange(0, 1_000_000),
    help="GPUs of the machine, or of all machines together (default: 1 with a --gpu, else none).",
)
@click.option("--gpu", type=click.Choice(["h100", "a100", "none"]), help="Their kind (default: h100 where there are any).")
@click.option(
    "--cores", type=click.IntRange(1, 10_000_000), help="CPU cores (default: 16 a GPU; without a GPU those of this machine)."
)
@click.option("--cpu", type=click.Choice(["avx2", "avx512-bf16"]), default="avx2", show_default=True, help="Kind of the cores.")
@click.option("--memory", default="16GB", show_default=True, metavar="SIZE", help="What the search may take.")
@click.option("--storage-mb-s", type=float, metavar="MB/S", help="Speed of source, tables and scratch (default: 2000).")
@click.option("--bytes-an-image", metavar="SIZE", help="Mean size of an image file (default: 37500, LAION-5B at 384 pixels).")
@click.option("--duplicate-share", type=float, metavar="SHARE", help="Images that are a copy of another one (default: 0.3).")
@click.option("--gflops-an-image", type=float, metavar="GFLOPS", help="Of the image tower, for models that are not known.")
@click.option(
    "--search",
    type=click.Choice(["auto", "join", "cells"]),
    default="auto",
    show_default=True,
    help="All pairs, those that share a cell, or cells only where all pairs take too long or do not fit into memory.",
)
@click.option("--json", "is_json", is_flag=True, help="Print the plan as JSON: seconds, bytes, every rate with its source.")
def plan(
    images: str | None,
    is_extraction: bool,
    prompts: str | None,
    config_path: str | None,
    passes_a_second: float | None,
    model: str,
    gpus: int | None,
    gpu: str | None,
    cores: int | None,
    cpu: str,
    memory: str,
    storage_mb_s: float | None,
    bytes_an_image: str | None,
    duplicate_share: float | None,
    gflops_an_image: float | None,
    search: str,
    is_json: bool,
) -> None:
    """What a scan would take: time, disk and memory of every stage, and what limits it.

    Arithmetic only: nothing is read, started or measured. Every rate says where it comes from: measured (by a benchmark, on
    such hardware), given (on the command line) or assumed. To see the settings of a run resolved, use scanner run CONFIG --plan.

    \b
    Example:
      scanner plan --images 5e9 --gpus 8 --model ViT-L-14
      scanner plan --images 250000 --cores 2 --model small --json
      scanner plan --extract --prompts 350000 --gpus 8 --gpu a100
    """
    from scanner.core.amounts import parse_bytes, parse_count
    from scanner.core.errors import ConfigError
    from scanner.plan.job import Machine
    from scanner.plan.model import find_model
    from scanner.plan.plan import make_plan
    from scanner.plan.rates import shipped_rates
    from scanner.plan.render import plan_lines

    if duplicate_share is not None and not 0 <= duplicate_share < 1:
        raise ConfigError(f"--duplicate-share is {duplicate_share:g}.", next_step="Give a share from 0 to below 1, such as 0.3.")
    if storage_mb_s is not None and not 0 < storage_mb_s < math.inf:
        raise ConfigError(f"--storage-mb-s is {storage_mb_s:g}.", next_step="Give megabytes a second above 0, such as 2000.")
    if is_extraction:
        made_of = _extraction(prompts, config_path, passes_a_second, gpus=gpus, gpu=gpu)
        click.echo(json.dumps(made_of.to_dict(), indent=2) if is_json else "\n".join(made_of.lines()))
        return
    if images is None:
        raise ConfigError("Nothing says how large the set is.", next_step="Add --images N, or --extract for an extraction.")
    rates = shipped_rates().given(
        storage=None if storage_mb_s is None else storage_mb_s * 1e6,
        bytes_an_image=None if bytes_an_image is None else parse_bytes(bytes_an_image, name="--bytes-an-image"),
        duplicate_share=duplicate_share,
    )
    machine = Machine.of(
        rates, gpus=gpus, gpu=gpu, cores=cores, cpu=cpu, memory_bytes=parse_bytes(memory, name="--memory")  # type: ignore[arg-type]
    )  # fmt: skip
    made = make_plan(
        images=parse_count(images, name="--images"),
        model=find_model(model, gflops=gflops_an_image),
        machine=machine,
        rates=rates,
        search=search,  # type: ignore[arg-type]
    )
    click.echo(json.dumps(made.to_dict(), indent=2) if is_json else "\n".join(plan_lines(made)))


def _extraction(
    prompts: str | None, config_path: str | None, passes_a_second: float | None, *, gpus: int | None, gpu: str | None
) -> ExtractionPlan:
    from scanner.core.amounts import parse_count
    from scanner.core.config import load_config
    from scanner.core.errors import ConfigError
    from scanner.extract.sequential import make_plan
    from scanner.plan.extraction import plan_extraction
    from scanner.plan.rates import shipped_rates

    if passes_a_second is not None and not 0 < passes_a_second < math.inf:
        raise ConfigError(f"--passes-a-second is {passes_a_second:g}.", next_step="Give a number above 0, such as 50.")
    config = load_config(config_path or "sd_extraction")
    wanted = config.extract
    rounds = make_plan(max_generations=wanted.max_generations, min_rate=wanted.min_rate, max_miss=wanted.max_miss)
    kind = gpu or ("none" if gpus == 0 else "h100")
    return plan_extraction(
        num_prompts=parse_count(prompts, name="--prompts") if prompts else wanted.max_prompts,
        extract=wanted,
        risk=config.risk,
        images_without=rounds.expected_generations(0.0),
        images_with=rounds.expected_generations(0.5),
        rates=shipped_rates().given(**{f"unet_passes_{kind}": passes_a_second}),
        gpu=kind,
        num_devices=gpus if gpus is not None else 1,
    )
