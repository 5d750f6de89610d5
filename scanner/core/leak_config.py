"""The settings of comparisons between sets: what is looked at, what counts as equal, how much of it is listed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from scanner.core.section import Section


class LeakConfig(Section):
    """How a set is compared with another one: an evaluation set, a take-down list of images or of hashes."""

    threshold: float | Literal["by_run"] = "by_run"
    """Cosine in (0, 1] at or above which an image here and one there are looked at; ``by_run``: the lowest of neighbors.threshold
    and report_thresholds, as pixels have the last word, or neighbors.threshold where no pixels are compared."""
    max_partners: int = Field(default=16, ge=1)
    """Images of the other set that an image is looked at and listed with, at most, the likest first; every image that has one is
    listed, and is_truncated says if there were more."""
    max_phash_distance: int = Field(default=8, ge=0, le=31)
    """Bits of 64 in which a perceptual hash of ours may differ from that of a list."""
    max_pdq_distance: int = Field(default=31, ge=0, le=127)
    """Bits of 256 in which a PDQ hash may; 31 is what its authors start with."""
    min_pdq_quality: int = Field(default=50, ge=0, le=100)
    """PDQ's own measure of how much a picture shows, below which its hash is not used; its authors discard up to 49."""

    @field_validator("threshold")
    @classmethod
    def _is_cosine(cls, value: float | str) -> float | str:
        if isinstance(value, float | int) and not 0 < value <= 1:
            raise ValueError("a cosine threshold lies above 0 and at most at 1")
        return value
