"""What a generator is, and how one is had: a model that ships, a folder that diffusers saved, or an id of the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import GeneratorError
from scanner.models.hub import HUB_ID, fetch_pipeline
from scanner.models.loading import BUNDLED
from scanner.models.pipeline_folder import PARTS, Dtype, PipelineFolder, pipeline_class
from scanner.models.pipeline_generator import PipelineGenerator, text_to_image_classes
from scanner.models.samplers import BATCH_SIZE, FirstStep, StableDiffusionGenerator, UnconditionalGenerator

if TYPE_CHECKING:
    from scanner.models.encoders import Device

TOYS = ("toy", "toy-dedup", "toy-unconditional", "toy-unconditional-dedup")
"""Models that ship with the package and have memorized a planted set; made by `scanner lab train`."""


class Generator(Protocol):
    """Prompts and seeds in, images out."""

    @property
    def model_id(self) -> str:
        """64 hex digits: digest of weights and configs, as ``model_id`` in the tables."""

    @property
    def takes_prompts(self) -> bool:
        """Whether the model is conditional. One that is not takes the empty prompt only."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of what ``generate`` gives."""

    @property
    def scheduler(self) -> str:
        """Of the sampling, as in table ``generations``."""

    def num_forward_passes(self, *, num_inference_steps: int, guidance_scale: float) -> int:
        """Evaluations of the network that one image costs."""

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], *, num_inference_steps: int, guidance_scale: float
    ) -> NDArray[np.uint8]:
        """One image a (prompt, seed): it depends on these two and the settings only, not on what else is asked for.

        On one machine and device the same image comes out to the bit; elsewhere noise is the same, and rounding differs.

        Args:
            prompts: n texts; all empty where ``takes_prompts`` is false.
            seeds: n integers from 0 to 2^63 - 1.
            num_inference_steps: of the sampler.
            guidance_scale: of classifier-free guidance (Ho and Salimans 2022): 1 is the prompt alone, at half the cost;
                unconditional models take 1 only.

        Returns:
            uint8 (n, h, w, 3), RGB.

        Raises:
            GeneratorError: a setting out of range, or images that are not finite.
        """


class PromptedGenerator(Generator, Protocol):
    """A generator that takes prompts, and that an attack can look into: latents, first steps, the autoencoder."""

    def is_truncated(self, prompt: str) -> bool:
        """Whether the prompt has more tokens than the text encoder reads; the rest of it has no effect."""

    def first_step(
        self, prompts: Sequence[str], seeds: Sequence[int], *, num_inference_steps: int, guidance_scale: float
    ) -> FirstStep:
        """What ``FirstStep`` says, for every prompt with every seed."""

    def round_trip(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Images (n, h, w, 3) through the autoencoder and back: the closest that generations can come to them."""


def generator_folder(name: str | Path) -> Path:
    """The folder that a name means: one of ``TOYS``, a path, or where no such path is there, an id of the hub (``org/model``).

    A folder of one of these names is had as ``./toy``. What the hub is asked for are configs, tokenizers and safetensors.

    Raises:
        GeneratorError: it has the form of a hub id, and cannot be had.
    """
    if isinstance(name, str) and name in TOYS:
        return BUNDLED / name
    folder = Path(name).expanduser()
    if not folder.exists() and isinstance(name, str) and HUB_ID.fullmatch(name):
        return fetch_pipeline(name)
    return folder


def load_generator(
    name: str | Path,
    *,
    device: Device = "auto",
    dtype: Dtype = "fp32",
    batch_size: int = BATCH_SIZE,
    scheduler: str = "ddim",
) -> StableDiffusionGenerator | UnconditionalGenerator | PipelineGenerator:
    """The generator of that name, in a local folder that diffusers saved, or of the hub.

    Args:
        name: one of ``TOYS``, which ship with this package; the folder of a StableDiffusionPipeline, DDPMPipeline or
            DDIMPipeline, or of any other text-to-image pipeline of diffusers, with safetensors; or an id of the hub, which is
            fetched where the cache has it not.
        device: ``auto`` takes a CUDA GPU where there is one.
        dtype: of weights and arithmetic, whatever the files hold; latents are fp32 in any case.
        batch_size: images a batch; images of another batch size may differ by a level.
        scheduler: the sampler, one of ``SAMPLERS``; for other pipelines than those named also ``pipeline``, their own.

    Raises:
        GeneratorError: the folder or its model_index.json is missing, the pipeline is of another class, its weights are pickled,
            damaged or not finite, or there is no such device.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise GeneratorError(
            "no CUDA GPU can be used here", next_step="Use device auto or cpu, or install a CUDA build of torch."
        )
    place: Literal["cpu", "cuda"] = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    path = generator_folder(name)
    class_name = pipeline_class(path)
    if class_name and class_name not in PARTS and class_name in text_to_image_classes():
        return PipelineGenerator(path, device=place, dtype=dtype, batch_size=batch_size, scheduler=scheduler)
    folder = PipelineFolder(path)
    kind = StableDiffusionGenerator if folder.class_name == "StableDiffusionPipeline" else UnconditionalGenerator
    return kind(folder, device=place, dtype=dtype, batch_size=batch_size, scheduler=scheduler)
