"""What an extraction would take: evaluations of the network, and how long they last. Arithmetic, as all of this room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scanner.core.amounts import show_number, show_seconds
from scanner.core.config import RiskConfig
from scanner.core.extract_config import ExtractConfig
from scanner.plan.rates import Rate, Rates

FULL_GENERATIONS = 500
"""Images of every prompt in the protocol that is compared with: Carlini et al. 2023, section 4.2."""
STRATA = 12
"""Of the calibration lane: 1, 2, 3 to 4 ... 2,048 images with one caption."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtractionPlan:
    """Evaluations of the network by step, and what they follow from.

    Attributes:
        passes: of prefilter, controls, calibration, what the prefilter lets through, and its audit.
        passes_an_image: steps, twice with guidance.
        full_passes: of 500 images of every prompt.
        rate: evaluations a second of one device.
        num_devices: that share the work.
    """

    num_prompts: int
    passes: dict[str, float]
    passes_an_image: int
    full_passes: float
    rate: Rate
    num_devices: int

    @property
    def total(self) -> float:
        return sum(self.passes.values())

    @property
    def duration_s(self) -> float:
        return self.total / (self.rate.value * self.num_devices)

    def lines(self) -> list[str]:
        """As a person reads it."""
        width = max(map(len, self.passes))
        shown = [f"  {name:<{width}}  {count:>18,.0f} forward passes" for name, count in self.passes.items()]
        return [
            f"{self.num_prompts:,} prompts, {self.passes_an_image} passes an image:",
            *shown,
            f"  {'in all':<{width}}  {self.total:>18,.0f}: {show_seconds(self.duration_s)} on {self.num_devices} "
            f"{'device' if self.num_devices == 1 else 'devices'}, {show_number(self.rate.value)} {self.rate.unit} each",
            f"500 images of every prompt: {self.full_passes:,.0f}, {self.full_passes / self.total:,.0f} times as many",
            f"The rate is {self.rate.origin()}.",
        ]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "num_prompts": self.num_prompts, "passes": self.passes, "total_passes": self.total,
            "passes_an_image": self.passes_an_image, "full_passes": self.full_passes, "seconds": self.duration_s,
            "num_devices": self.num_devices, "rate": self.rate.to_dict(),
        }  # fmt: skip


def plan_extraction(
    *, num_prompts: int, extract: ExtractConfig, risk: RiskConfig, images_without: float, images_with: float, rates: Rates,
    gpu: str, num_devices: int,
) -> ExtractionPlan:  # fmt: skip
    """Plans the extraction of ``num_prompts`` ranked prompts.

    Args:
        images_without: expected images of a prompt that repeats nothing; ``images_with``: of one whose images repeat half of the
            time. Both follow from the rule that stops.
        gpu: of which kind the devices are: h100, a100 or none.
    """
    an_image = extract.num_inference_steps * (1 if extract.guidance_scale == 1 else 2)
    share_let_through = 1 - extract.prefilter_quantile
    num_found = num_prompts * rates["extracted_share"].value
    num_let_through = num_prompts * share_let_through + extract.always_confirm
    num_outliers = risk.num_outlier * share_let_through
    num_others = risk.num_control + STRATA * risk.num_calibration + risk.num_outlier
    passes = {
        "prefilter": float((num_prompts + num_others) * extract.prefilter_seeds),
        "controls": risk.num_control * images_without * an_image,
        "calibration": STRATA * risk.num_calibration * images_without * an_image,
        "let through": (num_let_through + num_outliers) * images_without * an_image + num_found * images_with * an_image,
        "audit of the rejected": num_prompts * extract.prefilter_quantile * extract.audit_share * images_without * an_image,
    }
    return ExtractionPlan(
        num_prompts=num_prompts, passes=passes, passes_an_image=an_image,
        full_passes=float(num_prompts) * FULL_GENERATIONS * an_image, rate=rates[f"unet_passes_{gpu}"],
        num_devices=max(1, num_devices),
    )  # fmt: skip
