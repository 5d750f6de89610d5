"""Does sampling keep the network busy? Images/s of the generator, and of its network alone, as often as one image asks for it.

    python benchmarks/generate.py --model toy --device cpu --out benchmarks/results/generate-toy-cpu.json
    python benchmarks/generate.py --model sd1-random --device cuda --dtype bf16 --out benchmarks/results/generate-sd1-h100.json

``sd1-random`` is a pipeline of the size of Stable Diffusion 1.x with random weights, built on the spot: 860 M parameters in the
UNet, latents of 64 x 64. The ceiling is the bare loop: the UNet alone, on tensors that lie ready, prompts encoded. What is left
out of it: noise, text embeddings, the sampler's arithmetic, the autoencoder, bytes.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from scanner.models.generators import load_generator
from scanner.models.samplers import StableDiffusionGenerator

TURNS = 3


def main() -> None:
    options = parse_args()
    facts = measure(options)
    print(json.dumps(facts, indent=1))
    if options.out:
        options.out.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="toy", help="toy, sd1-random, or a folder of a StableDiffusionPipeline")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--guidance", type=float, default=7.5)
    parser.add_argument("--out", type=Path)
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Rates of the generator and of its bare loop, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        model = _random_sd1(Path(folder)) if options.model == "sd1-random" else options.model
        generator = load_generator(model, device=options.device, dtype=options.dtype, batch_size=options.batch_size)
    assert isinstance(generator, StableDiffusionGenerator), "a StableDiffusionPipeline is measured here"
    num = options.batch_size * options.batches
    prompts = [f"prompt {i}" for i in range(num)]
    bare, whole = [], []
    # Interleaved, so that what else the machine does falls on both.
    for turn in range(TURNS + 1):
        seconds = _timed(options.device, lambda: _bare_loop(generator, options))
        generated = _timed(options.device, lambda: _generate(generator, prompts, options))
        if turn:  # the first warms up
            bare.append(seconds)
            whole.append(generated)
    per_batch = statistics.median(bare)
    return {
        "model": options.model, "device": torch.cuda.get_device_name() if options.device == "cuda" else platform.machine(),
        "dtype": options.dtype, "batch_size": options.batch_size, "steps": options.steps, "guidance": options.guidance,
        "bare_images_per_s": options.batch_size / per_batch, "images_per_s": num / statistics.median(whole),
        "share_of_bare": per_batch * options.batches / statistics.median(whole), "torch": torch.__version__,
        "threads": torch.get_num_threads(), "turns": TURNS,
    }  # fmt: skip


def _timed(device: str, work: Callable[[], None]) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _generate(generator: StableDiffusionGenerator, prompts: list[str], options: argparse.Namespace) -> None:
    generator.generate(prompts, list(range(len(prompts))), num_inference_steps=options.steps, guidance_scale=options.guidance)


def _bare_loop(generator: StableDiffusionGenerator, options: argparse.Namespace) -> None:
    """The network as often as one batch asks for it, and nothing else."""
    rows = options.batch_size * (1 if options.guidance == 1 else 2)
    with torch.inference_mode():
        latents = generator.noise(list(range(rows))).to(generator._dtype)
        embeddings = torch.stack([generator.embed("prompt")] * rows)
        generator._schedule.set_timesteps(options.steps)
        for t in generator._schedule.timesteps:
            generator._unet(latents, t, encoder_hidden_states=embeddings)


def _random_sd1(folder: Path) -> Path:
    """The architecture of Stable Diffusion 1.x, random weights, and the toy's tokenizer."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    from scanner.models.generators import generator_folder

    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(str(generator_folder("toy") / "tokenizer"))
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        max_position_embeddings=tokenizer.model_max_length, **ids,
    )  # fmt: skip
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=512, scaling_factor=0.18215,
    )  # fmt: skip
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    scheduler = DDIMScheduler(**schedule, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    pipeline = StableDiffusionPipeline(
        vae, CLIPTextModel(text), tokenizer, unet, scheduler, None, None, requires_safety_checker=False
    )
    pipeline.to(torch.float16).save_pretrained(folder / "sd1", safe_serialization=True)
    return folder / "sd1"


if __name__ == "__main__":
    main()
