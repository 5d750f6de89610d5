from __future__ import annotations

import json

import pytest

from scanner.core.errors import ConfigError
from scanner.models.catalog import model_names
from scanner.plan.model import PIXELS_DIM, find_model, vision_transformer_gflops


@pytest.mark.parametrize(
    ("name", "dim", "gflops"),
    # docs/model_profile.csv of open_clip.
    [
        ("ViT-B-32", 512, 8.82), ("ViT-B-16", 512, 35.13), ("ViT-L-14", 768, 162.03), ("ViT-H-14", 1024, 334.59),
        ("ViT-bigG-14", 1280, 967.5), ("ViT-g-14", 1024, 534.06), ("ViT-L-14-336", 768, 381.92), ("RN50", 1024, 12.22),
        ("ViT-SO400M-14-SigLIP", 1152, 220.35), ("coca_ViT-B-32", 512, 9.19), ("convnext_base", 512, 30.71),
    ],
)  # fmt: skip
def test_known_models(name, dim, gflops):
    model = find_model(name)
    assert (model.name, model.dim) == (name, dim)
    assert model.gflops == pytest.approx(gflops, rel=2e-3)
    assert model.source


def test_a_vision_transformer_by_hand():
    # A layer of width 2 on 2 x 2 patches of 1 pixel: 5 tokens. Maps 2 * 5 * 4 * 12, attention 4 * 25 * 2, patches 6 * 4 * 2.
    vision = {"layers": 1, "width": 2, "patch_size": 1, "image_size": 2}
    assert vision_transformer_gflops(vision) == pytest.approx((480 + 200 + 48) / 1e9)
    assert vision_transformer_gflops({**vision, "mlp_ratio": 2.0}) == pytest.approx((320 + 200 + 48) / 1e9)


@pytest.mark.parametrize(
    "changed", [{"layers": [1, 1]}, {"patch_size": None}, {"timm_model_name": "x"}, {"attentional_pool": True}]
)
def test_what_is_no_plain_vision_transformer_is_not_counted(changed):
    assert vision_transformer_gflops({"layers": 1, "width": 2, "patch_size": 1, "image_size": 2} | changed) is None


@pytest.mark.parametrize(
    "name", ["open_clip:ViT-L-14/laion2b_s32b_b82k", "open_clip:ViT-L-14//path/weights.safetensors", "ViT-L-14"]
)
def test_a_model_is_found_by_what_a_scan_takes(name):
    assert find_model(name).name == "ViT-L-14"


def test_the_models_without_open_clip_names(tmp_path):
    from scanner.models.pixels import PixelsEncoder

    assert PixelsEncoder.dim == PIXELS_DIM == find_model("pixels").dim
    assert find_model("small").dim == 256
    config = {"model_cfg": {"embed_dim": 512, "vision_cfg": {"layers": 12, "width": 768, "patch_size": 32, "image_size": 224}}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    model = find_model(f"open_clip:local-dir:{tmp_path}")
    assert (model.dim, model.gflops) == (512, pytest.approx(8.82, rel=1e-3))


def test_a_model_of_a_tower_that_is_known():
    assert find_model("ViT-B-16-SigLIP2").gflops == find_model("ViT-B-16-SigLIP").gflops
    assert find_model("ViT-B-16-SigLIP2").dim == 768


@pytest.mark.parametrize(
    ("name", "suggested"), [("ViT-L-41", "ViT-L"), ("ViT-L/14", "'ViT-L-14'"), ("smal", "'small'"), ("pixel", "'pixels'")]
)
def test_an_unknown_model_names_the_nearest(name, suggested):
    with pytest.raises(ConfigError, match="There is no encoder") as error:
        find_model(name)
    assert suggested in error.value.next_step


def test_a_model_of_unknown_flops_asks_for_them():
    assert "MobileCLIP-S1" in model_names()
    with pytest.raises(ConfigError, match="--gflops-an-image"):
        find_model("MobileCLIP-S1")
    model = find_model("MobileCLIP-S1", gflops=5.2)
    assert (model.dim, model.gflops, model.source) == (512, 5.2, "the command line")


@pytest.mark.parametrize("gflops", [0, -1, float("nan"), float("inf")])
def test_flops_out_of_range_are_refused(gflops):
    with pytest.raises(ConfigError, match="--gflops-an-image is"):
        find_model("ViT-B-32", gflops=gflops)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model_cfg": {"embed_dim": "x", "vision_cfg": {}}}', '{"model_cfg": []}'])
def test_a_folder_that_is_no_model_is_refused(text, tmp_path):
    (tmp_path / "open_clip_config.json").write_text(text)
    with pytest.raises(ConfigError, match="cannot be read"):
        find_model(f"open_clip:local-dir:{tmp_path}")
    with pytest.raises(ConfigError, match="cannot be read"):
        find_model("local-dir:nowhere")
