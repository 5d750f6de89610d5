"""The settings of an export: which images stay, and in what form they leave."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from scanner.core.keep_rules import parse_preference, parse_requirement
from scanner.core.section import Section

Kind = Literal["exact", "near", "semantic", "unverified"]
ProtectedClass = Literal["blank", "placeholder", "template", "text", "vector_graphic"]
ExportFormat = Literal["ids", "datacomp", "curator", "hf", "tars"]


class KeepConfig(Section):
    """Which images of a scanned set stay."""

    images_a_group: int = Field(default=1, ge=1)
    """Images of a group that stay."""
    weights: bool = False
    """Remove nothing from groups; each image weighs min(1, images_a_group / images of its group) instead."""
    prefer: tuple[str, ...] = ()
    """Which copy stays, the first rule that tells two apart deciding: ``COLUMN`` (more is better), ``COLUMN asc``,
    ``COLUMN in A,B`` or ``random SEED``; then the lowest id. Empty: the group's representative, which has the best resolution,
    then the longest caption, then the lowest id."""
    require: tuple[str, ...] = ()
    """What every image that stays must meet, such as ``width >= 256``, ``is_blank != true`` or ``host not in a.org,b.org``."""
    unusable: bool = False
    """Images that could not be decoded, or are too small or too large, stay too; what has no file never does."""
    kinds: tuple[Kind, ...] = ("exact", "near")
    """Kinds of members that count as duplicates of their representative."""
    also: tuple[ProtectedClass, ...] = ()
    """Classes of groups that are thinned too: blanks, placeholders, templates, texts and vector graphics stay unless named."""
    threshold: float | Literal["as_scanned"] = "as_scanned"
    """A cosine above that of the scan: groups fall into what hangs together at it."""
    join: tuple[str, ...] = ()
    """Parquet files or folders with further columns to choose by, joined on ``image_id``, on ``dataset`` and ``key``, or on
    ``key`` in a run of one set."""

    @field_validator("prefer")
    @classmethod
    def _are_preferences(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(parse_preference(value).text for value in values)

    @field_validator("require")
    @classmethod
    def _are_requirements(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(parse_requirement(value).text for value in values)

    @field_validator("threshold")
    @classmethod
    def _is_cosine(cls, value: float | str) -> float | str:
        if isinstance(value, float | int) and not 0 < value <= 1:
            raise ValueError("a cosine threshold lies above 0 and at most at 1")
        return value


class ExportConfig(Section):
    """In what form the images that stay leave."""

    formats: tuple[ExportFormat, ...] = ("ids",)
    """``ids`` (lists of what stays and goes, Parquet and CSV), ``datacomp`` (npy of uids), ``curator`` (ids to remove, for NeMo
    Curator), ``hf`` (Parquet with the images) and ``tars`` (webdataset)."""
    shard_samples: int = Field(default=10_000, ge=1)
    """Images of a tar or Parquet file, at most; the sizes of files differ by one image at most."""
    curator_id: Literal["key", "shard_row"] = "key"
    """What NeMo Curator calls an image: its ``key``, or ``<tar>_<number>`` as its own reader of tars numbers them."""
