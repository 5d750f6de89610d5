"""``export``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

import click

from scanner.core.errors import ConfigError, nearest
from scanner.core.keep_config import ExportFormat, Kind, ProtectedClass
from scanner.core.progress import Progress
from scanner.core.store import Store

if TYPE_CHECKING:
    from scanner.core.config import RunConfig


def _words(known: tuple[str, ...]) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], list[str] | None]:
    """Of a flag that may be given again, its words, separated by commas too, each once; None where it was not given."""

    def parse(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[str] | None:
        words = [word.strip() for value in values for word in value.split(",") if word.strip()]
        unknown = next((word for word in words if word not in known), None)
        if unknown is not None:
            raise click.BadParameter(f"{unknown!r} is none of them. {nearest(unknown, list(known))}")
        return list(dict.fromkeys(words)) or None

    return parse


_FORMATS, _KINDS, _CLASSES = get_args(ExportFormat), get_args(Kind), get_args(ProtectedClass)


@click.command()
@click.argument("run_url", metavar="RUN")
@click.option("--to", "to_url", metavar="DIR", help="Folder of the export, a new one or a stopped export; any fsspec URL.")
@click.option("--config", "config_path", metavar="FILE", help="YAML whose sections keep and export are taken; flags win.")
@click.option(
    "--as", "formats", multiple=True, callback=_words(_FORMATS), metavar=",".join(_FORMATS), help="Forms to write (default: ids)."
)
@click.option("--keep", "images_a_group", type=int, help="Images of a group that stay (default: 1).")
@click.option("--weights", is_flag=True, help="Remove no copy; each weighs min(1, KEEP / images of its group) instead.")
@click.option(
    "--prefer",
    multiple=True,
    metavar="RULE",
    help="Which copy stays, the first rule that tells two apart deciding: COLUMN (more is better), COLUMN asc, COLUMN in A,B or "
    "random SEED. Left out: the representative (best resolution, longest caption, lowest id).",
)
@click.option(
    "--require",
    multiple=True,
    metavar="RULE",
    help='What all that stays must meet: "width >= 256", "is_blank != true", "host not in A,B".',
)
@click.option("--unusable", is_flag=True, help="Images that could not be decoded, or are too small or too large, stay too.")
@click.option(
    "--kinds",
    multiple=True,
    callback=_words(_KINDS),
    metavar=",".join(_KINDS),
    help="Kinds of members that count as copies (default: exact,near).",
)
@click.option(
    "--also",
    multiple=True,
    callback=_words(_CLASSES),
    metavar=",".join(_CLASSES),
    help="Classes of groups that are thinned too; they stay whole unless named.",
)
@click.option("--threshold", type=float, help="A cosine above the scan's: groups fall into what hangs together at it.")
@click.option("--join", "join", multiple=True, metavar="PARQUET", help="Further columns, by image_id or by dataset and key.")
@click.option("--shard-samples", type=int, help="Images of a tar or Parquet file, at most (default: 10,000).")
@click.option("--curator-id", type=click.Choice(["key", "shard_row"]), help="What NeMo Curator calls an image (default: key).")
@click.option("--dry-run", is_flag=True, help="Print what would go, by rule and by threshold, and write nothing.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no summary.")
def export(
    run_url: str,
    to_url: str | None,
    config_path: str | None,
    formats: list[str] | None,
    images_a_group: int | None,
    weights: bool,
    prefer: tuple[str, ...],
    require: tuple[str, ...],
    unusable: bool,
    kinds: list[str] | None,
    also: list[str] | None,
    threshold: float | None,
    join: tuple[str, ...],
    shard_samples: int | None,
    curator_id: str | None,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Keep-lists and rewritten sets: one image of each group stays, and every one that goes says because of whom.

    Forms: ids (lists in Parquet and CSV), tars (webdataset, files untouched), hf (Parquet with the images), datacomp (npy of
    uids), curator (ids to remove, for NeMo Curator). Table keep is in DIR too. The same command again goes on where it was
    stopped, and ends with the same bytes.

    \b
    Example:
      scanner export run --dry-run
      scanner export run --to clean --as ids,tars --keep 1 --prefer aesthetic --prefer resolution --join scores.parquet
      scanner sql clean "select rule, count(*) from keep where not is_kept group by rule"
    """
    from scanner.core.config import override
    from scanner.pipelines.export import export as export_pipeline
    from scanner.pipelines.export import preview

    store = Store.open(run_url)
    flags: dict[str, Any] = {
        "export.formats": formats,
        "export.shard_samples": shard_samples,
        "export.curator_id": curator_id,
        "keep.images_a_group": images_a_group,
        "keep.weights": weights or None,
        "keep.prefer": list(prefer) or None,
        "keep.require": list(require) or None,
        "keep.unusable": unusable or None,
        "keep.kinds": kinds,
        "keep.also": also,
        "keep.threshold": threshold,
        "keep.join": list(join) or None,
    }
    config = override(_config(store, config_path), {key: value for key, value in flags.items() if value is not None})
    progress = Progress(quiet=quiet)
    if dry_run:
        result = preview(store, config, progress)
    elif to_url:
        result = export_pipeline(store, to_url, config, progress)
    else:
        raise ConfigError("An export needs a place.", next_step="Add --to DIR, or --dry-run to only look.")
    if not quiet:
        click.echo("\n".join(result.lines()))


def _config(store: Store, path: str | None) -> RunConfig:
    """That of the scan, with the sections that an export reads from the file at ``path``."""
    from scanner.core.config import check_config, load_config, resolve

    config = resolve(check_config(store.read_run()["config"], where=f"{store.url}/run.yaml"))
    if path is None:
        return config
    given = load_config(path)
    return config.model_copy(update={"keep": given.keep, "export": given.export})
