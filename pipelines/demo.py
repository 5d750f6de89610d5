"""The demo: a set with planted duplicates, scanned and scored, and what models that were trained on it give back of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from scanner.core.config import load_config, override, resolve
from scanner.core.progress import Progress
from scanner.core.store import Store
from scanner.extract.figures import Figures, figures_of
from scanner.extract.stage import ExtractResult
from scanner.lab.curves import Curves, measure_shipped
from scanner.lab.planted import make_planted
from scanner.lab.run_score import RunScore, score_run
from scanner.pipelines.extract import extract
from scanner.pipelines.scan import scan
from scanner.pipelines.summary import ScanSummary

NUM_IMAGES, SEED = 4500, 101
"""The set that the models that ship were trained on."""
COPIED_SHARE = 0.7


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the scan said, how right it was, what the models emit and what extraction got out of one of them.

    The latter are None where no model was trained on this set.
    """

    summary: ScanSummary
    score: RunScore
    curves: Curves | None
    extraction: ExtractResult | None
    figures: Figures | None


def demo(out: Path, *, num_images: int, seed: int, progress: Progress) -> DemoResult:
    """Makes ``out/data`` and scans it into ``out/run``; curves of the models go to ``out/curve``.

    Raises:
        StoreError, EncoderError: as ``scan`` does.
    """
    # 1. A set whose duplicates are known: procedural images and captions, copies re-encoded, resized, cropped, watermarked.
    planted = make_planted(
        str(out / "data"), num_images=num_images, seed=seed, copied_share=COPIED_SHARE, workers=os.cpu_count() or 1
    )

    # 2. The same scan that a real set gets.
    config = override(load_config("demo"), {"sources": [{"url": planted.source_url, "name": "planted"}]})
    store = Store(str(out / "run"))
    summary = scan(store, config, progress)

    # 3. What was planted against what was found.
    score = score_run(store, planted.read_truth())

    # 4. Do duplicates matter? The captions of the set, given to a model that was trained on all of it, and to one that saw each
    #    picture once.
    curves = measure_shipped(out / "data", out / "curve", progress=progress)

    # 5. The attack itself, which knows the run and the model and nothing of what was planted.
    result = extract(store, resolve(config), progress) if curves else None
    figures = figures_of(store, result.model_id) if result else None
    return DemoResult(summary=summary, score=score, curves=curves, extraction=result, figures=figures)
