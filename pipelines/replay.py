"""One image of an extraction, made again from what was recorded: prompt, seed, model, sampler, steps, guidance, precision."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from scanner.core.config import check_config
from scanner.core.errors import StoreError
from scanner.core.store import Store
from scanner.extract.trials import to_png
from scanner.pipelines.extract import open_model, read_models


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """An image as a PNG. ``max_difference``: levels of 255 from the image that the run kept; None where it kept none."""

    prompt: str
    png: bytes
    max_difference: int | None


def replay(store: Store, model_id: str, prompt_id: int, seed: int, *, device: str = "auto") -> Replay:
    """Makes the image again. On the machine it was made on it is equal to the bit; elsewhere a few levels may differ.

    Raises:
        StoreError: the run has no such prompt, or the model is another one now.
        GeneratorError: the model cannot be loaded.
    """
    from PIL import Image

    # 1. What was asked of the model then.
    facts = read_models(store)[model_id]
    config = check_config({"extract": facts["extract"], "compute": {"device": device}}, where=f"{store.url}/models.yaml")
    prompts = store.read("prompts", ["prompt_id", "prompt"]).to_pylist()
    text = next((row["prompt"] for row in prompts if row["prompt_id"] == prompt_id), None)
    if text is None:
        raise StoreError(
            f"{store.url} has no prompt {prompt_id}.", next_step="`scanner sql RUN 'select * from prompts'` lists them."
        )

    # 2. The same model, by the digest of its files.
    generator = open_model(config)
    if generator.model_id != model_id:
        raise StoreError(
            f"{config.extract.model} is another model now: {generator.model_id[:12]}, not {model_id[:12]}.",
            next_step="Put the files back that were sampled then, or extract anew.",
        )

    # 3. The image, and the one that was kept.
    (image,) = generator.generate(
        [text], [seed], num_inference_steps=config.extract.num_inference_steps, guidance_scale=config.extract.guidance_scale
    )
    rows = store.read("generations", ["model_id", "prompt_id", "seed", "image_path"]).to_pylist()
    wanted = (model_id, prompt_id, seed)
    path = next((row["image_path"] for row in rows if (row["model_id"], row["prompt_id"], row["seed"]) == wanted), None)
    kept = store.get(*path.split("/")) if path else None
    difference = None
    if kept is not None:
        old = np.asarray(Image.open(io.BytesIO(kept)).convert("RGB")).astype(np.int16)
        difference = int(np.abs(old - image).max())
    return Replay(prompt=text, png=to_png(image), max_difference=difference)
