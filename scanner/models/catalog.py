"""What open_clip publishes: its models and the tags of their weights, without the ten seconds that importing it takes.

So a name with a mistake in it, or a tag without a network, is an error within seconds.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from scanner.core.errors import EncoderError, nearest

_ALIAS = "_open_clip_without_init"


def pretrained_module() -> ModuleType:
    """``open_clip.pretrained``; where open_clip is not imported yet, that file alone, past the package's ``__init__``."""
    if "open_clip" not in sys.modules:
        if _ALIAS not in sys.modules:
            package = ModuleType(_ALIAS)
            package.__path__ = [str(_folder())]
            sys.modules[_ALIAS] = package
        try:
            return importlib.import_module(f"{_ALIAS}.pretrained")
        except ImportError:  # a later open_clip whose file no longer stands alone
            pass
    return importlib.import_module("open_clip.pretrained")


def model_names() -> list[str]:
    """Every model that open_clip has a config of."""
    return sorted(_config_paths())


def model_config(model: str) -> Mapping[str, Any]:
    """open_clip's config of a model.

    Raises:
        EncoderError: no such model; names the nearest.
    """
    paths = _config_paths()
    if model not in paths:
        raise EncoderError(f"open_clip has no model {model!r}", next_step=nearest(model, list(paths)))
    config: dict[str, Any] = json.loads(paths[model].read_text(encoding="utf-8"))
    return config


def tag_config(model: str, tag: str) -> Mapping[str, Any]:
    """open_clip's entry of published weights: where they are (``hf_hub``, ``url``), their preprocessing, ``quick_gelu``.

    Raises:
        EncoderError: no such model, no such tag for it (names the nearest), or the model computes another activation than
            the weights were trained with, which open_clip would only warn of.
    """
    has = bool(model_config(model).get("quick_gelu"))
    module = pretrained_module()
    tags: list[str] = module.list_pretrained_tags_by_model(model)
    config: dict[str, Any] = module.get_pretrained_cfg(model, tag)
    if not config:
        next_step = nearest(tag, tags) if tags else f"No weights are published for {model}: give a file."
        raise EncoderError(f"open_clip has no weights {tag!r} for {model}", next_step=next_step)
    needs = bool(config.get("quick_gelu"))
    if needs != has:
        fitting = [
            f"open_clip:{other}/{tag}"
            for other in module.list_pretrained_models_by_tag(tag)
            if other.removesuffix("-quickgelu") == model.removesuffix("-quickgelu")
            and bool(model_config(other).get("quick_gelu")) == needs
        ]
        raise EncoderError(
            f"open_clip lists the weights {model}/{tag} as trained {_activation(needs)}, and the model {model} computes "
            f"{_activation(has)}: the vectors would be wrong",
            next_step=f"Use {fitting[0]}." if fitting else f"Give a folder whose config sets quick_gelu to {str(needs).lower()}.",
        )
    return config


def preprocessing_of_file(model: str) -> Mapping[str, Any]:
    """Preprocessing for a weights file that says none: that of the model's published weights; empty where none are published.

    Raises:
        EncoderError: no such model, or its published weights differ among themselves.
    """
    model_config(model)
    module = pretrained_module()
    keys = ("mean", "std", "interpolation", "resize_mode")
    configs = {tag: module.get_pretrained_cfg(model, tag) for tag in module.list_pretrained_tags_by_model(model)}
    values = {tag: {key: config.get(key) for key in keys} for tag, config in configs.items()}
    tag_of = {repr(value): tag for tag, value in values.items()}
    if len(tag_of) > 1:
        raise EncoderError(
            f"a file does not say its preprocessing, and the published weights of {model} differ in it "
            f"(among them {', '.join(tag_of.values())})",
            next_step="Put the file into a folder with its open_clip_config.json and use open_clip:local-dir:FOLDER.",
        )
    return next(iter(values.values()), {})


def _config_paths() -> dict[str, Path]:
    return {path.stem: path for path in (_folder() / "model_configs").glob("*.json")}


def _folder() -> Path:
    spec = importlib.util.find_spec("open_clip")
    assert spec is not None, "open_clip_torch is a dependency"
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


def _activation(quick_gelu: bool) -> str:
    return "with QuickGELU" if quick_gelu else "with GELU"
