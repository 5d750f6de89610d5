"""The networks of the small diffusion models, and their folders as diffusers saves them."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scanner.lab.toy_data import SIDE
from scanner.lab.toy_tokenizer import NUM_TOKENS

if TYPE_CHECKING:
    import torch

LATENT_CHANNELS = 4
TEXT_WIDTH = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Channels of each level of the networks, fine to coarse.

    Attributes:
        vae: two levels, so f = 2. The first must hold the 12 values of 2 x 2 pixels with room to spare: with 16 channels
            instead of 32 the same minute of training gave 23 dB in place of 26.
        unet: two levels, 16 x 16 with convolutions alone and 8 x 8 with attention. 1.0 M parameters memorize; wider ones draw
            better what was not memorized, at a multiple of the cost.
        unconditional: three levels, on pixels: most of the cost is at 32 x 32, so the first is narrow.
    """

    vae: tuple[int, int] = (32, 32)
    unet: tuple[int, int] = (32, 64)
    unconditional: tuple[int, int, int] = (16, 32, 64)


def new_vae(sizes: Sizes) -> Any:
    """An AutoencoderKL of two levels, 32 x 32 x 3 to 16 x 16 x 4, convolutional throughout, so it trains on crops.

    The residual branches start at zero: half a decibel better after the same minute.
    """
    import torch

    vae = _diffusers().AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, block_out_channels=sizes.vae,
        layers_per_block=1, latent_channels=LATENT_CHANNELS, norm_num_groups=8, sample_size=SIDE, mid_block_add_attention=False,
        scaling_factor=1.0,
    )  # fmt: skip
    for name, module in vae.named_modules():
        if name.endswith(".conv2") and isinstance(module, torch.nn.Conv2d):
            torch.nn.init.zeros_(module.weight)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    return vae


def standardise_latents(vae: Any, mean: torch.Tensor, std: torch.Tensor) -> None:
    """Makes latents of ``mean`` and ``std`` (4,) come out with 0 and 1, exactly, by the 1 x 1 convolutions around them.

    Diffusion starts from unit noise, and Stable Diffusion has one scaling factor for all channels and no shift.
    """
    import torch

    encode, decode = vae.quant_conv, vae.post_quant_conv
    c = LATENT_CHANNELS
    with torch.no_grad():
        decode.bias += decode.weight[:, :, 0, 0] @ mean
        decode.weight *= std[None, :, None, None]
        encode.weight[:c] /= std[:, None, None, None]
        encode.bias[:c] = (encode.bias[:c] - mean) / std
        encode.bias[c:] -= 2 * std.log()


def new_text_encoder(tokenizer: Any) -> Any:
    """A CLIPTextModel of two layers for this tokenizer's ids."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=TEXT_WIDTH, intermediate_size=2 * TEXT_WIDTH, projection_dim=TEXT_WIDTH,
        num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=NUM_TOKENS,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return CLIPTextModel(config)


def new_unet(sizes: Sizes) -> Any:
    """A UNet2DConditionModel on latents; ``attention_head_dim`` is the number of heads, as diffusers counts it."""
    return _diffusers().UNet2DConditionModel(
        sample_size=SIDE // 2, in_channels=LATENT_CHANNELS, out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=sizes.unet, layers_per_block=1, cross_attention_dim=TEXT_WIDTH, attention_head_dim=4,
        norm_num_groups=8,
    )  # fmt: skip


def new_unconditional_unet(sizes: Sizes) -> Any:
    """A UNet2DModel on pixels, with attention at its coarsest level alone."""
    return _diffusers().UNet2DModel(
        sample_size=SIDE, in_channels=3, out_channels=3, down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3, block_out_channels=sizes.unconditional, layers_per_block=1, attention_head_dim=8,
        norm_num_groups=8,
    )  # fmt: skip


def latent_scheduler() -> Any:
    """Stable Diffusion's noise schedule, sampled with DDIM; the settings without which its pipeline rewrites the config."""
    return _diffusers().DDIMScheduler(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        set_alpha_to_one=False, steps_offset=1,
    )  # fmt: skip


def pixel_scheduler() -> Any:
    """The linear schedule of Ho et al. 2020."""
    return _diffusers().DDPMScheduler(
        num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=True
    )


def save_pipeline(folder: Path, parts: Mapping[str, Any]) -> None:
    """Writes a StableDiffusionPipeline (five parts) or a DDPMPipeline (``unet``, ``scheduler``) with fp16 safetensors.

    The folder appears whole or not at all.
    """
    networks = ("unet", "vae", "text_encoder")
    halves = {name: copy.deepcopy(part).half() if name in networks else part for name, part in parts.items()}
    if "vae" in halves:
        # Without a safety checker, and without asking for one.
        halves |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        pipeline = _diffusers().StableDiffusionPipeline(**halves)
    else:
        pipeline = _diffusers().DDPMPipeline(**halves)
    unfinished = folder.with_name(f".tmp-{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    pipeline.save_pretrained(unfinished, safe_serialization=True)
    for config in unfinished.rglob("*.json"):
        _without_paths(config)
    for weights in unfinished.rglob("*.safetensors"):
        weights.chmod(0o644)  # transformers and diffusers leave them to their owner alone
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(unfinished, folder)


def _diffusers() -> Any:
    """diffusers, whose classes are loaded lazily and carry no types that a checker could use."""
    import diffusers
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # of saving, on stderr, whatever --quiet says

    return diffusers


def _without_paths(config: Path) -> None:
    """Takes out of a config what says where on this machine it was made."""
    content = json.loads(config.read_text("utf-8"))
    if isinstance(content, dict) and content.pop("_name_or_path", None) is not None:
        config.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
