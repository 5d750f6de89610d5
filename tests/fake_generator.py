"""A scanned set, and a model without any network that gives back the pictures it is told to remember."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from pictures import draw, encoded, sample, write_tar
from PIL import Image

from scanner.core.config import RunConfig, override
from scanner.core.progress import Progress
from scanner.core.store import Store
from scanner.extract import stage
from scanner.models.pixels import PixelsEncoder
from scanner.models.samplers import FirstStep
from scanner.pipelines.scan import open_sources, scan

SIDE = 32
NUM_LONE = 60
MEMORIZED, OTHER = "a memorized picture", "a picture of another caption"
QUIET = Progress(quiet=True)
TEMPLATE = [f"mug with print {i}" for i in range(6)]


def template_member(i: int) -> Image.Image:
    """The same ground, and a third of it that differs."""
    ground = np.asarray(draw(7000, size=(SIDE, SIDE))).copy()
    ground[8:26, 8:26] = np.asarray(draw(7100 + i, size=(18, 18)))
    return Image.fromarray(ground)


def square(seed: int) -> Image.Image:
    return draw(seed, size=(SIDE, SIDE))


@pytest.fixture(scope="session")
def scanned(tmp_path_factory) -> Path:
    """A run: one picture 12 times under one caption, one 4 times, six of a template, 60 others once each."""
    folder = tmp_path_factory.mktemp("set")
    members = []
    for i in range(12):
        members += sample(f"m{i}", encoded(square(1)), MEMORIZED)
    for i in range(4):
        members += sample(f"o{i}", encoded(square(2)), OTHER)
    for i, caption in enumerate(TEMPLATE):
        members += sample(f"t{i}", encoded(template_member(i)), caption)
    for i in range(NUM_LONE):
        members += sample(f"x{i}", encoded(square(100 + i)), f"thing number {i}")
    write_tar(folder / "00000.tar", members)
    out = folder / "run"
    scan(Store(str(out)), base_config(folder), QUIET)
    return out


def base_config(folder: Path) -> RunConfig:
    return override(
        RunConfig(),
        {
            "sources": [{"url": str(folder / "00000.tar"), "name": "set"}], "encoder.name": "pixels", "compute.workers": 1,
            "risk.num_control": 52, "risk.num_calibration": 4, "risk.num_outlier": 4, "extract.num_inference_steps": 2,
            "extract.training_crop": "squash", "extract.max_generations": 32, "extract.min_rate": 0.3, "extract.max_miss": 0.1,
            "extract.always_confirm": 0, "extract.audit_share": 0.0,
        },
    )  # fmt: skip


class FakeModel:
    """Gives the picture of a remembered prompt back, in a share of the seeds and with noise on it; else a picture of the seed's.

    Attributes:
        remembered: prompt to (image, share of the seeds).
        calls: prompts that images were made of, one an image.
        scores: of the first step, where they are to be others than 3 for what is remembered and about 1 for what is not.
        stop_after: images after which it is interrupted.
    """

    takes_prompts = True
    scheduler = "ddim"
    image_size = (SIDE, SIDE)

    def __init__(self, remembered: dict[str, tuple[Image.Image, float]], *, name: str = "fake") -> None:
        self.remembered = remembered
        self.model_id = hashlib.sha256(name.encode()).hexdigest()
        self.calls: list[str] = []
        self.scores: dict[str, float] = {}
        self.stop_after = 10**9

    def num_forward_passes(self, *, num_inference_steps: int, guidance_scale: float) -> int:
        return num_inference_steps * 2

    def generate(self, prompts, seeds, *, num_inference_steps, guidance_scale):
        if len(self.calls) + len(prompts) > self.stop_after:
            raise KeyboardInterrupt
        self.calls += prompts
        return np.stack([self._image(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)])

    def _image(self, prompt: str, seed: int) -> np.ndarray:
        draws = int.from_bytes(hashlib.sha256(f"{prompt}/{seed}".encode()).digest()[:4], "big")
        rng = np.random.default_rng(draws)
        image, share = self.remembered.get(prompt, (None, 0.0))
        if image is None or rng.random() >= share:
            return np.asarray(square(10**6 + draws))
        noisy = np.asarray(image, np.int16) + rng.integers(-12, 13, (SIDE, SIDE, 3))
        return np.clip(noisy, 0, 255).astype(np.uint8)

    def first_step(self, prompts, seeds, *, num_inference_steps, guidance_scale):
        plain = (3.0 if prompt in self.remembered else 1.0 + len(prompt) / 1000 for prompt in prompts)
        score = [self.scores.get(prompt, value) for prompt, value in zip(prompts, plain, strict=True)]
        scores = np.repeat(np.array(score)[:, None], len(seeds), axis=1)
        return FirstStep(
            noise_magnitude=scores, denoising_confidence=scores, num_prompt_passes=len(seeds), num_shared_passes=len(seeds)
        )

    def is_truncated(self, prompt: str) -> bool:
        return False

    def round_trip(self, images):
        return images


def settings(scanned: Path, **changes: object) -> RunConfig:
    return override(base_config(scanned.parent), changes)


def extract(run_dir: Path, config: RunConfig, model: FakeModel):
    return stage.run(Store(str(run_dir)), config, open_sources(config), model, PixelsEncoder(), QUIET)


def strong() -> FakeModel:
    """Remembers one picture for its caption, another for a caption of neither, and the ground of a template."""
    memory = {MEMORIZED: (square(1), 1.0), "thing number 5": (square(2), 0.9)}
    memory |= {caption: (template_member(99), 1.0) for caption in TEMPLATE[:3]}
    return FakeModel(memory)
