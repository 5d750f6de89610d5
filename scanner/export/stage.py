"""What stays of a scanned set, as table ``keep`` and in the forms that are asked for; every file is made once and kept."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence

import numpy as np

from scanner.core.config import RunConfig
from scanner.core.ids import SHARD_BITS
from scanner.core.keep_config import ExportFormat
from scanner.core.progress import Progress
from scanner.core.store import Store
from scanner.export.datacomp import DATACOMP_FILE, write_datacomp
from scanner.export.deliveries import Deliveries, Delivery
from scanner.export.facts import Facts
from scanner.export.id_lists import write_curator, write_lists, write_samples
from scanner.export.keep_table import Judge, write_keep
from scanner.export.place import claim, identity_of, sweep
from scanner.export.policy import Policy
from scanner.export.result import ExportResult, RuleCount
from scanner.export.samples import OpenSources, SampleReader, query_rows, sample_rows
from scanner.export.savings import savings
from scanner.export.shards import Form, ShardPlan, write_shards
from scanner.export.thresholds import check_threshold, components_at

FORMS: tuple[Form, ...] = ("tars", "hf")


def export(
    run: Store, out: Store, config: RunConfig, open_sources: OpenSources, progress: Progress, *, versions: Mapping[str, str]
) -> ExportResult:
    """Brings ``out`` up to date: ``export.yaml``, table ``keep``, and every form that it holds or is asked for.

    The caller has looked at the place and holds its lock. Sources are opened only where images are to be read.

    Raises:
        ConfigError: a rule, a file to join or a form does not fit the run.
        SourceError: an image that stays is gone or has changed since the scan. What was finished stays.
        StoreError: ``out`` holds something else, or the run is not whole.
    """
    start = time.perf_counter()
    identity = identity_of(run, config.keep, config.export)
    with Facts(run, config.keep.join) as facts:
        policy = Policy.of(config.keep, facts.columns)
        rules = [*(f"require {rule.text}" for rule in policy.requirements), *(rule.text for rule in policy.preferences)]
        formats = claim(run, out, config, identity=identity, rules=rules, versions=versions)
        sweep(out)
        manifest = out.manifest("keep")
        if manifest is None or manifest.metadata.get("fingerprint") != identity:
            _keep(run, out, facts, policy, config, identity=identity, progress=progress)
        notes = list(facts.notes)

    deliveries = Deliveries(out)
    if "ids" in formats:
        write_lists(run, out, deliveries)
    if "curator" in formats:
        write_curator(run, out, config.export, deliveries)
    notes += _write_images(run, out, config, formats, open_sources, deliveries, progress)
    files = deliveries.finish()
    return _result(run, out, config, notes=notes, files=files, seconds=time.perf_counter() - start)


def dry_run(run: Store, config: RunConfig, progress: Progress) -> ExportResult:
    """What ``export`` would let stay and remove, and what other thresholds would; nothing is left on disk.

    Raises:
        ConfigError, StoreError: as ``export`` does.
    """
    start = time.perf_counter()
    scanned, asked = config.neighbors.cosine, config.keep.threshold
    swept = run.read("thresholds").sort_by("threshold").to_pylist()
    with Facts(run, config.keep.join) as facts, tempfile.TemporaryDirectory(prefix="scanner-export-") as folder:
        policy = Policy.of(config.keep, facts.columns)
        out = Store(folder)
        _keep(run, out, facts, policy, config, identity="dry run", progress=progress)
        chosen = {scanned} if asked == "as_scanned" else {scanned, asked}
        verified = sorted(chosen | {row["threshold"] for row in swept if row["threshold"] > scanned})
        saved = savings(run, facts, policy, verified, scanned=scanned)
        unverified = [(row["threshold"], row["num_grouped"] - row["num_groups"]) for row in swept if row["threshold"] < scanned]
        result = _result(run, out, config, notes=list(facts.notes), files=[], seconds=time.perf_counter() - start)
    return result.as_dry_run(savings=saved, unverified=unverified)


def _keep(run: Store, out: Store, facts: Facts, policy: Policy, config: RunConfig, *, identity: str, progress: Progress) -> None:
    """Table ``keep``. Raises ConfigError for a threshold below that of the scan."""
    threshold = config.keep.threshold
    components = None
    if threshold != "as_scanned":
        check_threshold(config, threshold)
        components = components_at(run, threshold) if threshold > config.neighbors.cosine else None
    images = run.manifest("images")
    with progress.bar("keep", total=images.num_rows if images else 0, unit="images") as bar:
        judge = Judge(policy, components)
        write_keep(run, out, facts, judge, identity=identity, scratch=config.compute.scratch, bar=bar)


def _write_images(
    run: Store,
    out: Store,
    config: RunConfig,
    formats: Sequence[ExportFormat],
    open_sources: OpenSources,
    deliveries: Deliveries,
    progress: Progress,
) -> list[str]:
    """The forms for which images are read again, where they are not there yet; and what is to be said of them."""
    num_kept, shard_ids = _kept(out)
    reader = SampleReader(run, open_sources, shard_ids)
    forms = [form for form in FORMS if form in formats]
    if "datacomp" in formats and deliveries.find(DATACOMP_FILE) is None:
        with progress.bar("uids", total=num_kept, unit="images") as bar:
            write_datacomp(run, out, reader, deliveries, bar)
    if not forms:
        return reader.notes
    write_samples(run, out, deliveries)
    plan = ShardPlan(num_samples=num_kept, shard_samples=config.export.shard_samples)
    with progress.bar("export", total=num_kept, unit="images") as bar:
        write_shards(plan, forms, sample_rows(run, out), reader, deliveries, bar)
    return reader.notes


def _kept(out: Store) -> tuple[int, list[int]]:
    """How many images stay, and from which shards."""
    num_kept, shard_ids = 0, set()
    for _, rows in out.read_parts("keep", ["image_id", "is_kept"]):
        kept = rows.filter(rows["is_kept"])["image_id"].to_numpy()
        num_kept += len(kept)
        shard_ids |= set(np.unique(kept >> SHARD_BITS).tolist())
    return num_kept, sorted(shard_ids)


def _result(
    run: Store, out: Store, config: RunConfig, *, notes: list[str], files: list[Delivery], seconds: float
) -> ExportResult:
    rules = [RuleCount(**row) for batch in query_rows(run, out, "export/keep_counts") for row in batch.to_pylist()]
    unverified = sum(rule.num_images for rule in rules if rule.rule == "kind unverified")
    if unverified:
        notes = [
            *notes,
            f"{unverified:,} images of groups stay because only the search compared them; --kinds unverified counts them too",
        ]
    left_out = sum(file.facts.get("num_members_left_out", 0) for file in files)
    if left_out:
        notes = [*notes, f"{left_out:,} files of samples were left behind: links in tars; in hf all but image, caption and .json"]
    return ExportResult(
        url=out.url, has_weights=config.keep.weights, scanned=config.neighbors.cosine, rules=rules, files=files, notes=notes,
        seconds=seconds,
    )  # fmt: skip
