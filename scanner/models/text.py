"""The text tower of an open_clip folder: captions in, unit vectors in the space of its images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import EncoderError
from scanner.models.weights import tensor_shapes, weights_in_folder

if TYPE_CHECKING:
    import torch


class TextEncoder:
    """Made by ``load_text_encoder``; in fp32 on the CPU, where a caption costs less than an image by far."""

    def __init__(self, model: torch.nn.Module, tokenizer: Any, *, name: str) -> None:
        self.name = name
        self._model, self._tokenizer = model.eval().requires_grad_(False), tokenizer

    def encode(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """float32 (n, dim), each row of norm 1. Words beyond the context length are cut off, as open_clip does."""
        import torch

        with torch.inference_mode():
            features = self._model.encode_text(self._tokenizer(list(captions)))  # type: ignore[operator]
            unit: NDArray[np.float32] = torch.nn.functional.normalize(features.float(), dim=1).numpy()
        return unit


def load_text_encoder(folder: Path) -> TextEncoder:
    """The text tower of a folder with open_clip_config.json and weights, and the tokenizer that its config names.

    A ``bpe_path`` in the config is taken from the folder: open_clip would take it from the working directory.

    Raises:
        EncoderError: the folder is none of open_clip's, or its files do not fit.
    """
    import open_clip
    from open_clip.tokenizer import SimpleTokenizer

    weights = weights_in_folder(folder)
    tensor_shapes(weights)  # nothing that would have to be unpickled
    try:
        text = json.loads((folder / "open_clip_config.json").read_text("utf-8"))["model_cfg"]["text_cfg"]
        model = open_clip.create_model(f"local-dir:{folder}", precision="fp32", weights_only=True, require_pretrained=True)
        bpe_path = (text.get("tokenizer_kwargs") or {}).get("bpe_path")
        if bpe_path:
            tokenizer: Any = SimpleTokenizer(bpe_path=str(folder / bpe_path), context_length=text["context_length"])
        else:
            tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    except Exception as error:  # open_clip raises what its parts raise
        raise EncoderError(
            f"{folder} has no text tower that loads: {error}", next_step="Check its open_clip_config.json."
        ) from error
    return TextEncoder(model, tokenizer, name=f"open_clip:local-dir:{folder}")
