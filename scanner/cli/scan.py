"""``scan``, ``run`` and ``report``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from scanner.core.errors import ConfigError, RecallError
from scanner.core.progress import Progress
from scanner.core.store import Store
from scanner.sources.open import FORMATS, URL_LIST

if TYPE_CHECKING:
    from scanner.core.config import RunConfig


def _floats(_: click.Context, __: click.Parameter, value: str | None) -> list[float] | None:
    try:
        return None if value is None else [float(part) for part in value.split(",") if part.strip()]
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of numbers such as 0.90,0.95") from None


@click.command()
@click.argument("sources", nargs=-1, metavar="SOURCE...")
@click.option("--out", "run_url", required=True, metavar="RUN", help="Folder of the run: local or any fsspec URL.")
@click.option("--config", "config_path", metavar="FILE", help="YAML with settings; flags win over it.")
@click.option("--encoder", help="open_clip:<model>/<tag or local file>, small (ships with the package), or pixels.")
@click.option(
    "--format",
    "format_",
    help="Format of the sources instead of detecting it: " + ", ".join([*FORMATS, URL_LIST]) + ".",
)
@click.option("--caption-column", help="Column with the caption, for Parquet and metadata files.")
@click.option("--image-column", help="Column with the image or the embedding.")
@click.option("--images", metavar="DIR", help="Local folder for what a list of URLs names (default: RUN-images).")
@click.option(
    "--img2dataset", "python", metavar="PYTHON", help="Interpreter that has img2dataset, for lists of URLs (default: this one)."
)
@click.option(
    "--allow-address",
    "allow_addresses",
    multiple=True,
    metavar="HOST:PORT",
    help="Download from there though it is no public address; may be repeated.",
)
@click.option("--threshold", type=float, help="Cosine at or above which two images are neighbours.")
@click.option(
    "--report-thresholds", callback=_floats, metavar="T,T,...", help="Further thresholds to count groups at, in the same pass."
)
@click.option(
    "--search",
    type=click.Choice(["auto", "join", "cells", "faiss-flat", "faiss-ivf"]),
    help="join and faiss-flat find every pair, cells and faiss-ivf nearly every; auto: join up to 250,000 images, else cells.",
)
@click.option("--recall", type=float, help="Share of its neighbours that an image should find, for cells and faiss-ivf.")
@click.option("--memory", help="What the search may take, such as 16GB; what does not fit lies in --scratch.")
@click.option("--scratch", metavar="DIR", help="Local folder for what does not fit in memory.")
@click.option(
    "--linkage",
    type=click.Choice(["component", "leader"]),
    help="A group is whoever a chain of neighbours reaches (default), or whoever is within the threshold of its representative.",
)
@click.option("--pairs", type=click.Choice(["spanning", "all"]), help="Write the links that span groups, or every pair.")
@click.option(
    "--collapse-sha256/--no-collapse-sha256",
    default=None,
    help="Join images of equal bytes before the search (default), or leave it to the search.",
)
@click.option(
    "--verify/--no-verify",
    default=None,
    help="Look at the members of groups again, pixel by pixel (default), or leave groups as the search joined them.",
)
@click.option("--batch-size", type=int, help="Images a forward pass (default: 256 on a CPU, found by trying on a GPU).")
@click.option("--part-rows", type=int, help="Rows of a part, about.")
@click.option("--workers", type=int, help="Decoding processes (default: one a core).")
@click.option(
    "--incremental/--no-incremental",
    default=None,
    help="Compare images that were added with all (default), or search everything anew.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the encoder runs.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no summary.")
def scan(
    sources: tuple[str, ...],
    run_url: str,
    config_path: str | None,
    encoder: str | None,
    format_: str | None,
    caption_column: str | None,
    image_column: str | None,
    images: str | None,
    python: str | None,
    allow_addresses: tuple[str, ...],
    threshold: float | None,
    report_thresholds: list[float] | None,
    search: str | None,
    recall: float | None,
    memory: str | None,
    scratch: str | None,
    linkage: str | None,
    pairs: str | None,
    collapse_sha256: bool | None,
    verify: bool | None,
    batch_size: int | None,
    part_rows: int | None,
    workers: int | None,
    incremental: bool | None,
    device: str | None,
    quiet: bool,
) -> None:
    """Scan image-caption sets: embed, find near-duplicates, rank the risk.

    SOURCE is a folder of images, webdataset tars (a folder, a glob, {00000..00041}.tar), img2dataset output, Parquet with
    images, ready CLIP embeddings, or Parquet with URLs, which img2dataset downloads first. The same command again resumes, and
    takes in shards that came since. Exit code 3: the search found fewer neighbours than --recall asked for, by its own audit.

    \b
    Example:
      scanner scan 'data/{00000..00041}.tar' --out run --encoder open_clip:ViT-B-32/laion2b_s34b_b79k
      scanner scan my-images/ --out run --encoder small
      scanner scan laion.parquet --out run --img2dataset .venv-download/bin/python
    """
    from scanner.core.config import RunConfig, load_config, override

    config = load_config(config_path) if config_path else RunConfig()
    if sources:
        extra = {"format": format_ or "auto", "caption_column": caption_column or "", "image_column": image_column or ""}
        # Of several lists each gets a folder of its own.
        folders = {name: f"{images}/{name}" if images and len(sources) > 1 else images or "" for name in _names(sources)}
        named = zip(sources, folders.items(), strict=True)
        config = override(
            config, {"sources": [{"url": url, "name": name, "images": folder, **extra} for url, (name, folder) in named]}
        )
    if not config.sources:
        raise ConfigError("There is nothing to scan.", next_step="Give a SOURCE, or a --config with `sources`.")
    flags: dict[str, Any] = {
        "download.python": python,
        "download.allow_addresses": allow_addresses or None,
        "encoder.name": encoder,
        "encoder.batch_size": batch_size,
        "neighbors.threshold": threshold,
        "neighbors.report_thresholds": report_thresholds,
        "neighbors.search": search,
        "neighbors.recall": recall,
        "neighbors.linkage": linkage,
        "neighbors.pairs": pairs,
        "neighbors.collapse_sha256": collapse_sha256,
        "verify.enabled": verify,
        "store.part_rows": part_rows,
        "compute.workers": workers,
        "compute.device": device,
        "compute.memory": memory,
        "compute.scratch": scratch,
        "compute.incremental": incremental,
    }
    config = override(config, {key: value for key, value in flags.items() if value is not None})
    _scan(config, run_url, quiet=quiet)


def _names(urls: tuple[str, ...]) -> list[str]:
    """A dataset name for each url: its last part, numbered where two are alike."""
    from scanner.core.config import SourceConfig

    names: list[str] = []
    for url in urls:
        name = SourceConfig(url=url).dataset
        same = sum(other == name or other.startswith(f"{name}-") for other in names)
        names.append(f"{name}-{same + 1}" if same else name)
    return names


def _scan(config: RunConfig, run_url: str, *, quiet: bool) -> None:
    from scanner.pipelines.scan import scan as scan_pipeline

    summary = scan_pipeline(Store(run_url), config, Progress(quiet=quiet))
    if not quiet:
        click.echo("\n".join(summary.lines()))
    if summary.is_below_recall:
        raise RecallError(
            f"A sampled image finds {summary.audit['recall']:.4f} of its neighbours; {summary.audit['asked']:g} was asked for.",
            next_step="Counts are lower bounds. Scan again with a higher --recall, or with --search join for every pair.",
        )


@click.command()
@click.argument("config_path", metavar="CONFIG")
@click.option("--out", "run_url", metavar="RUN", help="Folder of the run; required unless --plan.")
@click.option(
    "--plan",
    "is_plan",
    is_flag=True,
    help="Print the config, resolved, and its stages, and stop. For time and disk see scanner plan.",
)
@click.option("--quiet", "-q", is_flag=True, help="No progress, no summary.")
def run(config_path: str, run_url: str | None, is_plan: bool, quiet: bool) -> None:
    """A whole batch run from one YAML: a file, or a shipped config by its name.

    \b
    Example:
      scanner run laion400m --plan
      scanner run my-run.yaml --out s3://bucket/run
    """
    from scanner.core.config import load_config, resolve

    config = resolve(load_config(config_path))
    if is_plan:
        import yaml

        click.echo(yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True), nl=False)
        click.echo("# stages: embed (shards, images, embeddings) -> neighbors (links, neighbors, pairs, candidates,")
        click.echo("#            candidate_shape, thresholds, audit)")
        click.echo("#         -> verify (groups, group_evidence) -> risk (group_captions, group_risk, prompts)")
        click.echo("#         -> report (report.html)")
        return
    if not run_url:
        raise ConfigError("A run needs a place.", next_step="Add --out RUN, or --plan to only look.")
    if not config.sources:
        raise ConfigError(f"{config_path} names no sources.", next_step="Add a section `sources` with at least one `url`.")
    _scan(config, run_url, quiet=quiet)


@click.command()
@click.argument("run_url", metavar="RUN")
@click.option(
    "--redact",
    is_flag=True,
    help="No originals, no captions, names or urls of the set, and blurs of what models gave back: a page that can be shared.",
)
@click.option("--quiet", "-q", is_flag=True, help="Print nothing.")
def report(run_url: str, redact: bool, quiet: bool) -> None:
    """Make the HTML report of a run again, from its tables and a few originals.

    \b
    Example:
      scanner report run
      scanner report run --redact
    """
    from scanner.core.config import check_config
    from scanner.core.lock import lock
    from scanner.pipelines.scan import other_sets, reachable_sources
    from scanner.report import stage

    store = Store.open(run_url)
    config = check_config(store.read_run()["config"], where=f"{run_url}/run.yaml")
    progress = Progress(quiet=quiet)
    with lock(store):
        sources = {} if redact else reachable_sources(config, progress)
        others = {} if redact else other_sets(store, progress)
        result = stage.run(store, config, sources, progress, is_redacted=redact, others=others)
    if not quiet:
        click.echo(f"Report: {result.path} ({result.num_bytes / 2**20:.1f} MiB)", file=sys.stdout)
