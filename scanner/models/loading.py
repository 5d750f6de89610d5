"""How an encoder is had by its name: ``small``, ``pixels`` or ``open_clip:<model>/<tag or path>``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from scanner.core.errors import EncoderError, nearest
from scanner.models.encoders import Device, Encoder, Precision

BUNDLED = Path(__file__).parent / "bundled"
"""Folders of the models that ship with the package, each with a manifest."""
SMALL = BUNDLED / "small"
"""Folder of the encoder that ships with the package: open_clip's own format, made by `scanner lab train-encoder`."""

_EXAMPLES = (
    "open_clip:ViT-B-32/laion2b_s34b_b79k, open_clip:ViT-B-32//path/to/weights.safetensors, open_clip:local-dir:FOLDER, small, "
    "pixels"
)


def load_encoder(name: str, *, device: Device = "auto", precision: Precision = "auto") -> Encoder:
    """The encoder of that name, ready to encode. Never another one because that one cannot be reached.

    Args:
        name: ``small``, which ships with this package; ``pixels``; ``open_clip:<model>/<pretrained tag>``;
            ``open_clip:<model>/<path of a weights file>`` (so two slashes before an absolute path);
            ``open_clip:local-dir:<folder>`` with open_clip_config.json and weights.
        device: ``auto`` takes a CUDA GPU where there is one. ``pixels`` always runs on the CPU.
        precision: of weights and arithmetic; ``auto`` is bf16 where the hardware computes it natively, else fp32.

    Raises:
        EncoderError: the name is of no known form, the weights cannot be had within seconds, or they do not fit the model.
    """
    kind, rest = _split(name)
    if kind == "pixels":
        from scanner.models.pixels import PixelsEncoder

        return PixelsEncoder()
    from scanner.models.open_clip import load_open_clip

    if kind == "small":
        return load_open_clip(f"local-dir:{SMALL}", device=device, precision=precision, name="small")
    return load_open_clip(rest, device=device, precision=precision)


def encoder_identity(name: str) -> str:
    """What a fingerprint must hold of an encoder: equal exactly when the vectors mean the same.

    Cheap: imports no torch and asks no network. A local file is known by the sha256 of its content and may so be moved, a
    tag by its name, ``pixels`` by its version.

    Raises:
        EncoderError: the name is of no known form, or its file is not there.
    """
    kind, rest = _split(name)
    if kind == "pixels":
        from scanner.models.pixels import VERSION

        return VERSION
    from scanner.models.open_clip import OpenClipName

    return OpenClipName.parse(f"local-dir:{SMALL}" if kind == "small" else rest).identity()


def _split(name: str) -> tuple[Literal["small", "pixels", "open_clip"], str]:
    kind, colon, rest = name.partition(":")
    if kind == "small" and not colon:
        return "small", ""
    if kind == "pixels" and not colon:
        return "pixels", ""
    if kind == "open_clip" and rest:
        return "open_clip", rest
    if kind in ("open_clip", "pixels", "small"):
        raise EncoderError(f"encoder {name!r} is not complete", next_step=f"Write one of: {_EXAMPLES}.")
    if not colon and "/" in name:
        raise EncoderError(f"encoder {name!r} does not say its library", next_step=f"Did you mean 'open_clip:{name}'?")
    raise EncoderError(
        f"unknown encoder {name!r}", next_step=f"{nearest(kind, ['open_clip', 'pixels', 'small'])} Examples: {_EXAMPLES}."
    )
