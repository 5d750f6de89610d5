"""Cheap scores of every prompt, by the first step of sampling alone: they say where to spend generations, and prove nothing.

Seeds are the same for all prompts, so the pass without a prompt is made once a seed and shared. What is let through is set by
this run's own controls, as the scale of the scores depends on the model and the size of its latents; and some of what is not let
through is confirmed all the same, drawn at random, so that a run can say what its prefilter missed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.progress import Bar
from scanner.models.generators import PromptedGenerator

MAGNITUDE, CONFIDENCE = "noise_magnitude", "denoising_confidence"
BLOCK_PROMPTS = 64
"""Prompts that share the passes without a prompt; each block makes them once."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PromptScores:
    """Of n prompts, mean over seeds; higher is memorized more likely.

    Attributes:
        noise_magnitude, denoising_confidence: float64 (n,); see ``models.samplers.FirstStep``.
        num_prompt_passes, num_shared_passes: evaluations of the network a prompt, and for all together.
    """

    noise_magnitude: NDArray[np.float64]
    denoising_confidence: NDArray[np.float64]
    num_prompt_passes: int
    num_shared_passes: int

    @property
    def num_forward_passes(self) -> int:
        """Of all prompts."""
        return len(self.noise_magnitude) * self.num_prompt_passes + self.num_shared_passes

    def to_facts(self) -> dict[str, Any]:
        """For JSON."""
        return {
            MAGNITUDE: self.noise_magnitude.tolist(), CONFIDENCE: self.denoising_confidence.tolist(),
            "num_prompt_passes": self.num_prompt_passes, "num_shared_passes": self.num_shared_passes,
        }  # fmt: skip

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> PromptScores:
        """What ``to_facts`` gave."""
        return cls(
            noise_magnitude=np.array(facts[MAGNITUDE]), denoising_confidence=np.array(facts[CONFIDENCE]),
            num_prompt_passes=facts["num_prompt_passes"], num_shared_passes=facts["num_shared_passes"],
        )  # fmt: skip


def score_prompts(
    generator: PromptedGenerator,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    num_inference_steps: int,
    guidance_scale: float,
    bar: Bar,
) -> PromptScores:
    """Both scores of every prompt, from one first step with each of the shared seeds."""
    scores = np.empty((2, len(prompts)))
    prompt_passes = shared_passes = 0
    for start in range(0, len(prompts), BLOCK_PROMPTS):
        block = prompts[start : start + BLOCK_PROMPTS]
        first = generator.first_step(block, seeds, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale)
        scores[0, start : start + len(block)] = first.noise_magnitude.mean(axis=1)
        scores[1, start : start + len(block)] = first.denoising_confidence.mean(axis=1)
        prompt_passes = first.num_prompt_passes
        shared_passes += first.num_shared_passes
        bar.advance(len(block))
    return PromptScores(
        noise_magnitude=scores[0],
        denoising_confidence=scores[1],
        num_prompt_passes=prompt_passes,
        num_shared_passes=shared_passes,
    )


def escalation_limit(scores: NDArray[np.float64], quantile: float) -> float:
    """What a prompt must score above to be confirmed: that quantile of the controls' scores, in their logarithm."""
    return float(np.exp(robust_quantile(np.log(np.maximum(scores, 1e-12)), quantile)))


def robust_quantile(values: NDArray[np.float64], quantile: float) -> float:
    """A quantile of the bulk of ``values``: of the normal curve with their median and median absolute deviation.

    Some controls leak an image that their caption tells nothing of, and these lie in the very tail that a limit is taken from: of
    one in a hundred, a hundredth is all that the empirical quantile sees. The median and the deviation hardly notice them.
    """
    from scipy.stats import norm

    middle = float(np.median(values))
    spread = float(np.median(np.abs(values - middle))) / float(norm.ppf(0.75))
    return middle + float(norm.ppf(quantile)) * spread


def is_drawn(prompt_id: int, *, share: float, seed: int, purpose: str) -> bool:
    """Whether a prompt is among a random ``share`` of all: by its id, so that the draw depends on no other prompt."""
    digest = hashlib.sha256(f"{purpose}/{seed}/{prompt_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
