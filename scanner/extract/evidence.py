"""The evidence bundle of a verdict: a folder that stands for itself, with the training image, what came out, and all numbers.

Pictures in it are pixels that were decoded and written anew: nothing of a source's file is copied.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.store import Store
from scanner.extract.library import Library
from scanner.extract.records import Record, Settings
from scanner.extract.templates import GRID
from scanner.extract.trials import Trial, to_png
from scanner.extract.verdicts import Limits

EVIDENCE = "evidence"
TILE = 160
"""Pixels of a picture's side in the contact sheet, at least."""
_LABEL = 14


def write_evidence(
    trial: Trial, record: Record, store: Store, settings: Settings, limits: Limits, library: Library
) -> tuple[str, ...]:
    """Writes ``evidence/<model>/<prompt>/``: evidence.json, training-<image_id>.png, sheet.png.

    Generations lie where evidence.json and the table ``generations`` say.

    Returns:
        The folder, as parts of a path in the run.
    """
    row = record.extraction
    folder = (EVIDENCE, settings.model_id[:16], str(row["prompt_id"]))
    (training,) = library.pixels([row["image_id"]]) if row["image_id"] is not None else (None,)
    first = settings.first_seed
    seeds = sorted(record.kept)
    mask = np.unpackbits(np.frombuffer(bytes.fromhex(row["mask"]), np.uint8)).reshape(GRID, GRID) if row["mask"] else None
    document = {
        "prompt": trial.prompt.text, "lanes": sorted(trial.prompt.lanes), "model_id": settings.model_id,
        "scheduler": settings.scheduler, "num_inference_steps": settings.num_inference_steps,
        "guidance_scale": settings.guidance_scale, "dtype": settings.dtype, "compared_at": list(library.size),
        "seeds": list(range(first, first + trial.num_generations)),
        "generations": {str(seed): record.kept[seed] for seed in seeds}, "limits": asdict(limits), "extraction": row,
        "matches": record.matches, "mask": None if mask is None else ["".join(".#"[cell] for cell in line) for line in mask],
    }  # fmt: skip
    if training is not None:
        store.put(to_png(training), *folder, f"training-{row['image_id']}.png")
        shown = [trial.images[seed - first] for seed in seeds]
        labels = [f"seed {seed}" for seed in seeds]
        store.put(contact_sheet(training, shown, labels, mask), *folder, "sheet.png")
    # Last: where it is, the bundle is whole.
    store.put(json.dumps(document, indent=1, ensure_ascii=False, default=_plain).encode(), *folder, "evidence.json")
    return folder


def contact_sheet(
    training: NDArray[np.uint8], generations: list[NDArray[np.uint8]], labels: list[str], mask: NDArray[np.uint8] | None
) -> bytes:
    """A PNG: the training image, what of it is in the mask where there is one, and the generations."""
    from PIL import Image, ImageDraw

    pictures = [("training image", training)]
    if mask is not None:
        height, width, _ = training.shape
        inside = mask[np.arange(height) * GRID // height][:, np.arange(width) * GRID // width].astype(bool)
        faded = np.where(inside[..., None], training, (training // 4 + 190).astype(np.uint8))
        pictures.append(("what is the same", faded))
    pictures += list(zip(labels, generations, strict=True))
    height, width, _ = training.shape
    scale = max(1, -(-TILE // min(height, width)))
    size = (width * scale, height * scale)
    sheet = Image.new("RGB", (len(pictures) * (size[0] + 4), size[1] + _LABEL), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (label, pixels) in enumerate(pictures):
        left = place * (size[0] + 4)
        draw.text((left + 2, 1), label, fill="black")
        sheet.paste(Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST), (left, _LABEL))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _plain(value: Any) -> Any:
    """JSON of numpy's numbers."""
    return value.item() if isinstance(value, np.generic) else str(value)
