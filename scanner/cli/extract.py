"""``extract`` and ``replay``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scanner.core.errors import ConfigError, StoreError
from scanner.core.progress import Progress
from scanner.core.store import Store

if TYPE_CHECKING:
    from scanner.core.config import RunConfig


@click.command()
@click.argument("run_url", metavar="RUN")
@click.option("--model", help="toy or toy-dedup (ship with the package), a folder that diffusers saved, or a hub id.")
@click.option(
    "--config", "config_path", metavar="FILE", help="YAML whose sections extract, risk and compute are taken; flags win."
)
@click.option("--scheduler", type=click.Choice(["ddim", "dpmsolver++", "euler", "heun", "pndm", "pipeline"]), help="Sampler.")
@click.option("--steps", type=int, help="Sampling steps an image.")
@click.option("--guidance", type=float, help="Scale of classifier-free guidance; 1 is the prompt alone.")
@click.option("--dtype", type=click.Choice(["fp32", "bf16", "fp16"]), help="Of weights and arithmetic.")
@click.option("--batch-size", type=int, help="Images sampled together.")
@click.option("--crop", type=click.Choice(["center", "squash"]), help="How training brought images to the model's size.")
@click.option("--max-prompts", type=int, help="Prompts of lane duplicate, those ranked first.")
@click.option("--max-generations", type=int, help="Images of one prompt, at most.")
@click.option("--min-rate", type=float, help="Share of its images that repeat, from which on a prompt should be found.")
@click.option("--budget", type=int, help="Evaluations of the network that may be spent.")
@click.option("--controls", metavar="FILE", help="Captions that no training image has, one a line: they join the controls.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the model runs.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no summary.")
def extract(
    run_url: str,
    model: str | None,
    config_path: str | None,
    scheduler: str | None,
    steps: int | None,
    guidance: float | None,
    dtype: str | None,
    batch_size: int | None,
    crop: str | None,
    max_prompts: int | None,
    max_generations: int | None,
    min_rate: float | None,
    budget: int | None,
    controls: str | None,
    device: str | None,
    quiet: bool,
) -> None:
    """Try the prompts of a scanned run on a diffusion model, and say which training images it gives back.

    The same command again goes on where it was stopped. Several models on one run keep apart by model_id.

    \b
    Example:
      scanner extract demo-run/run --model toy --config demo
      scanner extract run --model my-model/ --budget 2000000
    """
    from scanner.core.config import override
    from scanner.pipelines.extract import extract as extract_pipeline

    store = Store.open(run_url)
    flags: dict[str, Any] = {
        "extract.model": model,
        "extract.scheduler": scheduler,
        "extract.num_inference_steps": steps,
        "extract.guidance_scale": guidance,
        "extract.dtype": dtype,
        "extract.batch_size": batch_size,
        "extract.training_crop": crop,
        "extract.max_prompts": max_prompts,
        "extract.max_generations": max_generations,
        "extract.min_rate": min_rate,
        "extract.budget": budget,
        "risk.control_captions": controls,
        "compute.device": device,
    }
    config = override(_config(store, config_path), {key: value for key, value in flags.items() if value is not None})
    result = extract_pipeline(store, config, Progress(quiet=quiet))
    if not quiet:
        from scanner.extract.figures import figures_of

        click.echo("\n".join(result.lines()))
        click.echo("\n".join(figures_of(store, result.model_id).lines()))
        evidence = f"{run_url}/evidence/{result.model_id[:16]}"
        click.echo(f"Next: scanner query {run_url} extraction/verdicts; evidence lies in {evidence}.")


def _config(store: Store, path: str | None) -> RunConfig:
    """That of the scan, with the sections that extraction reads from the file at ``path``."""
    from scanner.core.config import load_config
    from scanner.pipelines.scan import run_config

    config = run_config(store)
    if path is None:
        return config
    given = load_config(path)
    return config.model_copy(update={"extract": given.extract, "risk": given.risk, "compute": given.compute})


@click.command()
@click.argument("run_url", metavar="RUN")
@click.argument("prompt_id", type=int, metavar="PROMPT_ID")
@click.option("--seed", type=int, required=True, help="Of the image.")
@click.option("--model-id", help="Which model, or its first digits; needed where several were tried.")
@click.option("--out", metavar="FILE", help="PNG to write; replay-PROMPT_ID-SEED.png if left out.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where the model runs.")
def replay(run_url: str, prompt_id: int, seed: int, model_id: str | None, out: str | None, device: str) -> None:
    """Make one image of an extraction again, from its prompt and seed, and compare it with the one that was kept.

    \b
    Example:
      scanner replay run 4125307003049497708 --seed 3
    """
    from scanner.pipelines.replay import replay as replay_pipeline

    store = Store.open(run_url)
    found = replay_pipeline(store, _model_id(store, model_id), prompt_id, seed, device=device)
    path = Path(out or f"replay-{prompt_id}-{seed}.png")
    path.write_bytes(found.png)
    click.echo(f"{path}: {found.prompt}")
    if found.max_difference is not None:
        click.echo(f"The image that was kept differs by at most {found.max_difference} of 255 levels.")


@click.command()
@click.argument("run_url", metavar="RUN")
@click.argument("prompt_id", type=int, metavar="PROMPT_ID")
@click.option(
    "--verdict",
    type=click.Choice(["none", "suspected", "template", "retrieved", "extracted"]),
    required=True,
    help="What you saw.",
)
@click.option("--reviewer", required=True, help="Who looked.")
@click.option("--comment", default="", help="Free text.")
@click.option("--model-id", help="Which model, or its first digits; needed where several were tried.")
def review(run_url: str, prompt_id: int, verdict: str, reviewer: str, comment: str, model_id: str | None) -> None:
    """Record a person's verdict of a prompt, beside the test's; figures are told by both.

    \b
    Example:
      scanner review run 4125307003049497708 --verdict none --reviewer ana --comment "only the background agrees"
    """
    from scanner.core.lock import lock
    from scanner.extract.figures import figures_of
    from scanner.extract.reviews import add_review

    store = Store.open(run_url)
    chosen = _model_id(store, model_id)
    with lock(store):
        add_review(store, model_id=chosen, prompt_id=prompt_id, reviewer=reviewer, verdict=verdict, comment=comment)
    by_test, by_people = figures_of(store, chosen), figures_of(store, chosen, is_reviewed=True)
    click.echo(
        f"Controls that an image came out of: {by_test.controls} by the test; {by_people.controls} with reviews in its place"
    )


def _model_id(store: Store, start: str | None) -> str:
    """The one model of the run whose id starts so."""
    from scanner.pipelines.extract import read_models

    known = sorted(read_models(store))
    if not known:
        raise StoreError(f"{store.url} has no extraction yet.", next_step="Run `scanner extract RUN --model MODEL` first.")
    chosen = [one for one in known if one.startswith(start or "")]
    if len(chosen) != 1:
        listed = ", ".join(f"--model-id {one[:12]}" for one in known)
        raise ConfigError(f"{len(chosen)} models of the run are called so.", next_step=f"Say which: {listed}.")
    return chosen[0]
