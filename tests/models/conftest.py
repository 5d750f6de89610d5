"""A very small open_clip model with random weights, saved in a folder as open_clip saves its own."""

from __future__ import annotations

import json

import pytest

MODEL_CFG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}
PREPROCESS_CFG = {
    "size": [32, 32],
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.25, 0.3],
    "interpolation": "bilinear",
    "resize_mode": "squash",
}


def _save_folder(folder, model_cfg=MODEL_CFG, *, change=None):
    """Config and random weights, seeded; ``change`` edits the state dict before it is saved."""
    import torch
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    torch.manual_seed(0)
    state = CLIP(**model_cfg).state_dict()
    if change:
        change(state)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "open_clip_model.safetensors")
    config = {"model_cfg": model_cfg, "preprocess_cfg": PREPROCESS_CFG}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def save_folder():
    return _save_folder


@pytest.fixture
def folder(tmp_path):
    return _save_folder(tmp_path / "model")
