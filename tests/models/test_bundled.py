"""The weights that ship: whole, small, what their manifest says, and the encoder that the name `small` gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from scanner.core.config import RunConfig, override, resolve
from scanner.images.geometry import fit
from scanner.lab.copies import ALTERATIONS
from scanner.lab.encoder import EncoderRecipe, model_config, preprocess_config
from scanner.lab.scenes import draw_scene
from scanner.models.loading import BUNDLED, SMALL, encoder_identity, load_encoder
from scanner.models.weights import folder_sha256, tensor_shapes

MAX_SMALL_BYTES, MAX_BYTES = 6 * 10**6, 16 * 10**6


@pytest.mark.parametrize("folder", sorted(BUNDLED.iterdir()), ids=lambda folder: folder.name)
def test_every_bundled_file_is_the_one_that_its_manifest_names(folder):
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert folder_sha256(folder) == manifest["sha256"]
    assert manifest["versions"]["torch"]


def test_all_weights_together_are_small():
    sizes = {folder.name: sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) for folder in BUNDLED.iterdir()}
    assert sizes["small"] <= MAX_SMALL_BYTES
    assert sum(sizes.values()) <= MAX_BYTES
    assert not [p for p in BUNDLED.rglob("*") if p.suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl")], "nothing to unpickle"


def test_small_is_what_the_recipe_trains():
    manifest = json.loads((SMALL / "manifest.json").read_text("utf-8"))
    assert manifest["recipe"] == json.loads(json.dumps(EncoderRecipe().to_dict()))
    config = json.loads((SMALL / "open_clip_config.json").read_text("utf-8"))
    assert config == {"model_cfg": model_config(), "preprocess_cfg": preprocess_config()}
    assert sum(int(np.prod(shape)) for shape in tensor_shapes(SMALL / "open_clip_model.safetensors").values()) < 3_000_000


def test_the_threshold_of_the_config_is_the_calibrated_one():
    calibration = json.loads((SMALL / "calibration.json").read_text("utf-8"))
    config = resolve(override(RunConfig(), {"encoder.name": "small"}))
    assert config.neighbors.cosine == calibration["threshold"]
    presets = yaml.safe_load((Path(__file__).parents[2] / "configs" / "encoders.yaml").read_text("utf-8"))
    assert presets["small"]["threshold"] == calibration["threshold"]
    for name, number in calibration["num_false"].items():
        assert number <= calibration["false_share"][name] * calibration["num_unlike"][name]


def test_copies_are_neighbours_and_strangers_are_not():
    encoder = load_encoder("small", device="cpu", precision="fp32")
    threshold = resolve(override(RunConfig(), {"encoder.name": "small"})).neighbors.cosine
    assert (encoder.name, encoder.dim) == ("small", 256)
    images = [draw_scene(np.random.default_rng([77, i])).image for i in range(40)]

    def vectors(images: list[Image.Image]):
        return encoder.encode(np.stack([fit(np.array(image), encoder.preprocess) for image in images]))

    x = vectors(images)
    strangers = x @ x.T - 2 * np.eye(len(x))
    assert strangers.max() < threshold
    for kind, alteration in ALTERATIONS.items():
        y = vectors([alteration(image, np.random.default_rng([78, i])) for i, image in enumerate(images)])
        found = ((x * y).sum(axis=1) >= threshold).mean()
        # One pair at a time. In groups of many copies most of the cropped ones are found through another copy.
        assert found >= (0.4 if kind == "crop" else 0.6), (kind, found)
        assert (x * y).sum(axis=1).min() > 0.7, kind


def test_small_is_known_by_its_content_wherever_it_lies():
    assert encoder_identity("small") == encoder_identity(f"open_clip:local-dir:{SMALL}")
