"""``leak``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from scanner.core.errors import ConfigError, RecallError
from scanner.core.progress import Progress
from scanner.core.store import Store

if TYPE_CHECKING:
    from scanner.core.config import RunConfig
    from scanner.leak.result import LeakResult
    from scanner.pipelines.leak import Wanted


@click.command()
@click.argument("run_url", metavar="RUN_A")
@click.argument("other_url", metavar="[RUN_B]", required=False)
@click.option("--images", "images_url", metavar="DIR", help="Compare with the images of a source: a folder, tars or Parquet.")
@click.option("--format", "format_", default="auto", show_default=True, help="Format of that source, as scanner scan has them.")
@click.option("--hashes", "hashes_url", metavar="FILE", help="Compare with a text file of pHash or PDQ hashes, one a line.")
@click.option(
    "--role",
    type=click.Choice(["eval", "takedown"]),
    help="What the other set is: one that must not be trained on (default for a run), or one that must go (for the others).",
)
@click.option("--name", default="", help="What the tables call the other set; made of its place if left out.")
@click.option(
    "--threshold", type=float, help="Cosine from which pairs are looked at; else the lowest that RUN_A counted groups at."
)
@click.option(
    "--search",
    type=click.Choice(["auto", "join", "cells"]),
    help="join finds every pair, cells nearly every; auto: join up to 31 billion pairs of images, else cells.",
)
@click.option("--recall", type=float, help="Share of its pairs that an image should find, for cells.")
@click.option("--max-partners", type=int, help="Images of the other set that one is listed with, at most, the likest first.")
@click.option("--max-phash-distance", type=int, help="Bits of 64 in which pHash hashes may differ; 8 if left out.")
@click.option("--max-pdq-distance", type=int, help="Bits of 256 in which PDQ hashes may differ; 31 if left out.")
@click.option("--min-pdq-quality", type=int, help="PDQ quality below which a hash is not used; 50 if left out.")
@click.option(
    "--verify/--no-verify", default=None, help="Look at pairs again, pixel by pixel (default), or leave them unverified."
)
@click.option("--memory", help="What the search may take, such as 16GB; what does not fit lies in --scratch.")
@click.option("--scratch", metavar="DIR", help="Local folder for what does not fit in memory.")
@click.option("--workers", type=int, help="Decoding processes (default: one a core).")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the search and the encoder run.")
@click.option("--ids", metavar="FILE", default="", help="Write both ids and keys of every pair: .csv or .parquet.")
@click.option("--sheet", metavar="FILE", default="", help="Write a contact sheet of pairs side by side: .png or .html.")
@click.option("--sheet-pairs", type=click.IntRange(min=1), default=120, show_default=True, help="Pairs on it, at most.")
@click.option("--forget", "forgotten", metavar="NAME", help="Remove what the tables hold of the set called so, and stop.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no summary.")
def leak(
    run_url: str,
    other_url: str | None,
    images_url: str | None,
    format_: str,
    hashes_url: str | None,
    role: str | None,
    name: str,
    threshold: float | None,
    search: str | None,
    recall: float | None,
    max_partners: int | None,
    max_phash_distance: int | None,
    max_pdq_distance: int | None,
    min_pdq_quality: int | None,
    verify: bool | None,
    memory: str | None,
    scratch: str | None,
    workers: int | None,
    device: str | None,
    ids: str,
    sheet: str,
    sheet_pairs: int,
    forgotten: str | None,
    quiet: bool,
) -> None:
    """What a scanned set has in common with another one: an evaluation set, or a take-down list of images or of hashes.

    Both runs must be of one encoder. What is found goes into tables leaks and comparisons of RUN_A, beside what was found of
    other sets; the same call again answers from them until one of the two changes. Leaks are no error, whatever their number: the
    exit code is 0, as policies decide and not this command. Exit code 3: a search in cells found fewer pairs than --recall
    asked for, by its own audit.

    \b
    Example:
      scanner leak train-run eval-run --sheet leaks.png
      scanner leak train-run --images to-be-removed/ --ids remove.csv
      scanner leak train-run --hashes known-hashes.csv --name exchange
    """
    from scanner.core.config import override
    from scanner.pipelines import leak as pipeline
    from scanner.pipelines.scan import run_config

    store = Store.open(run_url)
    if forgotten is not None:
        pipeline.forget(store, forgotten)
        click.echo(_printable(f"{forgotten}: what it had in common with {run_url} is removed from the tables."))
        return
    flags: dict[str, Any] = {
        "leak.threshold": threshold,
        "leak.max_partners": max_partners,
        "leak.max_phash_distance": max_phash_distance,
        "leak.max_pdq_distance": max_pdq_distance,
        "leak.min_pdq_quality": min_pdq_quality,
        "neighbors.search": search,
        "neighbors.recall": recall,
        "verify.enabled": verify,
        "compute.memory": memory,
        "compute.scratch": scratch,
        "compute.workers": workers,
        "compute.device": device,
    }
    config = override(run_config(store), {key: value for key, value in flags.items() if value is not None})
    wanted = pipeline.Wanted(
        role=role or ("eval" if other_url is not None else "takedown"), name=name, ids=ids, sheet=sheet, sheet_pairs=sheet_pairs
    )
    result = _compare(store, config, other_url, images_url, format_, hashes_url, wanted, Progress(quiet=quiet))
    if not quiet:
        click.echo("\n".join(_printable(line) for line in result.lines()))
        for path in filter(None, (ids, sheet)):
            click.echo(f"Written: {path}")
        click.echo(f"Next: scanner query {run_url} leak/{'eval_images_leaked' if result.role == 'eval' else 'takedown_matches'}")
    facts = result.facts
    if facts.is_below_recall:
        raise RecallError(
            f"A sampled image of {result.name} finds {facts.recall:.4f} of its pairs; {facts.recall_asked:g} was asked for.",
            next_step="Compare again with a higher --recall, or with --search join for every pair.",
        )


def _compare(
    store: Store,
    config: RunConfig,
    other_url: str | None,
    images_url: str | None,
    format_: str,
    hashes_url: str | None,
    wanted: Wanted,
    progress: Progress,
) -> LeakResult:
    from scanner.pipelines import leak as pipeline

    if sum(given is not None for given in (other_url, images_url, hashes_url)) != 1:
        raise ConfigError(
            f"{store.url} is compared with one set at a time.", next_step="Give either RUN_B, or --images DIR, or --hashes FILE."
        )
    if other_url is not None:
        return pipeline.compare_runs(store, config, Store.open(other_url), wanted, progress)
    if images_url is not None:
        return pipeline.compare_images(store, config, images_url, format_, wanted, progress)
    assert hashes_url is not None, "one of the three"
    return pipeline.compare_hashes(store, config, hashes_url, wanted, progress)


def _printable(line: str) -> str:
    """Names and reasons are the words of strangers: a control character could move the cursor or recolour the terminal."""
    return "".join(c if c.isprintable() else " " for c in line)
