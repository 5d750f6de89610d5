"""``lab`` and its subcommands: planted sets with known truth, the bundled models, and scores."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.group()
def lab() -> None:
    """Planted sets with known truth, the bundled models, and scores.

    \b
    Example:
      scanner lab make --images 20000 --seed 7 --out set
    """


@lab.command()
@click.option("--images", "num_images", type=int, required=True, help="Rows of the set, at least 200.")
@click.option("--seed", default=0, show_default=True, help="Of everything that is drawn.")
@click.option(
    "--out", required=True, metavar="DIR", help="Gets shards/ or images/, truth.parquet, held_out.parquet, manifest.json."
)
@click.option(
    "--as", "as_", type=click.Choice(("webdataset", "folder")), default="webdataset", show_default=True, help="How it is written."
)
@click.option("--copied-share", default=0.4, show_default=True, help="Share of the rows, at most, that are copies of a picture.")
@click.option("--shard-rows", default=500, show_default=True, help="Rows a tar or a subfolder.")
@click.option("--workers", type=int, help="Drawing processes (default: one a core).")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no summary.")
def make(
    num_images: int, seed: int, out: str, as_: str, copied_share: float, shard_rows: int, workers: int | None, quiet: bool
) -> None:
    """Draw an image-caption set with planted duplicates, and write down the truth about it.

    Pictures occur k = 2, 4 ... 256 times, as exact and as altered copies, with one caption or many; template families,
    captions on different pictures, placeholders, blanks, outliers and held-out captions are planted besides. The same command
    again goes on after an interruption.

    \b
    Example:
      scanner lab make --images 20000 --seed 7 --out set
      scanner scan set/shards --out run --encoder small
      scanner lab score run --truth set
    """
    import os
    from typing import cast

    from scanner.core.progress import Progress
    from scanner.lab.plan import Layout
    from scanner.lab.planted import make_planted

    planted = make_planted(
        out, num_images=num_images, seed=seed, as_=cast(Layout, as_), shard_rows=shard_rows, copied_share=copied_share,
        workers=workers or os.cpu_count() or 1, progress=Progress(quiet=quiet),
    )  # fmt: skip
    if not quiet:
        click.echo(
            f"{planted.num_images:,} images in {planted.source_url}: {planted.num_planted:,} pictures occur more than once, "
            f"{planted.num_copies:,} times together. Truth: {planted.truth_path}"
        )


@lab.command("train-encoder")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Gets the open_clip folder.")
@click.option(
    "--work", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Planted set and checkpoint, to resume from."
)
@click.option(
    "--drawings", multiple=True, type=click.Path(path_type=Path), metavar="DIR",
    help="openclipart-captioned or noto-emoji-captioned; may be given twice. Only their training series are read.",
)  # fmt: skip
@click.option(
    "--steps",
    type=int,
    help="Updates of the first stage; the second has half as many, the third a quarter (default: as shipped).",
)
@click.option("--planted", "num_planted", type=int, help="Rows of the planted set (default: as shipped).")
@click.option("--sources", "num_sources", type=int, help="Pictures a step (default: as shipped).")
@click.option("--seed", type=int, help="Of the set, the weights and the steps (default: as shipped).")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def train_encoder(
    out: Path, work: Path, drawings: tuple[Path, ...], steps: int | None, num_planted: int | None, num_sources: int | None,
    seed: int | None, quiet: bool,
) -> None:  # fmt: skip
    """Train the encoder `small`, as it ships or at another size, and calibrate its threshold.

    The same command again resumes. Without --drawings it learns from drawn scenes alone.

    \b
    Example:
      scanner lab train-encoder --out my-small --work work --steps 200 --planted 1000
      scanner scan set/shards --out run --encoder open_clip:local-dir:my-small --threshold 0.8
    """
    import os
    from dataclasses import replace

    from scanner.core.progress import Progress
    from scanner.lab.encoder import EncoderRecipe
    from scanner.lab.encoder import train_encoder as train

    given = {"coarse_steps": steps, "num_planted": num_planted, "num_sources": num_sources, "seed": seed}
    if steps is not None:
        given |= {"fine_steps": max(1, steps // 2), "gap_steps": max(1, steps // 4)}
    recipe = replace(EncoderRecipe(), **{key: value for key, value in given.items() if value is not None})
    train(out, work=work, drawings=drawings, recipe=recipe, progress=Progress(quiet=quiet), workers=os.cpu_count() or 1)
    if not quiet:
        click.echo(f"Encoder: open_clip:local-dir:{out}")


@lab.command()
@click.argument("run_url", metavar="RUN")
@click.option(
    "--truth", "truth_path", required=True, metavar="PATH", help="Planted set that RUN scanned: its folder, or its truth.parquet."
)
@click.option(
    "--format", "format_", type=click.Choice(("text", "json")), default="text", show_default=True, help="How it is printed."
)
def score(run_url: str, truth_path: str, format_: str) -> None:
    """Hold the groups and the ranking of a run against the truth of the planted set that it scanned.

    Every share comes with its 95 % interval.

    \b
    Example:
      scanner lab score demo-run/run --truth demo-run/data
    """
    from scanner.core.store import Store
    from scanner.lab.run_score import score_run
    from scanner.lab.truth_rows import read_truth

    result = score_run(Store.open(run_url), read_truth(Path(truth_path)))
    click.echo(json.dumps(result.to_dict(), indent=1) if format_ == "json" else "\n".join(result.lines()))


@lab.command("train")
@click.option("--set", "set_dir", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Planted set, as tars.")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Gets a folder a variant.")
@click.option("--variant", default="toy", show_default=True, help="toy, toy-dedup, toy-unconditional or toy-unconditional-dedup.")
@click.option("--seed", default=1, show_default=True, help="Of weights and steps.")
@click.option("--vae-steps", type=int, help="Updates of the autoencoder.")
@click.option("--unet-steps", type=int, help="Updates of the text-to-image model.")
@click.option("--unconditional-steps", type=int, help="Updates of the unconditional model.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where it trains.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def train(
    set_dir: Path, out: Path, variant: str, seed: int, vae_steps: int | None, unet_steps: int | None,
    unconditional_steps: int | None, device: str, quiet: bool,
) -> None:  # fmt: skip
    """Train a small diffusion model on a planted set: it memorizes what is planted often, and that is its purpose.

    The result is a folder of diffusers. The variants that end in -dedup see one row a picture. The same command again resumes.

    \b
    Example:
      scanner lab make --images 4500 --copied-share 0.7 --seed 101 --out set
      scanner lab train --set set --out models --variant toy
    """
    from dataclasses import replace
    from typing import cast

    from scanner.core.progress import Progress
    from scanner.lab.toy import Steps, Variant, train_toy
    from scanner.models.encoders import Device

    given = {"vae": vae_steps, "unet": unet_steps, "unconditional": unconditional_steps}
    steps = replace(Steps(), **{key: value for key, value in given.items() if value is not None})
    folder = train_toy(
        set_dir, out, variant=cast(Variant, variant), seed=seed, steps=steps, device=cast(Device, device),
        progress=Progress(quiet=quiet),
    )  # fmt: skip
    if not quiet:
        click.echo(f"Model: {folder}")


@lab.command("curve")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--set", "set_dir", type=click.Path(path_type=Path), metavar="DIR",
    help="The set they were trained on (default: drawn again from the seed in the manifest, into OUT/set).",
)  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Gets curve.parquet and curve.svg.")
@click.option("--seeds", "num_seeds", default=16, show_default=True, help="Generations a caption.")
@click.option("--captions", "max_captions", default=4, show_default=True, help="Captions tried of one picture, at most.")
@click.option("--images", "num_images", default=4096, show_default=True, help="Generations of an unconditional model, in all.")
@click.option("--steps", "num_inference_steps", default=20, show_default=True, help="Of the sampler.")
@click.option("--guidance", default=7.5, show_default=True, help="Classifier-free guidance scale.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def curve(
    models: tuple[str, ...], set_dir: Path | None, out: Path, num_seeds: int, max_captions: int, num_images: int,
    num_inference_steps: int, guidance: float, quiet: bool,
) -> None:  # fmt: skip
    """How often a MODEL emits a training picture, by the number of times k that the set holds it.

    MODEL is a name that ships (toy, toy-dedup, toy-unconditional, toy-unconditional-dedup) or a folder of diffusers. A generation
    counts where its caption's own picture is the nearest of the set, by less than half the mean distance to the next 50 pictures.

    \b
    Example:
      scanner lab curve toy toy-dedup --out curve
      scanner lab curve models/toy --set set --out curve
    """
    import os

    from scanner.core.progress import Progress
    from scanner.lab.curve import Sampling
    from scanner.lab.curves import measure_curves
    from scanner.lab.toy_data import read_toy_set
    from scanner.lab.toy_manifest import redraw_set
    from scanner.models.generators import generator_folder

    progress = Progress(quiet=quiet)
    if set_dir:
        toy_set = read_toy_set(set_dir)
    else:
        toy_set = redraw_set(generator_folder(models[0]), out / "set", workers=os.cpu_count() or 1, progress=progress)
    sampling = Sampling(num_seeds=num_seeds, num_inference_steps=num_inference_steps, guidance_scale=guidance)
    curves = measure_curves(
        models, toy_set, sampling=sampling, max_captions=max_captions, num_images=num_images, progress=progress
    )
    curves.write(out)
    click.echo("\n".join(curves.lines()))
