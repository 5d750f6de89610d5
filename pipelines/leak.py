"""Comparisons between sets: a run with another run, with a folder of images, with a list of hashes. Rows join those of others.

Each call is of one other set, which is called by a name; the same call again replaces what the tables hold of that set alone.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from scanner.core.config import RunConfig, SourceConfig, fingerprint, override
from scanner.core.errors import ConfigError, EncoderError
from scanner.core.lock import lock
from scanner.core.progress import Progress
from scanner.core.store import Store
from scanner.core.urls import public
from scanner.core.vectors import READY
from scanner.embed.stage import EmbedStage
from scanner.leak import hash_stage, records, shown, stage
from scanner.leak.hash_list import read_hash_list
from scanner.leak.journal import FOLDER, place_of
from scanner.leak.records import Other
from scanner.leak.result import LeakResult
from scanner.leak.stage import OtherRun
from scanner.pipelines.scan import open_sources, other_sets, reachable_sources, run_config
from scanner.pipelines.summary import versions
from scanner.report import stage as report
from scanner.sources.base import Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a comparison is called, stands for and leaves.

    Attributes:
        role: ``eval`` or ``takedown``.
        name: of the other set; empty: made of its url.
        ids, sheet: files to write; empty: none.
        sheet_pairs: pairs on the sheet, at most.
    """

    role: str
    name: str = ""
    ids: str = ""
    sheet: str = ""
    sheet_pairs: int = 120

    def check(self) -> None:
        """Before any work: whether the files can be written at all. Raises ConfigError."""
        if self.ids:
            shown.check_suffix(self.ids, shown.IDS_FORMATS)
        if self.sheet:
            shown.check_suffix(self.sheet, shown.SHEET_FORMATS)


def compare_runs(store: Store, config: RunConfig, other: Store, wanted: Wanted, progress: Progress) -> LeakResult:
    """Images of this run and images of another one.

    Raises:
        LockedError: another process writes this run.
        StoreError, EncoderError, ConfigError: the two cannot be compared.
    """
    wanted.check()
    if other.root == store.root:
        raise ConfigError(
            f"{store.url} is both sets.", next_step="Duplicates within a set are what the scan finds; give another run."
        )
    theirs = run_config(other)
    url = records.place(other)
    with lock(store):
        name = records.name_for(store, wanted.name, "+".join(source.dataset for source in theirs.sources), url)
        against = OtherRun(
            other=Other(name=name, role=wanted.role, url=url), store=other, sources=reachable_sources(theirs, progress)
        )
        return _compare(store, config, against, wanted, progress)


def compare_images(store: Store, config: RunConfig, url: str, format_: str, wanted: Wanted, progress: Progress) -> LeakResult:
    """Images of this run and those of a source, which are embedded into a hidden place in the run, as the run's were.

    Raises:
        LockedError, SourceError, StoreError, EncoderError, ConfigError: see ``compare_runs``.
    """
    wanted.check()
    source = SourceConfig(url=url, format=format_)
    with lock(store):
        # 1. A place for what is read of the other set: the same call again reads nothing twice.
        hidden = hidden_store(store, wanted.name or source.dataset)
        before = hidden.read_run().get("config", {}).get("sources", []) if hidden.get("run.yaml") else []
        if before and before[0]["url"] != url and not wanted.name:
            raise ConfigError(
                f"{source.dataset!r} is what the run calls another set already.", next_step="Give this one a --name of its own."
            )
        name = records.name_for(store, wanted.name, source.dataset, records.place(hidden))
        theirs = _like(store, config, source.model_copy(update={"name": name}))
        sources = open_sources(theirs)

        # 2. Its images embedded by the same encoder, as far as they are not yet.
        hidden.write_run({"config": theirs.to_dict(), "config_fingerprint": fingerprint(theirs), "versions": versions()})
        EmbedStage(hidden, theirs, sources, progress).run()

        # 3. The two compared.
        other = Other(name=name, role=wanted.role, url=records.place(hidden))
        return _compare(store, config, OtherRun(other=other, store=hidden, sources=sources), wanted, progress)


def compare_hashes(store: Store, config: RunConfig, url: str, wanted: Wanted, progress: Progress) -> LeakResult:
    """Images of this run and a list of perceptual hashes, by their bits.

    Raises:
        LockedError: another process writes this run.
        SourceError: the list cannot be read.
        StoreError: PDQ needs images that are not at hand.
    """
    wanted.check()
    listed = read_hash_list(url, min_quality=config.leak.min_pdq_quality)
    for line in listed.told(public(url)):
        progress.say(line)
    with lock(store):
        stem = SourceConfig(url=posixpath.splitext(url)[0]).dataset
        name = records.name_for(store, wanted.name, stem, public(url))
        sources = reachable_sources(config, progress)
        other = Other(name=name, role=wanted.role, url=public(url))
        result = hash_stage.run(store, config, sources, other, listed, progress)
        _leave(store, config, sources, result, None, wanted, progress)
    return result


def forget(store: Store, name: str) -> None:
    """Removes what the tables hold of another set, and its images' vectors where they were made for this.

    Raises:
        LockedError: another process writes this run.
        ConfigError: the run was not compared with it.
    """
    with lock(store):
        records.forget(store, name)
        hidden = hidden_store(store, name)
        if hidden.fs.exists(hidden.root):
            hidden.fs.rm(hidden.root, recursive=True)


def hidden_store(store: Store, name: str) -> Store:
    """Where the images of another set lie once they are embedded."""
    return Store(f"{store.url.rstrip('/')}/{FOLDER}/sets/{place_of(name)}")


def _compare(store: Store, config: RunConfig, against: OtherRun, wanted: Wanted, progress: Progress) -> LeakResult:
    sources = reachable_sources(config, progress)
    result = stage.run(store, config, sources, against, progress)
    _leave(store, config, sources, result, against, wanted, progress)
    return result


def _leave(
    store: Store,
    config: RunConfig,
    sources: dict[str, Source],
    result: LeakResult,
    against: OtherRun | None,
    wanted: Wanted,
    progress: Progress,
) -> None:
    """The files that were asked for, and the report with what came out, where there is one."""
    if wanted.ids:
        shown.write_ids(wanted.ids, store, result.name)
    if wanted.sheet:
        shown.write_sheet(wanted.sheet, store, config, sources, result.name, against, num_pairs=wanted.sheet_pairs)
    if result.is_recomputed and store.get(report.REPORT_FILE) is not None:
        report.run(store, config, sources, progress, others=other_sets(store, progress))


def _like(store: Store, config: RunConfig, source: SourceConfig) -> RunConfig:
    """The run's config with another source: same encoder, in the precision that the run's vectors are of.

    Raises:
        EncoderError: the run's vectors came ready-made.
    """
    made = store.read_run().get("encoder", {})
    if made.get("name") == READY:
        raise EncoderError(
            f"The vectors of {store.url} came with its source, and nothing says which encoder made them.",
            next_step="Embed the other set with that encoder, scan its embeddings, and give that run.",
        )
    precision = made.get("precision")
    changes = {"sources": [source.model_dump(mode="json")]}
    return override(config, changes | ({"encoder.precision": precision} if precision in ("fp32", "bf16") else {}))
