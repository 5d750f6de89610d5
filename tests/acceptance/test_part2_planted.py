"""Part 2, planted sets: the same pictures on other versions of Pillow and numpy, and constant memory whatever the size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[2]
OLDEST = ("numpy==2.0.2", "pillow==11.3.0")
"""The least that pyproject.toml allows, of what draws."""
NUM_IMAGES, SEED = 300, 9
MAX_LEVELS = 3

DRAW = """
import io, sys
import numpy as np
from PIL import Image
from scanner.lab import pictures
from scanner.lab.plan import Plan
plan = Plan(num_images=int(sys.argv[1]), seed=int(sys.argv[2]))
drawn, captions = {}, []
for row, _ in plan.rows(0, plan.num_images):
    captions.append(pictures.caption(row, plan.seed))
    if row.kind != "broken":
        image = Image.open(io.BytesIO(pictures.image_file(row, plan.seed)))
        drawn[f"{row.planted_id}/{row.copy}/{row.kind}"] = np.asarray(image.convert("RGB"))
np.savez(sys.argv[3], captions=np.array(captions), **drawn)
"""


def draw(python: str | Path, path: Path) -> dict[str, np.ndarray]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([python, "-c", DRAW, str(NUM_IMAGES), str(SEED), str(path)], check=True, env=environment)
    with np.load(path) as arrays:
        return dict(arrays)


def test_pixels_agree_within_three_levels_on_the_oldest_versions(tmp_path):
    old = tmp_path / "old"
    for command in (
        ["venv", "-q", "--python", sys.executable, old],
        ["pip", "install", "-q", "--python", old / "bin/python", *OLDEST],
    ):
        done = subprocess.run([sys.executable, "-m", "uv", *map(str, command)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no package registry: {done.stderr.strip()[-200:]}")
    now, then = draw(sys.executable, tmp_path / "now.npz"), draw(old / "bin" / "python", tmp_path / "then.npz")
    assert now.keys() == then.keys()
    assert (now.pop("captions") == then.pop("captions")).all()
    worst: dict[str, int] = {}
    for name, image in now.items():
        assert image.shape == then[name].shape, name
        kind = name.rpartition("/")[2]
        worst[kind] = max(worst.get(kind, 0), int(np.abs(image.astype(int) - then[name]).max()))
    print(f"\n{len(now)} images on {', '.join(OLDEST)}: greatest difference by kind, in levels of 255: {worst}")
    assert max(worst.values()) <= MAX_LEVELS


PEAK = """
import resource, sys
from scanner.lab.plan import Plan
from scanner.lab.planted import _truth_part, write_shard
from pathlib import Path
plan = Plan(num_images=int(sys.argv[1]), seed=1)
folder = Path(sys.argv[2]); folder.mkdir()
_truth_part(folder, 0).parent.mkdir()
last = plan.num_images // 500 - 1
for shard in (0, last // 2, last):
    write_shard(shard, folder=str(folder), plan=plan, as_="webdataset", shard_rows=500)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_a_set_of_a_million_takes_the_memory_of_a_set_of_ten_thousand(tmp_path):
    peak = {}
    for number in (10_000, 1_000_000):
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(number), str(tmp_path / str(number))], check=True, capture_output=True, text=True
        )
        peak[number] = int(done.stdout)
    print(f"\npeak memory of drawing three shards, MiB, by rows of the set: {peak}")
    assert peak[1_000_000] < 1.15 * peak[10_000]
