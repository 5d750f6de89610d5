"""Weights as files: which are taken, what they hold, their digest. Nothing is ever unpickled into objects."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from scanner.core.errors import EncoderError

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")

# In open_clip's own order of preference, so that the file we digest is the file it loads.
_PREFERRED = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)


def weights_file(path: Path) -> Path:
    """``path`` itself, once it is known to be a file of a kind that is taken.

    Raises:
        EncoderError: not there, not a file, or of another suffix.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise EncoderError(f"no weights file at {path}: {found} is there", next_step=_path_help(path))
    if path.suffix not in SUFFIXES:
        raise EncoderError(
            f"{path} is no weights file that can be read", next_step=f"Give a state dict as one of {', '.join(SUFFIXES)}."
        )
    return path


def weights_in_folder(folder: Path) -> Path:
    """The weights file of an open_clip folder, the one that open_clip itself would load.

    Raises:
        EncoderError: the folder, its open_clip_config.json or its weights are absent, or which file is meant is open.
    """
    if not folder.is_dir():
        raise EncoderError(f"no folder at {folder}", next_step="Give a folder with open_clip_config.json and its weights.")
    if not (folder / "open_clip_config.json").is_file():
        raise EncoderError(
            f"{folder} holds no open_clip_config.json",
            next_step="Add it (model_cfg and preprocess_cfg), or name the model: open_clip:<model>/<path of the weights file>.",
        )
    for name in _PREFERRED:
        if (folder / name).is_file():
            return folder / name
    found = sorted(file for suffix in (".safetensors", ".bin", ".pth") for file in folder.glob(f"*{suffix}"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise EncoderError(f"{folder} holds no weights", next_step="Add open_clip_model.safetensors beside the config.")
    raise EncoderError(
        f"{folder} holds several weights files: {', '.join(file.name for file in found)}",
        next_step="Name the one that is meant open_clip_model.safetensors (or remove the others).",
    )


def file_sha256(path: Path) -> str:
    """64 hex digits of the file's content; a file is read once as long as its size and times stay."""
    stat = path.stat()
    return _file_sha256(path.resolve(), stat.st_size, stat.st_mtime_ns)


MANIFEST = "manifest.json"
"""In the folder of every model that the lab makes: how it was made, and ``sha256`` of all its other files."""


def folder_sha256(folder: Path) -> dict[str, str]:
    """Relative path to 64 hex digits, of every file below ``folder`` but its manifest, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


@lru_cache(maxsize=64)
def _file_sha256(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a weights file, without reading their values.

    ``state_dict`` of a training checkpoint is opened and a ``module.`` prefix dropped, as open_clip does.

    Raises:
        EncoderError: the file is damaged, would have to be unpickled, or holds no named tensors.
    """
    shapes = _safetensors_shapes(path) if path.suffix == ".safetensors" else _torch_shapes(path)
    if not shapes:
        raise EncoderError(f"{path} holds no named tensors", next_step="Give the model's state dict.")
    if next(iter(shapes)).startswith("module."):
        shapes = {name.removeprefix("module."): shape for name, shape in shapes.items()}
    return shapes


def _safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise EncoderError(f"{path} is not a whole safetensors file: {error}", next_step="Fetch the file again.") from error


def _torch_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    import pickle
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a TorchScript archive is announced by a warning; it ends in the error below
            loaded = torch.load(path, map_location="meta", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).partition(". In PyTorch")[0].partition("\n")[0]
        raise EncoderError(
            f"{path} cannot be read as plain tensors ({reason}); files that need unpickling can run code and are refused",
            next_step="Where you trust it, convert it: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors').",
        ) from error
    if isinstance(loaded, dict) and "state_dict" in loaded:
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict):
        return {}
    return {name: tuple(tensor.shape) for name, tensor in loaded.items() if isinstance(tensor, torch.Tensor)}


def _path_help(path: Path) -> str:
    if not path.is_absolute():
        return f"The path is taken from the current folder, {Path.cwd()}; an absolute one starts with a second slash."
    return "Check the path."
