"""The report of a run: one self-contained HTML file from its tables and a few originals, read again for thumbnails."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from scanner import __version__
from scanner.core.config import RunConfig
from scanner.core.progress import Progress
from scanner.core.sql import connect, query_rows
from scanner.core.store import RUN_FILE, Manifest, Store
from scanner.report.content import Content, read_content
from scanner.report.extractions import read_extractions
from scanner.report.leaks import Leaks, OtherSet, read_leaks, show_others
from scanner.report.numbers import count, counted
from scanner.report.page import PageFacts, render
from scanner.report.redaction import hide_content, hide_extractions, hide_leaks, hide_settings
from scanner.report.sections import broken_warning
from scanner.report.thumbnails import LEFT_OUT, MAX_PICTURES, REDACTED, Thumbnail, find_images, make_thumbnails
from scanner.sources.base import Source

REPORT_FILE = "report.html"
REDACTED_FILE = "report-redacted.html"
"""Beside the whole one, so that neither is taken for the other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportResult:
    """What was written. ``num_without_preview`` of ``num_pictures`` files shown could not be read again."""

    path: str
    num_bytes: int
    num_groups: int
    num_pictures: int
    num_without_preview: int
    seconds: float


def run(
    store: Store,
    config: RunConfig,
    sources: Mapping[str, Source],
    progress: Progress,
    *,
    is_redacted: bool = False,
    others: Mapping[str, OtherSet] | None = None,
) -> ReportResult:
    """Writes ``report.html``, or ``report-redacted.html``, into the run.

    Args:
        sources: those at hand, by dataset; images of another have a box with the reason in place of a picture.
        is_redacted: the page can be shown to people who must not see the set: no originals, no words of the set, and blurs of
            what models gave back. No source is read.
        others: other runs that this one was compared with, by the name in table ``comparisons``, as far as they are at hand.

    Raises:
        QueryError: the scan has not come to its end.
    """
    start = time.perf_counter()
    content, extracted, leaks = (
        read_content(store, config.report),
        read_extractions(store, is_redacted=is_redacted),
        read_leaks(store),
    )
    given_back = _given_back(store, content) if extracted else {}
    if is_redacted:
        content = hide_content(content)
        extracted, leaks = extracted and hide_extractions(extracted), leaks and hide_leaks(leaks)
        thumbnails = dict.fromkeys(_image_ids(content, leaks), REDACTED)
    else:
        thumbnails, leaks = _pictures(store, config, sources, progress, content, leaks, others or {})
    facts = _facts(store, config, content, thumbnails, given_back, is_redacted=is_redacted)
    page = render(content, thumbnails, facts, extracted, leaks)
    # A lone surrogate has no bytes in UTF-8, and one in a name must not cost the report.
    data, name = page.encode("utf-8", "replace"), REDACTED_FILE if is_redacted else REPORT_FILE
    store.put(data, name)
    return ReportResult(
        path=f"{store.url.rstrip('/')}/{name}",
        num_bytes=len(data),
        num_groups=len(content.groups),
        num_pictures=len(thumbnails),
        num_without_preview=sum(not thumbnail.data_uri for thumbnail in thumbnails.values()),
        seconds=time.perf_counter() - start,
    )


def _image_ids(content: Content, leaks: Leaks | None) -> list[int]:
    """Images of this run that the page shows; those of leaks first, as they are few and grave."""
    return list(dict.fromkeys([*(leaks.image_ids if leaks else []), *content.image_ids]))


def _pictures(
    store: Store,
    config: RunConfig,
    sources: Mapping[str, Source],
    progress: Progress,
    content: Content,
    leaks: Leaks | None,
    others: Mapping[str, OtherSet],
) -> tuple[dict[int, Thumbnail], Leaks | None]:
    """Thumbnails of this run's images by image_id, and the leaks with those of the other sets."""
    ids = _image_ids(content, leaks)
    with connect(store) as connection:
        files = [image.file for image in find_images(connection, ids).values()]
    workers = os.cpu_count() or 1 if config.compute.workers == "auto" else config.compute.workers
    with progress.bar("report", total=len(files), unit="thumbnails") as bar:
        thumbnails = make_thumbnails(files, sources, config.images, workers=workers, bar=bar)
        if leaks and others:
            leaks = show_others(leaks, others, config.images, workers=workers, bar=bar)
    return thumbnails, leaks


def _given_back(store: Store, content: Content) -> dict[int, str]:
    """Of the groups shown, what a model gave back: the strongest verdict by group_id."""
    ids = ",".join(str(group.group_id) for group in content.groups)
    with connect(store) as connection:
        rows = query_rows(connection, "report/given_back_groups", {"group_ids": ids})
    return {row["group_id"]: row["verdict"] for row in rows}


def _facts(
    store: Store,
    config: RunConfig,
    content: Content,
    thumbnails: Mapping[int, Thumbnail],
    given_back: Mapping[int, str],
    *,
    is_redacted: bool,
) -> PageFacts:
    embedded = store.manifest("embeddings")
    metadata = dict(embedded.metadata) if embedded else {}
    recorded = store.read_run() if store.get(RUN_FILE) else {"config": config.to_dict()}
    searched = store.manifest("neighbors")
    threshold = searched.metadata.get("threshold") if searched else None
    encoder = str(metadata.get("encoder") or config.encoder.name)
    datasets = [source.dataset for source in config.sources]
    parts = {**recorded, "embeddings": metadata, "report_written_by": f"trainscan {__version__}"}
    return PageFacts(
        title=config.report.title or ", ".join(datasets) or "Scan",
        run=store.url,
        written_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        encoder="of the source itself (ready embeddings)" if encoder == "ready" else encoder,
        threshold=float(threshold) if threshold is not None else None,
        threshold_reason=config.neighbors.threshold_reason,
        prior=config.risk.prior,
        recall_asked=recall_asked(recorded, config),
        settings=hide_settings(parts) if is_redacted else parts,
        warnings=tuple(_warnings(store, content, thumbnails)),
        given_back=given_back,
        is_redacted=is_redacted,
    )


def recall_asked(recorded: Mapping[str, object], config: RunConfig) -> float:
    """What the search was to find: all pairs, for one that is exact."""
    search = recorded.get("search")
    asked = search.get("recall_asked") if isinstance(search, Mapping) else None
    return float(asked) if isinstance(asked, int | float) else config.neighbors.recall


def pairs_warning(pairs: Manifest | None) -> str | None:
    """Said where table ``pairs`` was capped."""
    if pairs is None or not pairs.metadata.get("is_truncated"):
        return None
    return "Table pairs holds fewer pairs than there are (neighbors.max_pairs); counts and groups are not affected."


def _warnings(store: Store, content: Content, thumbnails: Mapping[int, Thumbnail]) -> list[str]:
    """What a reader must know before the figures."""
    found = []
    if broken := broken_warning(content):
        found.append(broken)
    if truncated := pairs_warning(store.manifest("pairs")):
        found.append(truncated)
    if num_left_out := sum(thumbnail.reason == LEFT_OUT for thumbnail in thumbnails.values()):
        found.append(f"{counted(num_left_out, 'picture')} had no room: a page holds {count(MAX_PICTURES)} (report.num_groups).")
    missing = [t for t in thumbnails.values() if not t.data_uri and t is not REDACTED and t.reason != LEFT_OUT]
    if missing:
        reasons = sorted({thumbnail.reason for thumbnail in missing})
        found.append(
            f"{counted(len(missing), 'picture')} of {count(len(thumbnails))} could not be read again and "
            f"{'has' if len(missing) == 1 else 'have'} a box with the reason, for example: {reasons[0]}."
        )
    return found
