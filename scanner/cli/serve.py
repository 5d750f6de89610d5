"""``serve``."""

from __future__ import annotations

import click

from scanner.core.progress import Progress
from scanner.core.store import Store


@click.command()
@click.argument("run_url", metavar="RUN")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="Port on 127.0.0.1; 0 takes a free one."
)
@click.option("--no-browser", is_flag=True, help="Print the address and open nothing.")
def serve(run_url: str, port: int, no_browser: bool) -> None:
    """The pages of the report live: every group, caption and image, page by page, with search by text and by image.

    Only this machine is answered, and only addresses with the token that is printed. The run is read, never written; ^C ends it.
    Needs the packages of extra report.

    \b
    Example:
      scanner serve run
      scanner serve run --port 8400 --no-browser
    """
    from scanner.pipelines.serve import serve as serve_pipeline

    def announce(address: str) -> None:
        click.echo(f"Serving {run_url} at {address}\nWhoever has this address can look at the run. Stop with Ctrl-C.")

    serve_pipeline(Store.open(run_url), Progress(), announce, port=port, has_browser=not no_browser)
    click.echo("Stopped.")
