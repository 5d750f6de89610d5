"""Export: what stays of a scanned set, as lists, as a table, and as a set written anew. The run itself is left as it is."""

from __future__ import annotations

from scanner.core.config import RunConfig
from scanner.core.lock import lock
from scanner.core.progress import Progress
from scanner.core.store import Store
from scanner.export import stage
from scanner.export.place import check_place
from scanner.export.result import ExportResult
from scanner.pipelines.scan import open_sources
from scanner.pipelines.summary import versions


def preview(run: Store, config: RunConfig, progress: Progress) -> ExportResult:
    """What an export would let stay and remove. Nothing is written.

    Raises:
        ConfigError, StoreError: a rule, a threshold or a file to join does not fit the run; the run is not whole.
    """
    return stage.dry_run(run, config, progress)


def export(run: Store, to: str, config: RunConfig, progress: Progress) -> ExportResult:
    """Writes ``to``, or what is missing there after a call that was stopped.

    Raises:
        LockedError: another process writes there.
        ConfigError, SourceError, StoreError: see the stage.
    """
    # 1. The place first: an export must not mix with a run, a source, another export or a stranger's files.
    out = Store(to, scratch=config.compute.scratch)
    check_place(run, out, config)

    # 2. Decisions, then lists, then images. Sources are opened only if there are images to read.
    with lock(out):
        return stage.export(run, out, config, lambda: open_sources(config), progress, versions=versions())
