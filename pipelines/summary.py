"""What a scan says at its end, and leaves as ``summary.json``: counts, groups, top captions, time a stage, peak memory."""

from __future__ import annotations

import json
import math
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from scanner import __version__
from scanner.core.memory import peak_memory_bytes
from scanner.core.printable import printable
from scanner.core.sql import connect, find_query, run_query
from scanner.core.store import Store
from scanner.embed.stage import EmbedResult
from scanner.neighbors.stage import NeighborsResult
from scanner.report.stage import ReportResult
from scanner.risk.stage import RiskResult
from scanner.sources.base import Source
from scanner.verify.stage import VerifyResult

SUMMARY_FILE = "summary.json"
CAPTION_WIDTH = 90
LIBRARIES = ("torch", "torchvision", "open_clip_torch", "faiss-cpu", "faiss-gpu", "pyarrow", "duckdb", "numpy", "pillow", "scipy")


def versions() -> dict[str, str]:
    """Of what can change a result: recorded in run.yaml, never part of a fingerprint."""
    found = {"trainscan": __version__, "python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True, kw_only=True)
class ScanSummary:
    """Figures of one call of ``scan``; ``stages`` maps a stage to its seconds, rate and whether it had anything to do."""

    run: str
    sources: list[str]
    statuses: dict[str, int]
    num_shards: int
    num_broken_shards: int
    num_images: int
    num_embedded: int
    num_blank: int
    encoder: str
    precision: str
    threshold: float
    search: str
    audit: dict[str, Any]
    sweep: list[dict[str, Any]]
    num_groups: int
    num_blank_groups: int
    num_grouped: int
    largest_group: int
    is_verified: bool
    num_refuted: int
    kinds: dict[str, int]
    classes: dict[str, int]
    num_prompts: int
    top_captions: list[dict[str, Any]]
    stages: dict[str, dict[str, Any]]
    seconds: float
    peak_memory_mb: int
    peak_worker_memory_mb: int
    report: str

    @property
    def is_recomputed(self) -> bool:
        """Whether any stage but the report did work."""
        return any(stage["is_recomputed"] for name, stage in self.stages.items() if name != "report")

    @property
    def is_below_recall(self) -> bool:
        """Whether the audit found fewer neighbours than were asked for; not where it found no pair to judge by."""
        return bool(self.audit["is_below"])

    @classmethod
    def of(
        cls,
        store: Store,
        embedded: EmbedResult,
        found: NeighborsResult,
        verified: VerifyResult,
        ranked: RiskResult,
        page: ReportResult,
        sources: dict[str, Source],
        *,
        seconds: float,
    ) -> ScanSummary:
        with connect(store) as connection:
            statuses = dict(
                connection.execute("select status, count(*) from images group by status order by 2 desc, 1").fetchall()
            )
            blank = connection.execute("select count(*) from images where is_blank").fetchall()[0][0]
            broken = connection.execute("select count(*) from shards where status = 'broken'").fetchall()[0][0]
            cursor = connection.execute("select * from thresholds order by threshold")
            sweep = [dict(zip([c[0] for c in cursor.description], row, strict=True)) for row in cursor.fetchall()]
            cursor = run_query(connection, find_query("risk/top_captions"), {"limit": 20})
            captions = [dict(zip([c[0] for c in cursor.description], row, strict=True)) for row in cursor.fetchall()]
        stages: dict[str, dict[str, Any]] = {
            "embed": {
                "seconds": embedded.seconds,
                "images_per_s": embedded.images_per_s,
                "is_recomputed": embedded.num_parts_made > 0,
                "seconds_encoding": embedded.seconds_encoding,
                "num_parts_made": embedded.num_parts_made,
                "num_parts": embedded.num_parts,
                "num_images_read": embedded.num_images_read,
                "num_decoded": embedded.num_decoded,
            },
            "neighbors": {
                "seconds": found.seconds,
                "images_per_s": found.images_per_s,
                "is_recomputed": found.is_recomputed,
                "searched": found.searched,
                "num_compared": found.num_compared,
            },
            "verify": {
                "seconds": verified.seconds,
                "images_per_s": verified.num_candidates / max(verified.seconds, 1e-9),
                "is_recomputed": verified.is_recomputed,
                "num_read": verified.num_read,
                "num_failed": verified.num_failed,
            },
            "risk": {
                "seconds": ranked.seconds,
                "images_per_s": found.num_images / max(ranked.seconds, 1e-9),
                "is_recomputed": ranked.is_recomputed,
            },
            "report": {"seconds": page.seconds, "images_per_s": 0.0, "is_recomputed": True},
        }
        summary = cls(
            run=store.url,
            sources=[
                f"{name} ({source.format}): {source.describe()}" for name, source in sources.items() if source.counts.num_shards
            ],
            statuses=statuses,
            num_shards=embedded.num_shards,
            num_broken_shards=broken,
            num_images=embedded.num_images,
            num_embedded=embedded.num_embedded,
            num_blank=blank,
            encoder=embedded.encoder,
            precision=embedded.precision,
            threshold=found.threshold,
            search=found.search,
            audit={
                "recall": None if math.isnan(found.recall) else found.recall,
                "low": found.recall_low,
                "high": found.recall_high,
                "asked": found.recall_asked,
                "is_below": found.is_below_recall,
            },
            sweep=sweep,
            num_groups=verified.num_groups,
            num_blank_groups=ranked.num_blank_groups,
            num_grouped=verified.num_grouped,
            largest_group=verified.largest_group,
            is_verified=verified.is_enabled,
            num_refuted=verified.num_refuted,
            kinds=verified.num_by_kind,
            classes=verified.num_by_class,
            num_prompts=ranked.num_prompts,
            top_captions=captions,
            stages=stages,
            seconds=seconds,
            peak_memory_mb=peak_memory_bytes() >> 20,
            peak_worker_memory_mb=embedded.peak_worker_memory_bytes >> 20,
            report=page.path,
        )
        store.put(json.dumps(asdict(summary), indent=1, default=str).encode(), SUMMARY_FILE)
        return summary

    def _audited(self) -> str:
        recall, low, high = (self.audit[key] for key in ("recall", "low", "high"))
        if recall is None:
            return "no sampled image has a neighbour, so its recall is unknown"
        missed = f"; {self.audit['asked']:g} WAS ASKED FOR" if self.is_below_recall else ""
        return f"a sampled image finds {recall:.4f} [{low:.4f}, {high:.4f}] of its neighbours{missed}"

    def lines(self) -> list[str]:
        """The summary as a person reads it."""
        status = ", ".join(f"{count:,} {name}" for name, count in self.statuses.items())
        out = [*self.sources] if self.sources else ["No shard was read: everything was there already."]
        out.append(
            f"{self.num_images:,} images in {self.num_shards:,} shards ({self.num_broken_shards} broken): {status}"
            f"; {self.num_blank:,} blank"
        )
        out.append(
            f"encoder {self.encoder} {self.precision}".rstrip()
            + f", {self.num_embedded:,} embedded; threshold {self.threshold:g}"
        )
        out.append(
            f"{self.num_groups:,} groups ({self.num_blank_groups} blank, out of the rank) hold {self.num_grouped:,} images; "
            f"largest {self.largest_group:,}; {self.num_prompts:,} captions ranked"
        )
        if self.is_verified:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.kinds.items())
            classes = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in self.classes.items())
            out.append(f"verified: {kinds or 'nothing'}; {self.num_refuted:,} images refuted; groups: {classes or 'none'}")
        out.append(f"search {self.search}: {self._audited()}")
        out += [
            f"  at {row['threshold']:g}: {row['num_groups']:,} groups, {row['num_grouped']:,} images, "
            f"largest {row['largest_group']:,}, {row['num_pairs']:,} pairs"
            for row in self.sweep
        ]
        if self.top_captions:
            out.append("Captions to worry about first (images with this caption / images of the group):")
        out += [
            f"  {row['risk_rank']:>3}. {row['num_caption_images']:>5,} / {row['num_images']:<5,} "
            + printable(row["caption"], width=CAPTION_WIDTH)
            for row in self.top_captions
        ]
        done = [
            f"{name} {stage['seconds']:.1f} s" + (f" ({stage['images_per_s']:,.0f} images/s)" if stage["images_per_s"] else "")
            if stage["is_recomputed"]
            else f"{name} up to date"
            for name, stage in self.stages.items()
        ]
        out.append("; ".join(done))
        out.append(
            f"{self.seconds:.1f} s in all; peak memory {self.peak_memory_mb:,} MiB, "
            f"of a decoding worker {self.peak_worker_memory_mb:,} MiB"
        )
        if not self.is_recomputed:
            out.append("Nothing was recomputed: the run was up to date.")
        out.append(f"Report: {self.report}")
        return out
