"""The encoder of a plan: how many numbers its vectors have, and what an image costs it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from scanner.core.errors import ConfigError, EncoderError, nearest
from scanner.models.catalog import model_config, model_names
from scanner.models.loading import SMALL

PIXELS_DIM = 4608
"""Numbers of a ``pixels`` vector (scanner/models/pixels.py), which cannot be asked without loading NumPy."""
OPEN_CLIP_TABLE = "https://github.com/mlfoundations/open_clip/blob/main/docs/model_profile.csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """``gflops``: of the image tower an image, a multiplication and addition as two; ``source`` says where they come from."""

    name: str
    dim: int
    gflops: float
    source: str


def find_model(name: str, *, gflops: float | None = None) -> Model:
    """An encoder by the name that ``scanner scan --encoder`` takes, or by open_clip's name of the model alone.

    Args:
        name: ``small``, ``pixels``, ``ViT-L-14``, ``open_clip:ViT-L-14/<tag or file>`` or ``open_clip:local-dir:FOLDER``.
        gflops: GFLOPs of the image tower an image, for models whose GFLOPs are not known here; wins over those that are.

    Raises:
        ConfigError: no such model (names the nearest), its GFLOPs are not known, or ``gflops`` is not above 0.
    """
    if gflops is not None and not 0 < gflops < math.inf:
        raise ConfigError(f"--gflops-an-image is {gflops:g}.", next_step="Give a number above 0: ViT-L-14 has 162.")
    if name == "pixels":
        # Its work is a small part of decoding, and counted there.
        return Model(name=name, dim=PIXELS_DIM, gflops=gflops or 0.0, source="no network")
    short, config = _config_of(name)
    if gflops is not None:
        return Model(name=short, dim=config["embed_dim"], gflops=gflops, source="the command line")
    listed = short if short in _gflops_table() else _same_tower(config["vision_cfg"])
    if listed:
        source = "counted by torch.utils.flop_counter" if short == "small" else OPEN_CLIP_TABLE
        return Model(name=short, dim=config["embed_dim"], gflops=_gflops_table()[listed], source=source)
    counted = vision_transformer_gflops(config["vision_cfg"])
    if counted is None:
        raise ConfigError(
            f"The GFLOPs of {short} are not known.",
            next_step="Give --gflops-an-image: GFLOPs of its image tower an image, a multiplication and addition as two.",
        )
    return Model(name=short, dim=config["embed_dim"], gflops=counted, source=f"its config, as {OPEN_CLIP_TABLE} counts")


def vision_transformer_gflops(vision: Mapping[str, Any]) -> float | None:
    """GFLOPs an image of a plain vision transformer from its open_clip config; None where it is something else.

    With t = (s / p)^2 + 1 tokens of width w, L layers and an MLP of r w: 2 t w^2 (4 + 2 r) for the linear maps of a layer,
    4 t^2 w for its attention, and 6 p^2 w a patch to embed it. open_clip's table has the same (ViT-B-32 8.82, ViT-L-14 162.03).
    """
    layers, patch = vision.get("layers"), vision.get("patch_size")
    if not isinstance(layers, int) or not isinstance(patch, int):
        return None
    if vision.get("timm_model_name") or vision.get("attentional_pool"):
        return None
    width, ratio = int(vision["width"]), float(vision.get("mlp_ratio", 4.0))
    num_patches = (int(vision["image_size"]) // patch) ** 2
    tokens = num_patches + 1
    a_layer = 2 * tokens * width**2 * (4 + 2 * ratio) + 4 * tokens**2 * width
    return (layers * a_layer + 6 * num_patches * patch**2 * width) / 1e9


def _same_tower(vision: Mapping[str, Any]) -> str | None:
    """A model of the table with the same image tower out of timm: ViT-B-16-SigLIP2 computes what ViT-B-16-SigLIP does."""
    tower = vision.get("timm_model_name"), vision.get("image_size")
    if not tower[0]:
        return None
    for other in _gflops_table().keys() - {"small"}:
        known = model_config(other)["vision_cfg"]
        if (known.get("timm_model_name"), known.get("image_size")) == tower:
            return other
    return None


def _config_of(name: str) -> tuple[str, Mapping[str, Any]]:
    """Short name and open_clip config of a model."""
    if name == "small":
        return name, _folder_config(SMALL)
    rest = name.removeprefix("open_clip:")
    if rest.startswith("local-dir:"):
        return rest, _folder_config(Path(rest.removeprefix("local-dir:")))
    short = rest.partition("/")[0]
    try:
        return short, model_config(short)
    except EncoderError:
        # OpenAI writes ViT-L/14 for what open_clip calls ViT-L-14.
        known, dashed = ["small", "pixels", *model_names()], rest.replace("/", "-")
        raise ConfigError(
            f"There is no encoder {name!r}.",
            next_step=nearest(dashed if dashed in known else short, known),
        ) from None


def _folder_config(folder: Path) -> Mapping[str, Any]:
    path = folder / "open_clip_config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text("utf-8"))["model_cfg"]
        int(config["embed_dim"])
        dict(config["vision_cfg"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} cannot be read as an open_clip config ({type(error).__name__}).",
            next_step="Give a folder that open_clip wrote, or the name of a model.",
        ) from None
    return config


@cache
def _gflops_table() -> dict[str, float]:
    import yaml

    table: dict[str, float] = yaml.safe_load((resources.files("scanner.plan") / "gflops.yaml").read_text("utf-8"))
    return table
