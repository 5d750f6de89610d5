"""The settings of a run: typed, frozen, checked at load, written whole into ``run.yaml``.

A config is YAML with the sections below; every key has a default except ``sources``. Sections that a stage reads go into the
fingerprints of the parts it writes, so a changed key recomputes what depends on it and nothing else; ``compute`` says how
fast, never what, and is in no fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, field_validator, model_validator

from scanner.core.amounts import parse_bytes
from scanner.core.download_config import DownloadConfig
from scanner.core.errors import ConfigError, nearest
from scanner.core.extract_config import ExtractConfig
from scanner.core.keep_config import ExportConfig, KeepConfig
from scanner.core.leak_config import LeakConfig
from scanner.core.section import Section, checked


class SourceConfig(Section):
    """One image–caption set."""

    url: str
    """Folder, tar, glob, braces or Parquet, on any fsspec URL; Parquet with URLs of images is downloaded first."""
    name: str = ""
    """Goes into column ``dataset``; the last part of the url if left out."""
    format: str = "auto"
    """``auto`` or one of the formats that ``scanner scan --help`` lists."""
    caption_column: str = ""
    """Column with the caption, for Parquet and metadata files; found by name if left out."""
    image_column: str = ""
    """Column with the image or the embedding; found by name if left out."""
    images: str = ""
    """Local folder that a list of URLs is downloaded into; beside the run if left out."""

    @property
    def dataset(self) -> str:
        stem = self.url.rstrip("/").rsplit("/", 1)[-1]
        return self.name or stem.split("{")[0].split("*")[0].removesuffix(".tar").removesuffix(".parquet").strip("-_.") or "set"


class EncoderConfig(Section):
    """Which network turns pixels into vectors. Never chosen by what happens to be reachable."""

    name: str = "open_clip:ViT-B-32/laion2b_s34b_b79k"
    """``open_clip:<model>/<pretrained tag or local file>``, ``small`` (ships with the package) or ``pixels``."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """``auto``: bf16 on a GPU and on CPUs with AVX-512-bf16 or AMX, else fp32."""
    batch_size: int | Literal["auto"] = "auto"
    """Images a forward pass, 1 to 65,536; batches never span parts. ``auto``: 256 on a CPU; on a GPU the size past which twice as
    much gains less than a twentieth, measured at the start, and of a scan that goes on the size that it began with. The table
    says what it was. Where memory runs out, half of it."""

    @field_validator("batch_size")
    @classmethod
    def _is_batch(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 1 <= value <= 65_536:
            raise ValueError("a batch has 1 to 65,536 images")
        return value


class ImagesConfig(Section):
    """Limits of what is decoded."""

    max_pixels: int = Field(default=100_000_000, ge=1)
    """Width x height above which an image is ``too_large``; read from the header, before decoding."""
    min_side: int = Field(default=8, ge=1)
    """Pixels of the shorter side below which an image is ``too_small``."""
    timeout_s: float = Field(default=20.0, gt=0)
    """Seconds a decoder may take for one image."""
    memory_mb: int = Field(default=2048, ge=64)
    """MiB a decoding worker may take beyond what it needs to start."""


class StoreConfig(Section):
    """How tables are cut."""

    part_rows: int = Field(default=262_144, ge=1)
    """Rows of a part, about: a part holds whole shards."""


class NeighborsConfig(Section):
    """What counts as a near-duplicate."""

    threshold: float | Literal["by_encoder"] = "by_encoder"
    """Cosine in (0, 1] at or above which two images are neighbours; ``by_encoder`` takes the one of configs/encoders.yaml."""
    threshold_reason: str = ""
    """Where the threshold comes from; filled in from configs/encoders.yaml."""
    report_thresholds: tuple[float, ...] = ()
    """Further thresholds in (0, 1] to count groups at, in the same pass; empty takes those of configs/encoders.yaml."""
    search: Literal["auto", "join", "cells", "faiss-flat", "faiss-ivf"] = "auto"
    """``join`` and ``faiss-flat`` find every pair; ``cells`` and ``faiss-ivf`` nearly every, at a cost that grows far less than
    the square. ``auto``: ``join`` up to 250,000 distinct images, else ``cells``."""
    recall: float = Field(default=0.99, gt=0, lt=1)
    """Share of its neighbours that an image should find in the mean, for ``cells`` and ``faiss-ivf``; the audit measures it."""
    audit_rows: int = Field(default=2000, ge=1)
    """Images that are compared with all others to measure recall; more where few of them have a neighbour."""
    collapse_sha256: bool = True
    """Images of equal bytes are one row of the search; off, only the search itself joins them."""
    linkage: Literal["component", "leader"] = "component"
    """``component``: whoever a chain of neighbours reaches; ``leader`` splits chains: every member within the threshold of the
    representative."""
    pairs: Literal["spanning", "all"] = "spanning"
    """``all`` writes every pair at or above the threshold, up to max_pairs."""
    max_pairs: int = Field(default=10_000_000, ge=0)
    """Pairs kept when ``pairs`` is ``all``; the table says is_truncated when there were more."""
    seed: int = 0
    """Of the k-means sample behind outlier_score."""

    @property
    def cosine(self) -> float:
        """The threshold as a number; ``resolve`` has put it there."""
        assert self.threshold != "by_encoder", "resolve() comes before any stage"
        return self.threshold

    @field_validator("threshold")
    @classmethod
    def _is_cosine(cls, value: float | str) -> float | str:
        if isinstance(value, float | int) and not 0 < value <= 1:
            raise ValueError("a cosine threshold lies above 0 and at most at 1")
        return value

    @field_validator("report_thresholds")
    @classmethod
    def _are_cosines(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < value <= 1 for value in values):
            raise ValueError("cosine thresholds lie above 0 and at most at 1")
        return tuple(sorted(set(values)))


class VerifyConfig(Section):
    """The second opinion: members of a group looked at again, pixel by pixel, beside their representative."""

    enabled: bool = True
    """Off, groups are what the search joined, of kinds exact and unverified."""
    near_distance: float = Field(default=0.35, gt=0)
    """Pixel distance over contrast, after alignment, up to which two are one picture altered: 0 equal, about 1.4 unrelated."""
    near_contrast: float = Field(default=0.5, ge=0, le=1)
    """Share of the representative's contrast that lies where the two agree, at least: paper around two drawings has none."""
    template_share: float = Field(default=0.15, gt=0, le=1)
    """Share of the area that varies, at least, in a template; a watermark is smaller."""
    template_rest: float = Field(default=0.16, gt=0)
    """Distance up to which the rest of the area agrees in a template."""
    template_structure: float = Field(default=0.15, ge=0, le=1)
    """Share of the rest that shows something, at least: white paper around two drawings makes no template."""
    template_weight: float = Field(default=0.1, ge=0, le=1)
    """Share of a group's images that differ so from its representative, at least; fewer are split off as other pictures."""
    max_rounds: int = Field(default=64, ge=1)
    """Leaders of one candidate group, at most; what is left over stays together as unverified."""
    block_images: int = Field(default=2048, ge=2)
    """Files in memory at once, about, at 48 KiB each; those of a larger group lie in a temporary file."""


class PriorConfig(Section):
    """P(extraction | k images carry the caption) = max_probability / (1 + (k50 / k) ** slope), a logistic curve in log k."""

    k50: float = Field(default=300.0, gt=0)
    """k at which half of max_probability is reached."""
    slope: float = Field(default=2.0, gt=0)
    """Steepness in log k."""
    max_probability: float = Field(default=0.9, gt=0, le=1)
    """What the curve tends to."""
    source: str = (
        "assumed: Carlini et al. 2023 (Fig. 5) found most extracted images at k >= 100; a ranking prior, not a measurement"
    )
    """Where the numbers come from."""


class RiskConfig(Section):
    """How groups and captions are ranked."""

    prior: PriorConfig = PriorConfig()
    family_min_groups: int = Field(default=5, ge=2)
    """Groups over which captions must be equal under a mask to be a caption family."""
    num_template: int = Field(default=8, ge=1)
    """Captions of each template family that extraction tries."""
    num_outlier: int = Field(default=500, ge=0)
    """Images without a duplicate that extraction tries, farthest from all others first."""
    num_calibration: int = Field(default=40, ge=1)
    """Captions of each stratum (groups of 1, 2, 3 to 4, 5 to 8 ... images) that extraction tries whatever their rank:
    P(extracted | k) is fitted on these alone."""
    num_control: int = Field(default=640, ge=1)
    """Captions that should give nothing: one image carries them, which has no duplicate. Half of them set the limits, half
    measure what passes them."""
    control_captions: str = ""
    """File with captions that no image of the training set has, one a line; they join the controls."""
    seed: int = Field(default=0, ge=0)
    """Of calibration, controls and templates."""


class ReportConfig(Section):
    """What the report shows."""

    num_groups: int = Field(default=60, ge=0)
    """Groups in the gallery."""
    images_a_group: int = Field(default=8, ge=1)
    """Images shown of each."""
    num_outliers: int = Field(default=24, ge=0)
    """Images shown of those that resemble no other."""
    title: str = ""
    """Heading; the names of the sources if left out."""


class ComputeConfig(Section):
    """How the work is done, never what comes out."""

    workers: int | Literal["auto"] = "auto"
    """Decoding processes; ``auto``: one a core."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the encoder runs."""
    gpus: int | Literal["auto"] = "auto"
    """GPUs that embed, by one process each, at least 1; ``auto``: all that CUDA shows."""
    resize: Literal["auto", "cpu", "gpu"] = "auto"
    """Where images are brought to the encoder's size: by the decoding processes, or on the GPU that encodes. Pixels of the two
    differ by two levels at most; the table says which it was. ``auto``: where the encoder runs."""
    compile_encoder: bool = False
    """Lets torch.compile fuse the encoder; on a GPU only. Off, for nobody has measured what it gains."""
    memory: str = "auto"
    """What the search may take, such as ``16GB``: what does not fit lies in scratch. ``auto``: two thirds of what is free."""
    scratch: str = ""
    """Folder for what does not fit in memory, on a local disk; the system's folder for temporary files if left out."""
    incremental: bool = True
    """Images that were added are compared with all, those that were there before not again with one another."""

    @field_validator("gpus")
    @classmethod
    def _is_count(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("give 1 or more, or auto; for none set device to cpu")
        return value

    @field_validator("memory")
    @classmethod
    def _is_size(cls, value: str) -> str:
        if value != "auto":
            try:
                parse_bytes(value, name="memory")
            except ConfigError as error:
                raise ValueError(f"not a size such as 16GB: {error.message}") from None
        return value


class RunConfig(Section):
    """A whole batch run."""

    description: str = ""
    """What the run is for."""
    sources: tuple[SourceConfig, ...] = ()
    """The sets to scan, in the order in which their shards get ids."""
    download: DownloadConfig = DownloadConfig()
    encoder: EncoderConfig = EncoderConfig()
    images: ImagesConfig = ImagesConfig()
    store: StoreConfig = StoreConfig()
    neighbors: NeighborsConfig = NeighborsConfig()
    verify: VerifyConfig = VerifyConfig()
    risk: RiskConfig = RiskConfig()
    extract: ExtractConfig = ExtractConfig()
    keep: KeepConfig = KeepConfig()
    export: ExportConfig = ExportConfig()
    leak: LeakConfig = LeakConfig()
    report: ReportConfig = ReportConfig()
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="after")
    def _names_are_unique(self) -> RunConfig:
        names = [source.dataset for source in self.sources]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"two sources are called {sorted(twice)[0]!r}; give one of them another `name`")
        return self

    def to_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


def load_config(path: str | Path) -> RunConfig:
    """A config file, or a shipped one by its bare name (``demo``, ``laion400m``).

    Raises:
        ConfigError: no such file, not YAML, an unknown key, a value out of range.
    """
    file = Path(path)
    # A folder of that name is no config: a demo may well lie in a folder called demo.
    if not file.is_file() and file.suffix == "" and file.name == str(path):
        shipped = {
            f.name.removesuffix(".yaml"): f for f in resources.files("scanner.configs").iterdir() if f.name.endswith(".yaml")
        }
        shipped.pop("encoders", None)
        if str(path) not in shipped:
            raise ConfigError(
                f"No config file and no shipped config is called {str(path)!r}.", next_step=nearest(str(path), list(shipped))
            )
        return parse_config(shipped[str(path)].read_text("utf-8"), where=f"configs/{path}.yaml")
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise ConfigError(
            f"Cannot read config {path}: {error.strerror}.", next_step="Give a YAML file; configs/ holds examples."
        ) from error
    return parse_config(text, where=str(path))


def parse_config(text: str, *, where: str) -> RunConfig:
    """Checked config of YAML text; ``where`` names it in errors."""
    try:
        data = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not YAML: {error}", next_step="Compare with configs/demo.yaml.") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{where} holds a {type(data).__name__}, not sections.", next_step="Compare with configs/demo.yaml.")
    return check_config(data, where=where)


def check_config(data: Mapping[str, Any], *, where: str) -> RunConfig:
    """Config of plain data. Raises ConfigError that names the key, what was found, and the nearest known key."""
    return checked(RunConfig, data, where=where, page="configs.md")


def override(config: RunConfig, changes: Mapping[str, Any], *, where: str = "command line") -> RunConfig:
    """A copy with dotted keys replaced, checked again: ``{"encoder.name": "pixels"}``."""
    data = config.to_dict()
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = data
        for section in sections:
            place = place[section]
        place[last] = value
    return check_config(data, where=where)


def resolve(config: RunConfig) -> RunConfig:
    """Fills ``neighbors.threshold`` and ``report_thresholds`` from configs/encoders.yaml, with the reason."""
    neighbors = config.neighbors
    presets = yaml.safe_load((resources.files("scanner.configs") / "encoders.yaml").read_text("utf-8"))
    preset = presets.get(config.encoder.name) or presets["default"]
    changes: dict[str, Any] = {}
    if neighbors.threshold == "by_encoder":
        changes["neighbors.threshold"] = preset["threshold"]
        changes["neighbors.threshold_reason"] = preset["reason"]
    elif not neighbors.threshold_reason:
        changes["neighbors.threshold_reason"] = "set by the user"
    if not neighbors.report_thresholds:
        changes["neighbors.report_thresholds"] = preset["report_thresholds"]
    return override(config, changes) if changes else config


def fingerprint(*things: Any) -> str:
    """64 hex digits of sha256 over the canonical JSON of ``things``; sections of a config count by their values."""

    def plain(thing: object) -> object:
        assert isinstance(thing, BaseModel), f"{type(thing).__name__} has no canonical form"
        return thing.model_dump(mode="json")

    text = json.dumps(things, sort_keys=True, separators=(",", ":"), default=plain)
    return hashlib.sha256(text.encode()).hexdigest()
