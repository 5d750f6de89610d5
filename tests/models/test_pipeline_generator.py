"""Pipelines of other classes: their images are diffusers' own, their first step is the network's, and damage is told."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from tiny_text import SD_SCHEDULE, byte_tokenizer

from scanner.core.errors import GeneratorError
from scanner.models.generators import load_generator
from scanner.models.pipeline_generator import PipelineGenerator

pytestmark = pytest.mark.usefixtures("one_thread")
PROMPTS, SEEDS = ["a red cat", "two"], [3, 4]


def _text_config(tokenizer, **more):
    from transformers import CLIPTextConfig

    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id}
    return CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2,
        max_position_embeddings=12, projection_dim=16, **ids, **more,
    )  # fmt: skip


def _vae(channels=4):
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, block_out_channels=(8, 8),
        latent_channels=channels, norm_num_groups=4, sample_size=16, scaling_factor=0.3, shift_factor=0.0,
        use_quant_conv=channels == 4, use_post_quant_conv=channels == 4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def xl(tmp_path_factory):
    """A StableDiffusionXLPipeline of a few thousand random weights."""
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), block_out_channels=(8, 16), layers_per_block=1,
        cross_attention_dim=32, attention_head_dim=2, norm_num_groups=4, addition_embed_type="text_time",
        addition_time_embed_dim=4, projection_class_embeddings_input_dim=40, transformer_layers_per_block=1,
    )  # fmt: skip
    scheduler = DDIMScheduler(**SD_SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    pipeline = StableDiffusionXLPipeline(
        vae=_vae(), text_encoder=CLIPTextModel(_text_config(tokenizer)),
        text_encoder_2=CLIPTextModelWithProjection(_text_config(tokenizer)), tokenizer=tokenizer, tokenizer_2=byte_tokenizer(),
        unet=unet, scheduler=scheduler, add_watermarker=False,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("models") / "xl"
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    """A StableDiffusion3Pipeline: a transformer that predicts a velocity."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
    from transformers import CLIPTextModelWithProjection

    torch.manual_seed(1)
    tokenizer = byte_tokenizer()
    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=1, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=32, caption_projection_dim=16, pooled_projection_dim=32, out_channels=4,
    )  # fmt: skip
    pipeline = StableDiffusion3Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(), vae=_vae(),
        text_encoder=CLIPTextModelWithProjection(_text_config(tokenizer)), tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(_text_config(tokenizer)), tokenizer_2=byte_tokenizer(), text_encoder_3=None,
        tokenizer_3=None,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("models") / "flow"
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.mark.parametrize(("name", "scheduler"), [("xl", "ddim"), ("xl", "euler"), ("flow", "pipeline")])
def test_images_are_those_of_the_pipeline(request, name, scheduler):
    import diffusers

    folder = request.getfixturevalue(name)
    generator = load_generator(folder, device="cpu", batch_size=2, scheduler=scheduler)
    assert isinstance(generator, PipelineGenerator)
    images = generator.generate(PROMPTS, SEEDS, num_inference_steps=3, guidance_scale=4.0)
    assert images.shape == (2, *generator.image_size, 3)
    assert images.std() > 1

    without = {"text_encoder_3": None, "tokenizer_3": None} if name == "flow" else {}
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, local_files_only=True, **without)
    pipeline.set_progress_bar_config(disable=True)
    if scheduler == "euler":
        pipeline.scheduler = diffusers.EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    seeded = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    asked = {"num_inference_steps": 3, "guidance_scale": 4.0, "output_type": "np"}
    expected = np.asarray(pipeline(prompt=PROMPTS, generator=seeded, **asked).images)
    assert np.abs(images.astype(int) - (expected * 255).round().astype(int)).max() <= 1
    # An image does not depend on what else is asked for.
    alone = generator.generate(PROMPTS[1:], SEEDS[1:], num_inference_steps=3, guidance_scale=4.0)[0]
    assert np.abs(alone.astype(int) - images[1]).max() <= 1


@pytest.mark.parametrize("name", ["xl", "flow"])
def test_passes_are_what_the_network_is_asked_for(request, name):
    generator = load_generator(request.getfixturevalue(name), device="cpu", batch_size=1, scheduler="pipeline")
    for guidance in (1.0, 4.0):
        rows: list[int] = []
        hook = generator._denoiser.register_forward_hook(lambda *said, rows=rows: rows.append(len(said[2][0])))
        generator.generate(["two"], [4], num_inference_steps=3, guidance_scale=guidance)
        hook.remove()
        assert generator.num_forward_passes(num_inference_steps=3, guidance_scale=guidance) == sum(rows)


@pytest.mark.parametrize("name", ["xl", "flow"])
def test_the_first_step_tells_prompts_apart(request, name):
    generator = load_generator(request.getfixturevalue(name), device="cpu", scheduler="pipeline")
    found = generator.first_step(["", *PROMPTS], SEEDS, num_inference_steps=3, guidance_scale=4.0)
    assert found.noise_magnitude.shape == (3, 2)
    assert np.allclose(found.noise_magnitude[0], 0)
    assert (found.noise_magnitude[1:] > 0).all()
    again = generator.first_step(PROMPTS, SEEDS, num_inference_steps=3, guidance_scale=4.0)
    assert np.array_equal(again.noise_magnitude, found.noise_magnitude[1:])
    plain = generator.first_step(PROMPTS, SEEDS, num_inference_steps=3, guidance_scale=0.0)
    assert np.allclose(plain.denoising_confidence[0], plain.denoising_confidence[1])


def test_a_sampler_that_does_not_fit_is_told(flow):
    with pytest.raises(GeneratorError, match="does not fit"):
        load_generator(flow, device="cpu", scheduler="ddim")


def test_round_trips_keep_the_size(xl):
    generator = load_generator(xl, device="cpu", scheduler="pipeline")
    images = np.random.default_rng(0).integers(0, 256, (3, *generator.image_size, 3), dtype=np.uint8)
    assert generator.round_trip(images).shape == images.shape


@pytest.mark.parametrize("damage", ["pickled", "broken", "nan", "code"])
def test_damage_is_told(xl, tmp_path, damage):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(xl, tmp_path / "copy")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    said = {"pickled": "pickled", "broken": "cannot be loaded", "nan": "not finite", "code": "came with the model"}[damage]
    if damage == "pickled":
        weights.rename(weights.with_suffix(".bin"))
    elif damage == "broken":
        weights.write_bytes(weights.read_bytes()[:100])
    elif damage == "nan":
        loaded = load_file(weights)
        next(iter(loaded.values())).view(-1)[0] = float("nan")
        save_file(loaded, weights, metadata={"format": "pt"})
    else:
        index = json.loads((folder / "model_index.json").read_text())
        (folder / "model_index.json").write_text(json.dumps(index | {"unet": ["mine", "UNet"]}))
    with pytest.raises(GeneratorError, match=said):
        load_generator(folder, device="cpu", scheduler="pipeline")
