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
from scanner.core.store import RUN_FILE, Store
from scanner.report.content import Content, read_content
from scanner.report.extractions import read_extractions
from scanner.report.numbers import count, counted
from scanner.report.page import PageFacts, render
from scanner.report.sections import broken_warning
from scanner.report.thumbnails import Thumbnail, make_thumbnails
from scanner.sources.base import Source

REPORT_FILE = "report.html"
REDACTED = "redacted"


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
    store: Store, config: RunConfig, sources: dict[str, Source], progress: Progress, *, is_redacted: bool = False
) -> ReportResult:
    """Writes ``report.html`` into the run.

    ``sources`` are those at hand, by dataset: images of another have a box with the reason in place of a picture. Redacted, the
    page can be shown to people who must not see the set: no originals, and blurs of what models gave back.

    Raises:
        QueryError: the scan has not come to its end.
    """
    start = time.perf_counter()
    content = read_content(store, config.report)
    members = content.shown_members
    workers = os.cpu_count() or 1 if config.compute.workers == "auto" else config.compute.workers
    with progress.bar("report", total=len(members), unit="thumbnails") as bar:
        thumbnails = make_thumbnails(members, sources, config.images, workers=workers, bar=bar)
    if is_redacted:
        thumbnails = {image_id: Thumbnail(reason=REDACTED) for image_id in thumbnails}
    extracted = read_extractions(store, is_redacted=is_redacted)
    page = render(content, thumbnails, _facts(store, config, content, thumbnails), extracted)
    # A lone surrogate has no bytes in UTF-8, and one in a name must not cost the report.
    data = page.encode("utf-8", "replace")
    store.put(data, REPORT_FILE)
    return ReportResult(
        path=f"{store.url.rstrip('/')}/{REPORT_FILE}",
        num_bytes=len(data),
        num_groups=len(content.groups),
        num_pictures=len(thumbnails),
        num_without_preview=sum(not thumbnail.data_uri for thumbnail in thumbnails.values()),
        seconds=time.perf_counter() - start,
    )


def _facts(store: Store, config: RunConfig, content: Content, thumbnails: Mapping[int, Thumbnail]) -> PageFacts:
    embedded = store.manifest("embeddings")
    metadata = dict(embedded.metadata) if embedded else {}
    recorded = store.read_run() if store.get(RUN_FILE) else {"config": config.to_dict()}
    searched = store.manifest("neighbors")
    threshold = searched.metadata.get("threshold") if searched else None
    encoder = str(metadata.get("encoder") or config.encoder.name)
    datasets = [source.dataset for source in config.sources]
    return PageFacts(
        title=config.report.title or ", ".join(datasets) or "Scan",
        run=store.url,
        written_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        encoder="of the source itself (ready embeddings)" if encoder == "ready" else encoder,
        threshold=float(threshold) if threshold is not None else None,
        threshold_reason=config.neighbors.threshold_reason,
        prior=config.risk.prior,
        settings={**recorded, "embeddings": metadata, "report_written_by": f"trainscan {__version__}"},
        warnings=tuple(_warnings(store, content, thumbnails)),
    )


def _warnings(store: Store, content: Content, thumbnails: Mapping[int, Thumbnail]) -> list[str]:
    """What a reader must know before the figures."""
    found = []
    if broken := broken_warning(content):
        found.append(broken)
    pairs = store.manifest("pairs")
    if pairs and pairs.metadata.get("is_truncated"):
        found.append("Table pairs holds fewer pairs than there are (neighbors.max_pairs); counts and groups are not affected.")
    missing = [t for t in thumbnails.values() if not t.data_uri and t.reason != REDACTED]
    if missing:
        reasons = sorted({thumbnail.reason for thumbnail in missing})
        found.append(
            f"{counted(len(missing), 'picture')} of {count(len(thumbnails))} could not be read again and "
            f"{'has' if len(missing) == 1 else 'have'} a box with the reason, for example: {reasons[0]}."
        )
    return found
