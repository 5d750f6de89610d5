"""``demo``."""

from __future__ import annotations

from pathlib import Path

import click

from scanner.core.progress import Progress


@click.command()
@click.option(
    "--out", default="demo-run", show_default=True, metavar="DIR", help="Gets the set (DIR/data) and the run (DIR/run)."
)
@click.option("--images", "num_images", default=4500, show_default=True, help="Images of the set.")
@click.option("--seed", default=101, show_default=True, help="Of everything that is drawn.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing.")
def demo(out: str, num_images: int, seed: int, quiet: bool) -> None:
    """Make a set with planted duplicates, scan it, and ask models that were trained on it for its pictures.

    The models that ship were trained on the set that the defaults draw; with another one that part is left out.

    \b
    Example:
      scanner demo --out demo-run
      scanner query demo-run/run risk/top_captions
    """
    from scanner.lab.curve import comparison_lines
    from scanner.pipelines.demo import demo as demo_pipeline

    result = demo_pipeline(Path(out), num_images=num_images, seed=seed, progress=Progress(quiet=quiet))
    if quiet:
        return
    click.echo("\n".join(result.summary.lines()))
    click.echo("\n".join(result.score.lines()))
    if result.curves:
        click.echo("Given the captions, models emit the very training picture in so many generations (held out: any of them):")
        click.echo("\n".join(comparison_lines(result.curves.prompted)))
    if result.extraction and result.figures:
        click.echo("Extraction, which knows the scan and the model and nothing of what was planted:")
        click.echo("\n".join([*result.extraction.lines(), *result.figures.lines()]))
        click.echo(f"Evidence: {out}/run/evidence; scanner query {out}/run extraction/verdicts")
    click.echo(f"Next: scanner query {out}/run risk/top_captions; open {out}/run/report.html in a browser.")
