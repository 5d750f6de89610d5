"""A small real scan with hostile words in it, for the live pages."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
from PIL import Image

from scanner.core.config import check_config, resolve
from scanner.core.progress import Progress
from scanner.core.schemas import TABLES, arrow_schema
from scanner.core.store import Store
from scanner.pipelines.scan import scan

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)> & \x07bell \u202egnp.exe'
NAME = 'a"><b onclick="x">.png'
ODD = "100% _wild_ 'quote\""
LONG = " and so on" * 700
"""Of 7,000 characters: twice that is more than a page is given."""


def picture(seed: int, side: tuple[int, int] = (96, 64), format_: str = "PNG") -> bytes:
    small = np.random.default_rng(seed).integers(0, 255, size=(5, 7, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize(side, Image.Resampling.BICUBIC).save(file, format_)
    return file.getvalue()


def write(store: Store, table: str, rows: list[dict]) -> None:
    content = [{**{c.name: None for c in TABLES[table].columns}, **row} for row in rows]
    store.write_table(table, pa.Table.from_pylist(content, schema=arrow_schema(table)), fingerprint="a" * 64, part_rows=100)


def write_evidence(store: Store, image_id: int) -> None:
    """Tables that a scan does not make: an extraction whose files lie in and out of the run, a comparison with another set."""
    model = {"model_id": "m" * 64, "prompt_id": 5, "num_generations": 8, "num_forward_passes": 9, "clique_size": 4}
    write(store, "extractions", [{
        **model, "stop_reason": "verdict", "is_escalated": True, "is_audited": False, "clique_size_asked": 3, "num_matching": 4,
        "image_id": image_id, "l2": 0.1, "ratio_limit": 0.5, "verdict": "extracted",
    }])  # fmt: skip
    kept = {"model_id": "m" * 64, "prompt_id": 5, "scheduler": "ddim", "num_inference_steps": 1, "guidance_scale": 1.0}
    paths = ("generated/kept.png", "../set/a0.png", "/etc/passwd", "run.yaml")
    write(store, "generations", [
        {**kept, "generation_id": k, "seed": k, "image_path": path, "num_forward_passes": 1} for k, path in enumerate(paths)
    ])  # fmt: skip
    store.put(picture(50), "generated", "kept.png")
    write(store, "prompt_scores", [])
    write(store, "comparisons", [{
        "other": HOSTILE, "role": "eval", "form": "run", "url": "/data/<test>", "num_left": 8, "num_right": 5,
        "num_right_unusable": 0, "threshold": 0.9, "at": "2026-01-01",
    }])  # fmt: skip
    write(store, "leaks", [{
        "left_dataset": "set", "left_id": image_id, "right_dataset": HOSTILE, "right_id": 3, "right_key": NAME, "role": "eval",
        "similarity": 0.95, "kind": "near", "confidence": 0.75,
    }])  # fmt: skip


def build(root):
    """(store, config): a0 and a1 are one file, a2 the same picture as JPEG; two of a hostile pair; 3 alone; 1 broken."""
    folder = root / "set"
    folder.mkdir()
    files = {
        "a0.png": (picture(1), "a red Boat"), "a1.png": (picture(1), "a red Boat"),
        "a2.jpg": (picture(1, format_="JPEG"), "a boat"),
        NAME: (picture(2), HOSTILE), "h1.png": (picture(2, (120, 80)), ODD),
        **{f"s{k}.png": (picture(10 + k), f"alone {k}" + k * LONG) for k in range(3)},
        "x<i>.png": (b"\x89PNG\r\n\x1a\n no more", "cut"),
    }  # fmt: skip
    for name, (data, caption) in files.items():
        (folder / name).write_bytes(data)
        (folder / name).with_suffix(".txt").write_text(caption, "utf-8")
    given = {"sources": [{"url": str(folder), "name": "set"}], "encoder": {"name": "pixels"}, "compute": {"workers": 1}}
    config = resolve(check_config(given, where="test"))
    store = Store(str(root / "run"))
    scan(store, config, Progress(quiet=True))
    write_evidence(store, ids_of(store)["a0.png"])
    return store, config


def ids_of(store: Store) -> dict[str, int]:
    rows = store.read("images", ["image_id", "key"]).to_pylist()
    return {row["key"]: row["image_id"] for row in rows}
