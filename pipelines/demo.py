"""The demo: a small set with planted duplicates, scanned, and groups and ranking held against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scanner.core.config import load_config, override
from scanner.core.progress import Progress
from scanner.core.store import Store
from scanner.lab.planted import make_planted
from scanner.lab.run_score import RunScore, score_run
from scanner.pipelines.scan import scan
from scanner.pipelines.summary import ScanSummary


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the scan said, and how right it was."""

    summary: ScanSummary
    score: RunScore


def demo(out: Path, *, num_images: int, seed: int, progress: Progress) -> DemoResult:
    """Makes ``out/data`` and scans it into ``out/run``.

    Raises:
        StoreError, EncoderError: as ``scan`` does.
    """
    # 1. A set whose duplicates are known: procedural images and captions, copies re-encoded, resized, cropped, watermarked.
    planted = make_planted(str(out / "data"), num_images=num_images, seed=seed)

    # 2. The same scan that a real set gets.
    config = override(load_config("demo"), {"sources": [{"url": planted.source_url, "name": "planted"}]})
    store = Store(str(out / "run"))
    summary = scan(store, config, progress)

    # 3. What was planted against what was found.
    return DemoResult(summary=summary, score=score_run(store, planted.read_truth()))
