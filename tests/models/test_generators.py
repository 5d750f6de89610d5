"""Samples are those of diffusers' own pipelines and depend on prompt and seed alone; folders that cannot be had say why."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from tiny_text import SD_SCHEDULE, byte_tokenizer

from scanner.core.errors import GeneratorError
from scanner.models.generators import load_generator
from scanner.models.pipeline_folder import SAMPLERS

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def stable(tmp_path_factory):
    """A StableDiffusionPipeline of a few thousand random weights, saved in fp16 as ours are."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id}
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=12, projection_dim=16, **ids,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), block_out_channels=(8, 16), layers_per_block=1,
        cross_attention_dim=16, attention_head_dim=2, norm_num_groups=4,
    )  # fmt: skip
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, block_out_channels=(8, 8),
        latent_channels=4, norm_num_groups=4, sample_size=16, scaling_factor=0.3,
    )  # fmt: skip
    scheduler = DDIMScheduler(**SD_SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    pipeline = StableDiffusionPipeline(
        vae.half(), CLIPTextModel(text).half(), tokenizer, unet.half(), scheduler, None, None, requires_safety_checker=False
    )
    folder = tmp_path_factory.mktemp("models") / "stable"
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    """A DDPMPipeline likewise."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(1)
    unet = UNet2DModel(
        sample_size=8, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, block_out_channels=(8, 16),
        layers_per_block=1, norm_num_groups=4, attention_head_dim=4,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("models") / "pixels"
    DDPMPipeline(unet.half(), DDPMScheduler()).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture
def copy(stable, tmp_path):
    return shutil.copytree(stable, tmp_path / "copy")


def _edit_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _edit_weights(path, change):
    from safetensors.torch import load_file, save_file

    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def _generate(generator, prompts, seeds, *, steps=4, guidance=5.0):
    return generator.generate(prompts, seeds, num_inference_steps=steps, guidance_scale=guidance)


def _most(a, b):
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize(("guidance", "steps"), [(5.0, 4), (1.0, 3)])
def test_images_are_those_of_the_stable_diffusion_pipeline(stable, guidance, steps):
    from diffusers import StableDiffusionPipeline

    prompts, seeds = ["a red cat", "two"], [3, 4]
    generator = load_generator(stable, device="cpu")
    images = _generate(generator, prompts, seeds, steps=steps, guidance=guidance)
    pipeline = StableDiffusionPipeline.from_pretrained(stable, torch_dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.stack([torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    expected = pipeline(prompts, latents=noise, num_inference_steps=steps, guidance_scale=guidance, output_type="np").images
    assert images.shape == (2, *generator.image_size, 3) == (2, 16, 16, 3)
    assert images.std() > 5
    assert _most(images, (expected * 255).round().astype(np.uint8)) <= 1


@pytest.mark.parametrize("name", ["dpmsolver++", "euler", "heun", "pndm"])
def test_samplers_are_those_of_diffusers(stable, name):
    import diffusers

    generator = load_generator(stable, device="cpu", scheduler=name)
    assert generator.scheduler == name
    images = _generate(generator, ["a red cat", "two"], [3, 4], steps=5)
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(stable, torch_dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = getattr(diffusers, SAMPLERS[name]).from_config(pipeline.scheduler.config)
    noise = torch.stack([torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4)])
    asked = {"num_inference_steps": 5, "guidance_scale": 5.0, "output_type": "np"}
    expected = pipeline(["a red cat", "two"], latents=noise, **asked).images
    assert _most(images, (expected * 255).round().astype(np.uint8)) <= 1
    passes = generator.num_forward_passes(num_inference_steps=5, guidance_scale=5.0)
    calls: list[int] = []
    hook = generator._unet.register_forward_hook(lambda *_: calls.append(1))
    _generate(generator, ["two"], [4], steps=5)
    hook.remove()
    assert passes == 2 * len(calls)
    # A sampler keeps a history, which must not pass from one batch to the next.
    assert np.array_equal(images, _generate(generator, ["a red cat", "two"], [3, 4], steps=5))


def test_an_unknown_sampler_names_the_nearest(stable):
    with pytest.raises(GeneratorError, match="euler"):
        load_generator(stable, device="cpu", scheduler="eulr")


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_first_step_is_what_the_network_says_of_pure_noise(copy, prediction):
    """Against the UNet asked directly, and against a step of diffusers' own scheduler to the clean sample."""
    _edit_json(copy / "scheduler" / "scheduler_config.json", prediction_type=prediction)
    generator = load_generator(copy, device="cpu", batch_size=3)
    prompts, seeds, guidance = ["a red cat", "two"], [3, 4], 5.0
    found = generator.first_step(prompts, seeds, num_inference_steps=4, guidance_scale=guidance)
    assert found.noise_magnitude.shape == found.denoising_confidence.shape == (2, 2)
    assert (found.num_prompt_passes, found.num_shared_passes) == (2, 2)

    schedule = generator._schedule
    schedule.set_timesteps(4)
    t = schedule.timesteps[0]
    for row, prompt in enumerate(prompts):
        for column, seed in enumerate(seeds):
            noise = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed))[None]
            with torch.inference_mode():
                said = [
                    generator._unet(noise, t, encoder_hidden_states=generator.embed(text)[None]).sample for text in ("", prompt)
                ]
            # What the scheduler takes for the noise: its clean sample and the noise make up what it was given.
            kept = schedule.alphas_cumprod[int(t)].sqrt()
            eps = [(noise - kept * schedule.step(one, t, noise).pred_original_sample) / (1 - kept**2).sqrt() for one in said]
            shift = eps[1] - eps[0]
            assert found.noise_magnitude[row, column] == pytest.approx(float(shift.norm()), rel=1e-4)
            guided = eps[0] + guidance * shift
            assert found.denoising_confidence[row, column] == pytest.approx(float(guided.square().mean()), rel=1e-4)


def test_a_hub_id_that_cannot_be_had_says_so_within_seconds(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(GeneratorError, match="HF_HUB_OFFLINE"):
        load_generator("nobody/no-such-model")


def test_images_are_those_of_the_ddim_pipeline(pixels):
    from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

    generator = load_generator(pixels, device="cpu")
    images = _generate(generator, ["", ""], [7, 8], guidance=1.0)
    unet = UNet2DModel.from_pretrained(pixels / "unet", torch_dtype=torch.float32)
    pipeline = DDIMPipeline(unet, DDIMScheduler.from_pretrained(pixels / "scheduler"))
    pipeline.set_progress_bar_config(disable=True)
    seeded = [torch.Generator().manual_seed(seed) for seed in (7, 8)]
    expected = pipeline(batch_size=2, generator=seeded, num_inference_steps=4, output_type="np").images
    assert images.shape == (2, 8, 8, 3)
    assert _most(images, (expected * 255).round().astype(np.uint8)) <= 1
    assert not generator.takes_prompts


def test_an_image_depends_on_its_prompt_and_seed_alone(stable, pixels):
    generator = load_generator(stable, device="cpu", batch_size=4)
    prompts, seeds = ["cat", "cat", "dog", "", "a bird", "dog"], [1, 2, 1, 1, 9, 2]
    images = _generate(generator, prompts, seeds, guidance=20.0)
    assert len({image.tobytes() for image in images}) == 6
    order = [4, 0, 5, 2, 1]
    shuffled = _generate(generator, [prompts[i] for i in order], [seeds[i] for i in order], guidance=20.0)
    assert _most(shuffled, images[order]) == 0
    assert _most(_generate(generator, ["dog"], [2], guidance=20.0)[0], images[5]) == 0
    assert _most(_generate(load_generator(stable, device="cpu", batch_size=4), prompts, seeds, guidance=20.0), images) == 0
    assert _most(_generate(load_generator(stable, device="cpu", batch_size=3), prompts, seeds, guidance=20.0), images) <= 1
    unconditional = load_generator(pixels, device="cpu", batch_size=4)
    alone = np.concatenate([_generate(unconditional, [""], [seed], guidance=1.0) for seed in range(5)])
    assert _most(_generate(unconditional, [""] * 5, [0, 1, 2, 3, 4], guidance=1.0), alone) == 0
    assert _generate(generator, [], []).shape == (0, 16, 16, 3)


def test_weights_are_fp32_whatever_the_files_hold(stable):
    generator = load_generator(stable, device="cpu")
    for module in (generator._unet, generator._vae, generator._text_encoder):
        assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert {p.dtype for p in load_generator(stable, device="cpu", dtype="bf16")._text_encoder.parameters()} == {torch.bfloat16}


def test_schedulers_of_old_configs_do_not_clip_latents(copy, pixels):
    """Stable Diffusion 1 names PNDM and says nothing of clipping; DDIM's own default is to clip."""
    config = {
        "_class_name": "PNDMScheduler", **SD_SCHEDULE, "num_train_timesteps": 1000, "set_alpha_to_one": False,
        "skip_prk_steps": True, "steps_offset": 1, "trained_betas": None,
    }  # fmt: skip
    (copy / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    schedule = load_generator(copy, device="cpu")._schedule.config
    assert (schedule.clip_sample, schedule.steps_offset, schedule.beta_schedule) == (False, 1, "scaled_linear")
    assert load_generator(pixels, device="cpu")._schedule.config.clip_sample is True


def test_text_encoders_of_older_transformers_load(stable, copy):
    """Files of Stable Diffusion 1 name their weights ``text_model.…``, and hold a table of positions."""
    path = copy / "text_encoder" / "model.safetensors"
    positions = {"text_model.embeddings.position_ids": torch.arange(12)[None]}
    _edit_weights(path, lambda state: {f"text_model.{key}": value for key, value in state.items()} | positions)
    old, new = load_generator(copy, device="cpu"), load_generator(stable, device="cpu")
    assert torch.equal(old.embed("a cat"), new.embed("a cat"))


def test_prompts_are_encoded_once_and_truncation_is_told(stable, monkeypatch):
    monkeypatch.setattr("scanner.models.samplers.MAX_CACHED_PROMPTS", 3)
    generator = load_generator(stable, device="cpu")
    first = generator.embed("cat")
    assert generator.embed("cat") is first
    assert first.shape == (12, 16)
    for prompt in ("a", "b", "cat", "c"):
        generator.embed(prompt)
    assert list(generator._embeddings) == ["b", "cat", "c"]
    assert not generator.is_truncated("abcde fghij")
    assert generator.is_truncated("abcde fghijk")
    assert torch.equal(generator.embed("abcde fghijk"), generator.embed("abcde fghijz"))
    assert not torch.equal(generator.embed("abcde fghij"), generator.embed("abcde fghiz"))


def test_round_trip_is_that_of_the_autoencoder(stable):
    generator = load_generator(stable, device="cpu", batch_size=2)
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    with torch.no_grad():
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        expected = generator._vae.decode(generator._vae.encode(x).latent_dist.mean).sample.permute(0, 2, 3, 1)
    assert _most(generator.round_trip(images), ((expected / 2 + 0.5).clamp(0, 1) * 255).round().numpy()) <= 1


def test_noise_of_a_seed_is_torchs(stable):
    generator = load_generator(stable, device="cpu")
    noise = generator.noise([5, 2**63 - 1])
    assert torch.equal(noise[0], torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(5)))


def test_model_id_is_of_the_content(stable, copy):
    first = load_generator(stable, device="cpu").model_id
    assert len(first) == 64
    assert load_generator(copy, device="cpu").model_id == first
    (copy / "README.md").write_text("a note")
    assert load_generator(copy, device="cpu").model_id == first
    _edit_weights(copy / "unet" / "diffusion_pytorch_model.safetensors", lambda state: {k: v * 1.01 for k, v in state.items()})
    assert load_generator(copy, device="cpu").model_id != first


def test_cost_is_counted(stable, pixels):
    costs = {"num_inference_steps": 20}
    assert load_generator(stable, device="cpu").num_forward_passes(**costs, guidance_scale=3) == 40
    assert load_generator(stable, device="cpu").num_forward_passes(**costs, guidance_scale=1) == 20
    assert load_generator(pixels, device="cpu").num_forward_passes(**costs, guidance_scale=1) == 20


def _no_index(folder):
    (folder / "model_index.json").unlink()


def _no_json(folder):
    (folder / "model_index.json").write_text("{")


def _other_pipeline(folder):
    _edit_json(folder / "model_index.json", _class_name="StableDiffusionInpaintPipeline")


def _other_part(folder):
    _edit_json(folder / "model_index.json", vae=["diffusers", "AutoencoderTiny"])


def _pickled(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))


def _checkpoint(folder):
    (folder / "vae" / "diffusion_pytorch_model.safetensors").rename(folder / "vae" / "vae.ckpt")


def _no_weights(folder):
    (folder / "text_encoder" / "model.safetensors").unlink()


def _cut(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _not_finite(folder):
    def change(state):
        state["decoder.conv_out.bias"][1] = float("nan")
        return state

    _edit_weights(folder / "vae" / "diffusion_pytorch_model.safetensors", change)


def _missing_weight(folder):
    path = folder / "text_encoder" / "model.safetensors"
    _edit_weights(path, lambda state: {key: value for key, value in state.items() if "final_layer_norm" not in key})


def _other_config(folder):
    _edit_json(folder / "unet" / "config.json", block_out_channels=[8, 24])


def _inpainting(folder):
    _edit_json(folder / "unet" / "config.json", in_channels=9)

    def change(state):
        state["conv_in.weight"] = state["conv_in.weight"].repeat(1, 3, 1, 1)[:, :9].contiguous()
        return state

    _edit_weights(folder / "unet" / "diffusion_pytorch_model.safetensors", change)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (shutil.rmtree, "nothing is there"),
        (_no_index, "no model_index.json"),
        (_no_json, "not JSON"),
        (_other_pipeline, "StableDiffusionInpaintPipeline, which cannot be sampled\n.*StableDiffusionPipeline"),
        (_other_part, "AutoencoderTiny as its vae"),
        (_pickled, "pickled weights only"),
        (_checkpoint, "pickled weights only"),
        (_no_weights, "holds no weights"),
        (_cut, "cannot be loaded"),
        (_not_finite, "decoder.conv_out.bias holds values that are not finite"),
        (_missing_weight, "weights are missing"),
        (_other_config, "unet"),
        (_inpainting, "takes 9 channels"),
    ],
)
def test_folders_that_cannot_be_had(copy, damage, complaint):
    damage(copy)
    with pytest.raises(GeneratorError, match=complaint) as caught:
        load_generator(copy, device="cpu")
    assert caught.value.next_step


def test_pickles_beside_safetensors_are_never_opened(copy):
    for part in ("unet", "vae"):
        (copy / part / "diffusion_pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    (copy / "text_encoder" / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    load_generator(copy, device="cpu")


def test_settings_out_of_range(stable, pixels):
    generator, unconditional = load_generator(stable, device="cpu"), load_generator(pixels, device="cpu")
    for steps in (0, 1001):
        with pytest.raises(GeneratorError, match="sampling steps"):
            _generate(generator, ["a"], [1], steps=steps)
    for seed in (-1, 2**63):
        with pytest.raises(GeneratorError, match="seed"):
            _generate(generator, ["a"], [seed])
    with pytest.raises(GeneratorError, match="guidance of nan"):
        _generate(generator, ["a"], [1], guidance=float("nan"))
    for prompt, guidance in (("a", 1.0), ("", 3.0)):
        with pytest.raises(GeneratorError, match="unconditional"):
            _generate(unconditional, [prompt], [1], guidance=guidance)
    if not torch.cuda.is_available():
        with pytest.raises(GeneratorError, match="no CUDA"):
            load_generator(stable, device="cuda")


def test_images_that_are_not_finite_are_an_error(stable):
    generator = load_generator(stable, device="cpu")
    with pytest.raises(GeneratorError, match="not finite"):
        _generate(generator, ["a"], [1], guidance=1e38)
