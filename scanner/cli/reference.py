"""Writes the generated pages of docs/: ``python -m scanner.cli.reference docs/`` (``make docs``)."""

from __future__ import annotations

from pathlib import Path

import click

from scanner.cli.main import cli
from scanner.core.reference import commands_page, configs_page, queries_page, tables_page
from scanner.gate.page import policies_page
from scanner.plan.page import plan_page
from scanner.plan.scale_page import scale_page


def pages() -> dict[str, str]:
    """File name and content of every generated page."""
    return {
        "tables.md": tables_page(),
        "queries.md": queries_page(),
        "configs.md": configs_page(),
        "commands.md": commands_page(cli),
        "plan.md": plan_page(),
        "scale.md": scale_page(),
        "policies.md": policies_page(),
    }


def stale_pages(folder: Path) -> list[str]:
    """Names of the pages that are absent from ``folder`` or differ from what they would be now."""
    return [name for name, text in pages().items() if not (folder / name).is_file() or (folder / name).read_text("utf-8") != text]


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a page is stale.")
def main(folder: Path, check: bool) -> None:
    """Write the generated pages of the documentation into FOLDER."""
    stale = stale_pages(folder)
    if check:
        if stale:
            raise click.ClickException(f"Stale: {', '.join(stale)}. Run `make docs`.")
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (folder / name).write_text(pages()[name], "utf-8")
        click.echo(folder / name)


if __name__ == "__main__":
    main()
