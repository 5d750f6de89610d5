"""The scan: images and captions in, ranked risk tables and a report out.

Each stage reads tables and writes tables; what is up to date is kept, so the same call starts, resumes and extends a scan.
"""

from __future__ import annotations

import time

from scanner.core.config import RunConfig, SourceConfig, check_config, fingerprint, resolve
from scanner.core.errors import ObjectError, ScannerError, SourceError, UnreachableError
from scanner.core.lock import lock
from scanner.core.progress import Progress
from scanner.core.store import Store
from scanner.download.configured import download, images_of, with_images
from scanner.embed.stage import EmbedStage
from scanner.leak import records as leak
from scanner.neighbors import stage as neighbors
from scanner.pipelines.summary import ScanSummary, versions
from scanner.report import stage as report
from scanner.report.leaks import OtherSet
from scanner.risk import stage as risk
from scanner.sources.base import Source
from scanner.sources.open import URL_LIST, open_source
from scanner.verify import stage as verify


def open_sources(config: RunConfig) -> dict[str, Source]:
    """The sets of a config, by the name that column ``dataset`` carries."""
    return {source.dataset: _open(source) for source in config.sources}


def _open(source: SourceConfig) -> Source:
    if source.format == URL_LIST:
        return open_source(images_of(source), format="img2dataset")
    return open_source(
        source.url,
        format=source.format,
        caption_column=source.caption_column or None,
        image_column=source.image_column or None,
    )


def reachable_sources(config: RunConfig, progress: Progress) -> dict[str, Source]:
    """Those that can be opened now; the others are told. For work that can do without originals."""
    found: dict[str, Source] = {}
    for source in config.sources:
        try:
            found |= open_sources(config.model_copy(update={"sources": (source,)}))
        except (SourceError, UnreachableError, ObjectError) as error:
            progress.say(f"{source.dataset}: {error.message}")
    return found


def run_config(store: Store) -> RunConfig:
    """The config that a run was scanned with."""
    return resolve(check_config(store.read_run()["config"], where=f"{store.url}/run.yaml"))


def other_sets(store: Store, progress: Progress) -> dict[str, OtherSet]:
    """The runs that this one was compared with, with their sources, as far as they can be opened now; the others are told."""
    found: dict[str, OtherSet] = {}
    if store.manifest("comparisons") is None:
        return found
    for row in store.read("comparisons", ["other", "form", "url"]).to_pylist():
        if row["form"] != "run":
            continue
        try:
            other = Store.open(row["url"])
            config = check_config(other.read_run()["config"], where=f"{row['url']}/run.yaml")
        except ScannerError as error:
            progress.say(f"{row['other']}: {error.message}")
            continue
        found[row["other"]] = OtherSet(store=other, sources=reachable_sources(config, progress))
    return found


def scan(store: Store, config: RunConfig, progress: Progress) -> ScanSummary:
    """Runs every stage that is not up to date.

    Raises:
        LockedError: another process writes this run.
        SourceError, EncoderError, StoreError: see the stages.
    """
    start = time.perf_counter()
    config = with_images(resolve(config), store.url)
    sources = open_sources(config)
    with lock(store):
        # Before any work, so that a run that was stopped says what it was meant to be.
        run = {"config": config.to_dict(), "config_fingerprint": fingerprint(config), "versions": versions()}
        store.write_run(run)

        # 0. Lists of URLs become folders of images, in which what could not be had is a row that says why.
        download(config, progress)

        # 1. One pass over the bytes: images, their facts and their embeddings. The only stage that costs more than minutes.
        embedded = EmbedStage(store, config, sources, progress).run()
        store.write_run({**run, "encoder": embedded.encoder_facts()})
        for name in leak.forget_stale(store):
            progress.say(f"leak: the set is another than the one that was compared with {name}: run `scanner leak` again")

        # 2. Every pair above the threshold, or nearly every with its recall measured; groups at every threshold asked for come
        #    from the same pass.
        found = neighbors.run(store, config, progress)
        store.write_run({**run, "encoder": embedded.encoder_facts(), "search": found.search_facts()})

        # 3. A second opinion, pixel by pixel: strangers leave the groups, members get a kind, cards and templates are told apart.
        verified = verify.run(store, config, sources, progress)

        # 4. Groups and captions in the order in which a model is likely to have memorized them.
        ranked = risk.run(store, config, progress)

        # 5. One page that a person can read. It re-reads a few originals, so it comes last and may be made again alone.
        page = report.run(store, config, sources, progress, others=other_sets(store, progress))

        # Said last, and gone while a scan is under way: tables of two scans are nothing to judge a set by.
        store.write_run({**run, "encoder": embedded.encoder_facts(), "search": found.search_facts(), "is_finished": True})

    return ScanSummary.of(store, embedded, found, verified, ranked, page, sources, seconds=time.perf_counter() - start)
