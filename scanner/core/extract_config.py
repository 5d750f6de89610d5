"""The settings of an extraction: how a model is sampled, where generations are spent, what counts as found."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from scanner.core.section import Section


class ExtractConfig(Section):
    """How a diffusion model is asked for its training images, and what counts as having got one."""

    model: str = ""
    """``toy`` or ``toy-dedup`` (ship with the package), a folder that diffusers saved, or an id of the hub (``org/model``)."""
    scheduler: Literal["ddim", "dpmsolver++", "euler", "heun", "pndm", "pipeline"] = "ddim"
    """Sampler; none of these adds noise on the way, so an image depends on prompt and seed alone. ``pipeline``: that of the
    pipeline itself, for flow models and others that none of these fits."""
    num_inference_steps: int = Field(default=50, ge=1)
    """Of the sampler."""
    guidance_scale: float = Field(default=7.5, ge=0)
    """Of classifier-free guidance; 1 is the prompt alone, at half the cost."""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of weights and arithmetic; latents are fp32 in any case."""
    batch_size: int = Field(default=8, ge=1)
    """Images sampled together, across prompts; an image may differ by a level under another batch size."""
    first_seed: int = Field(default=0, ge=0)
    """Every prompt is tried with this seed and those that follow."""
    training_crop: Literal["center", "squash"] = "center"
    """How training brought images to the model's size: shorter side and centre crop, or both sides whatever the aspect."""
    lanes: tuple[Literal["duplicate", "template", "outlier", "calibration", "control"], ...] = (
        "duplicate", "template", "outlier", "calibration", "control",
    )  # fmt: skip
    """Lanes that are tried; without ``control`` there are no limits to judge by."""
    max_prompts: int = Field(default=350_000, ge=1)
    """Of lane ``duplicate``, those ranked first; Carlini et al. 2023 tried as many."""
    always_confirm: int = Field(default=20, ge=0)
    """Of lane ``duplicate``, those ranked first that are confirmed whatever the prefilter says of them."""
    prefilter_seeds: int = Field(default=4, ge=1)
    """Seeds of the prefilter, shared by all prompts."""
    prefilter_quantile: float = Field(default=0.95, gt=0, lt=1)
    """Of the controls' scores, that a prompt must exceed to be confirmed."""
    audit_share: float = Field(default=0.05, ge=0, le=1)
    """Of the prompts that the prefilter rejects, drawn at random and confirmed all the same."""
    max_generations: int = Field(default=500, ge=3)
    """Images of one prompt, at most; Carlini et al. 2023 took 500 of each."""
    min_rate: float = Field(default=0.1, gt=0, le=1)
    """Share of its generations that repeat, from which on a prompt should be found ..."""
    max_miss: float = Field(default=0.05, gt=0, lt=1)
    """... but for this probability. Prompts that show less are left early."""
    budget: int | Literal["unlimited"] = "unlimited"
    """Evaluations of the network that may be spent, on controls first, then on what promises most."""
    max_edge: float = Field(default=0.15, gt=0, le=1)
    """Tiled l2, of pixels in [0, 1], up to which two generations are close."""
    max_l2: float = Field(default=0.15, gt=0, le=1)
    """l2 up to which a generation is a training image (Carlini et al. 2023, section 4.2)."""
    strict_l2: float = Field(default=0.113, gt=0, le=1)
    """The stricter tier (Webster 2023: 2,500 squared errors over 256 x 256 x 3)."""
    ratio_quantile: float = Field(default=0.01, gt=0, lt=1)
    """Of the controls' adaptive ratios, that a verdict must stay below."""
    num_candidates: int = Field(default=100, ge=2)
    """Training pictures that the generations of a prompt are compared with pixel by pixel, found by their embeddings."""
    max_side: int = Field(default=256, ge=16)
    """Pixels of a side at which images are compared."""
