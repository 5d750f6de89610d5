"""``status``, ``clean`` and ``tables``."""

from __future__ import annotations

import json

import click

from scanner.core.errors import nearest
from scanner.core.schemas import TABLES
from scanner.core.store import RUN_FILE, Store


@click.command()
@click.argument("run_url", metavar="RUN")
def status(run_url: str) -> None:
    """Where a run is: parts on disk, tables and rows, the last summary.

    \b
    Example:
      scanner status run
    """
    store = Store.open(run_url)
    config = store.read_run()["config"]
    click.echo(f"{store.url}: {', '.join(source['url'] for source in config['sources'])} with {config['encoder']['name']}")
    for table in TABLES:
        manifest, folder = store.manifest(table), store.path(table)
        on_disk = [p for p in store.fs.ls(folder, detail=False) if p.endswith(".parquet")] if store.fs.exists(folder) else []
        if manifest:
            more = len(on_disk) - len(manifest.parts)
            extra = f", {more} more on disk" if more > 0 else ""
            truncated = ", truncated" if manifest.metadata.get("is_truncated") else ""
            click.echo(f"  {table:<15} {manifest.num_rows:>12,} rows, {len(manifest.parts)} parts{extra}{truncated}")
        else:
            click.echo(f"  {table:<15} not committed yet" + (f", {len(on_disk)} parts on disk" if on_disk else ""))
    summary = store.get("summary.json")
    if summary is None:
        click.echo(f"The scan did not come to its end. Run it again to go on; {RUN_FILE} holds its settings.")
        return
    last = json.loads(summary)
    counts = f"{last['num_images']:,} images, {last['num_groups']:,} groups"
    click.echo(f"Last scan: {counts}, {last['seconds']:.1f} s.\nReport: {last['report']}")


@click.command()
@click.argument("run_url", metavar="RUN")
@click.option("--dry-run", is_flag=True, help="Only list.")
def clean(run_url: str, dry_run: bool) -> None:
    """Remove parts and temporary files that no table lists: those of older settings and of scans that were stopped.

    A scan that was stopped can no longer resume from the parts that this removes.

    \b
    Example:
      scanner clean run --dry-run
    """
    from scanner.core.lock import lock

    store = Store.open(run_url)
    with lock(store):
        paths = store.unlisted()
        for path in paths:
            click.echo(path)
        if not dry_run:
            store.remove(paths)
    click.echo(f"{len(paths):,} files {'would be ' if dry_run else ''}removed")


@click.command()
@click.argument("name", required=False)
def tables(name: str | None) -> None:
    """The documented schema of every table, or of one.

    \b
    Example:
      scanner tables group_risk
    """
    if name is not None and name not in TABLES:
        raise click.UsageError(f"There is no table {name!r}. {nearest(name, list(TABLES))}")
    for table in TABLES.values() if name is None else [TABLES[name]]:
        click.echo(f"{table.name}: {table.grain} (key: {', '.join(table.key)})")
        for column in table.columns:
            click.echo(f"  {column.name:<28} {column.type + ('?' if column.is_nullable else ''):<12} {column.doc}")
        click.echo()
