"""Folders that diffusers saves: which are taken, and their parts loaded one by one. Only safetensors; nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scanner.core.errors import GeneratorError, nearest
from scanner.models.weights import file_sha256

if TYPE_CHECKING:
    import torch

PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "StableDiffusionPipeline": {
        "unet": ("UNet2DConditionModel",),
        "vae": ("AutoencoderKL",),
        "text_encoder": ("CLIPTextModel",),
        "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
        "scheduler": (),
    },
    "DDPMPipeline": {"unet": ("UNet2DModel",), "scheduler": ()},
    "DDIMPipeline": {"unet": ("UNet2DModel",), "scheduler": ()},
}
"""Pipelines that can be sampled: the parts that are used of each, and the classes they may have (any, where none is named).

Safety checkers and their feature extractors are neither loaded nor asked for.
"""
WEIGHTED = ("unet", "vae", "text_encoder")
SAMPLERS = {
    "ddim": "DDIMScheduler", "dpmsolver++": "DPMSolverMultistepScheduler", "euler": "EulerDiscreteScheduler",
    "heun": "HeunDiscreteScheduler", "pndm": "PNDMScheduler",
}  # fmt: skip
"""Samplers that add no noise on the way, so that an image is a function of its prompt and its seed; by diffusers' classes."""
PICKLED = ("*.bin", "*.ckpt", "*.pt", "*.pth")
"""Files that unpickling would read."""
_HELP = "Give the folder of a StableDiffusionPipeline or DDPMPipeline as diffusers saves it, with safetensors."


def pipeline_class(folder: Path) -> str:
    """``_class_name`` of a folder's model_index.json; empty where there is none that can be read."""
    try:
        index = json.loads((folder / "model_index.json").read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    name = index.get("_class_name") if isinstance(index, dict) else None
    return name if isinstance(name, str) else ""


@dataclass(frozen=True)
class PipelineFolder:
    """A folder whose model_index.json names a pipeline that can be sampled, and whose weights are all safetensors.

    Raises:
        GeneratorError: there is no such folder, it is no pipeline or one of another class, or its weights are pickled or absent.
    """

    path: Path

    def __post_init__(self) -> None:
        if not self.path.is_dir():
            found = "a file" if self.path.is_file() else "nothing"
            raise GeneratorError(f"no model folder at {self.path}: {found} is there", next_step=_HELP)
        if not (self.path / "model_index.json").is_file():
            raise GeneratorError(f"{self.path} holds no model_index.json", next_step=_HELP)
        for part, allowed in self.parts.items():
            named = self._index.get(part)
            class_name = str(named[1]) if isinstance(named, list) and len(named) == 2 else "none"
            if allowed and class_name not in allowed:
                raise GeneratorError(
                    f"{self.path} has {class_name} as its {part}; {self.class_name} is sampled with {allowed[0]} only",
                    next_step=_HELP,
                )
            if part in WEIGHTED:
                self._check_weights(part)

    @cached_property
    def _index(self) -> dict[str, Any]:
        try:
            index = json.loads((self.path / "model_index.json").read_text("utf-8"))
        except ValueError as error:
            raise GeneratorError(f"{self.path}/model_index.json is not JSON: {error}", next_step="Fetch it again.") from error
        return index if isinstance(index, dict) else {}

    @cached_property
    def class_name(self) -> str:
        """Of the pipeline; one of ``PARTS``."""
        name = str(self._index.get("_class_name", "no class"))
        if name not in PARTS:
            raise GeneratorError(f"{self.path} is a {name}, which cannot be sampled", next_step=nearest(name, list(PARTS)))
        return name

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """Names of the parts that are used, with their classes."""
        return PARTS[self.class_name]

    @property
    def digest(self) -> str:
        """64 hex digits: sha256 of every config, weights and tokenizer file of the parts that are used, by relative path."""
        total = hashlib.sha256(self.class_name.encode())
        for part in sorted(self.parts):
            for file in sorted((self.path / part).rglob("*")):
                if file.suffix in (".json", ".txt", ".safetensors") and file.is_file():
                    total.update(f"{file.relative_to(self.path).as_posix()}\0{file_sha256(file)}\0".encode())
        return total.hexdigest()

    def module(self, part: str, *, dtype: torch.dtype, device: str) -> Any:
        """A network, for inference, every weight in ``dtype``.

        Raises:
            GeneratorError: the weights are damaged, do not fit the config, or hold values that are not finite.
        """
        import torch

        module, report = self._load(part, output_loading_info=True)
        missing = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
        if missing:
            raise GeneratorError(
                f"{self.path / part} does not fit its config: {len(missing)} weights are missing, {missing[0]} among them",
                next_step="Fetch the folder again, weights and config together.",
            )
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise GeneratorError(
                    f"{self.path / part} is damaged: {name} holds values that are not finite", next_step="Fetch the file again."
                )
        # Cast here and not while loading: the argument's name differs among versions of diffusers, and transformers would keep
        # the precision of each file.
        torch.nn.Module.to(module, device=device, dtype=dtype)  # diffusers' own warns of casts, whatever is cast
        return module.eval().requires_grad_(False)

    def tokenizer(self) -> Any:
        """The CLIP tokenizer.

        Raises:
            GeneratorError: it cannot be read.
        """
        return self._load("tokenizer")

    def sampler(self, name: str, **changes: Any) -> Any:
        """A scheduler of that kind with the noise schedule of the pipeline's own.

        Args:
            name: one of ``SAMPLERS``.
            changes: for what that scheduler's config leaves open.

        Raises:
            GeneratorError: no such sampler, or the pipeline has no scheduler.
        """
        import diffusers

        if name not in SAMPLERS:
            raise GeneratorError(f"there is no sampler {name!r} here", next_step=nearest(name, list(SAMPLERS)))
        config = self._load("scheduler")
        missing = {key: value for key, value in changes.items() if key not in config}
        return getattr(diffusers, SAMPLERS[name]).from_config(config, **missing)

    def _load(self, part: str, **options: Any) -> Any:
        """The part by its own class; its config alone for the scheduler."""
        import diffusers
        import transformers

        folder = str(self.path / part)
        try:
            with quietly():
                if part == "scheduler":
                    return diffusers.DDIMScheduler.load_config(folder, local_files_only=True)
                name = self.parts[part][0]
                if part in WEIGHTED:
                    options |= {"use_safetensors": True}
                library = diffusers if hasattr(diffusers, name) else transformers
                return getattr(library, name).from_pretrained(folder, local_files_only=True, **options)
        except Exception as error:  # whatever a damaged file leads to: OSError, SafetensorError, KeyError, RuntimeError
            reason = " ".join(str(error).split())[:400]
            raise GeneratorError(f"{folder} cannot be loaded: {reason}", next_step="Fetch the folder again.") from error

    def _check_weights(self, part: str) -> None:
        folder = self.path / part
        if any(folder.glob("*.safetensors")):
            return
        pickled = sorted(file.name for pattern in PICKLED for file in folder.glob(pattern))
        if pickled:
            raise GeneratorError(
                f"{folder} holds pickled weights only ({pickled[0]}); unpickling can run code, so they are refused",
                next_step="Where you trust them, convert them: load the pipeline in diffusers and save_pretrained(FOLDER).",
            )
        raise GeneratorError(f"{folder} holds no weights", next_step=_HELP)


@contextmanager
def quietly() -> Iterator[None]:
    """No bars of either library's while files are loaded; errors are raised all the same."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries: tuple[Any, ...] = (transformers_logging, diffusers_logging)
    shown = [library for library in libraries if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()


Dtype = Literal["fp32", "bf16", "fp16"]


def torch_dtype(dtype: Dtype) -> torch.dtype:
    """Torch's name for it."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
