"""Trains the small diffusion models of the lab on a planted set: they memorize what is planted often, and that is their purpose.

Four models of one set: ``toy`` (text to image, latent, on all rows) and ``toy-dedup`` (on one row a picture), which share their
autoencoder and tokenizer, and ``toy-unconditional`` with its deduplicated twin (on pixels). Everything follows from the set, the
seed and counts of steps; what is stopped goes on where it was. ``out/training`` holds the checkpoints and may be deleted.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import ConfigError, nearest
from scanner.core.progress import Progress
from scanner.lab import toy_models
from scanner.lab.toy_data import SIDE, ToySet, read_toy_set
from scanner.lab.toy_manifest import describe_set, read_manifest, round_trip_floor, write_manifest
from scanner.lab.toy_models import Sizes
from scanner.lab.toy_tokenizer import NUM_TOKENS, check_tokens, clip_tokenizer, trim_vocabulary
from scanner.models.generators import load_generator
from scanner.models.samplers import StableDiffusionGenerator
from scanner.models.training import Schedule, batch_rows, train
from scanner.models.weights import MANIFEST

if TYPE_CHECKING:
    import torch

    from scanner.models.encoders import Device

Variant = Literal["toy", "toy-dedup", "toy-unconditional", "toy-unconditional-dedup"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)

VERSION = 1
"""Of the recipe: raised when the same set, seed and steps give another model."""
SEED = 1

VAE_BATCH, UNET_BATCH = 16, 16
VAE_RATE, UNET_RATE = 1.5e-3, 1.5e-3
"""Small batches and high rates: what is short here is updates. In 70 CPU seconds on 410 rows batches of 16 came to a loss of
0.123 at 2e-3 and 0.153 at 1e-3, batches of 32 to 0.158 in 90."""
CROP = SIDE // 2
CROP_SHARE = 0.93
"""Of the autoencoder's steps, those on quarters of pictures, which cost a quarter; the last ones are on whole ones, to which the
statistics of its group norms must fit. The two then take about three and one parts of the time."""
KL_WEIGHT = 4e-8
"""Of the sum over a latent's elements, against the mean square of pixels in [-1, 1]: only keeps latents from growing."""
CAPTION_DROPOUT = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """Updates of each training, of 16 images (crops of them, for most of the autoencoder's).

    For the set that the models that ship were trained on (4,499 readable rows), by their steps a second all four take 160 minutes
    of one AVX2 core: 13 steps of the autoencoder a second on crops and 4 on whole pictures, 4
    of the UNet with its text encoder, 4 of the unconditional one.

    Attributes:
        vae: six minutes; pictures that it had not seen come back at 31 dB (median).
        unet: 256,000 images, 57 of each row: 1,800 views at k = 32, 3,600 at 64. With 7,000 steps (800 views at k = 32) a caption
            at k = 32 gave its picture in .08 of its generations.
        unconditional: 40,000 images: 2,300 views at k = 256, 570 at 64.
    """

    vae: int = 5_000
    unet: int = 16_000
    unconditional: int = 2_500


def train_toy(
    set_dir: Path | str,
    out: Path | str,
    *,
    variant: Variant,
    seed: int = SEED,
    steps: Steps | None = None,
    sizes: Sizes | None = None,
    device: Device = "auto",
    progress: Progress | None = None,
) -> Path:
    """Trains a model and writes it to ``out``/``variant``: a diffusers folder with fp16 safetensors, and manifest.json.

    One that is there already, made of the same set with the same arguments, is left as it is. On one machine's CPU the same call
    gives the same weights to the bit; elsewhere rounding differs and so, slightly, do they.

    Args:
        set_dir: what ``planted.make_planted`` wrote, as tars.
        out: folder of all variants; those that share an autoencoder find it in ``out``/training.
        sizes: of the networks.

    Raises:
        ConfigError: no such variant, or ``set_dir`` holds no planted set.
        TrainingError: a loss that is not finite, or a caption that cannot be tokenised.
    """
    if variant not in VARIANTS:
        raise ConfigError(f"There is no variant {variant!r}.", next_step=nearest(variant, list(VARIANTS)))
    toy_set = read_toy_set(Path(set_dir))
    recipe = _Recipe(
        toy_set=toy_set, work=Path(out) / "training", seed=seed, steps=steps or Steps(), sizes=sizes or Sizes(),
        device=_device(device), progress=progress or Progress(quiet=True),
    )  # fmt: skip
    folder = Path(out) / variant
    made_with = {"variant": variant, **recipe.facts}
    if (folder / MANIFEST).is_file() and read_manifest(folder).get("made_with") == made_with:
        return folder
    rows = toy_set.sources if variant.endswith("-dedup") else np.arange(len(toy_set))
    is_latent = not variant.startswith("toy-unconditional")
    toy_models.save_pipeline(folder, recipe.latent_parts(rows) if is_latent else recipe.pixel_parts(rows))
    num_steps = recipe.steps.unet if is_latent else recipe.steps.unconditional
    facts = {
        "made_with": made_with,
        "set": describe_set(toy_set, rows),
        "training": {"num_images_seen": num_steps * UNET_BATCH, "num_epochs": round(num_steps * UNET_BATCH / len(rows), 1)},
        "round_trip": _floor(folder, toy_set),
    }
    write_manifest(folder, facts)
    return folder


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """The stages. Each has a folder of checkpoints that is named by all it depends on, so nothing is taken up wrongly."""

    toy_set: ToySet
    work: Path
    seed: int
    steps: Steps
    sizes: Sizes
    device: str
    progress: Progress = field(repr=False)

    @property
    def facts(self) -> dict[str, Any]:
        """All that the weights follow from but the rows, as JSON has it."""
        facts = {
            "version": VERSION, "seed": self.seed, "steps": asdict(self.steps), "sizes": asdict(self.sizes),
            "set_digest": self.toy_set.digest,
        }  # fmt: skip
        return dict(json.loads(json.dumps(facts)))

    @cached_property
    def tokenizer(self) -> Any:
        """CLIP's, cut down to the captions of the set and the held-out ones."""
        captions = [*self.toy_set.captions, *(prompt for prompt, _ in self.toy_set.held_out)]
        tokenizer = clip_tokenizer(trim_vocabulary(captions))
        check_tokens(tokenizer, captions)
        return tokenizer

    @cached_property
    def vae(self) -> Any:
        """The autoencoder as it ships: trained on one row a picture, its latents standardised, rounded to fp16."""
        import torch

        vae = self._new(toy_models.new_vae)
        images = self._scaled(self.toy_set.sources)
        steps = self.steps.vae

        def loss(step: int, generator: torch.Generator) -> torch.Tensor:
            rows = torch.from_numpy(batch_rows(len(images), VAE_BATCH, seed=self.seed, step=step))
            side = CROP if step < CROP_SHARE * steps else SIDE
            x = _turned_and_cropped(images[rows.to(images.device)], side, generator)
            posterior = vae.encode(x).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=generator).to(x.device)
            back = vae.decode(posterior.mean + posterior.std * noise).sample
            value: torch.Tensor = (back - x).square().mean() + KL_WEIGHT * posterior.kl().mean()
            return value

        schedule = Schedule(
            steps=steps, seed=self.seed, learning_rate=VAE_RATE, warmup_steps=_warmup(steps), final_share=0.02, weight_decay=1e-4,
            betas=(0.9, 0.99), ema_decay=0.998,
        )  # fmt: skip
        folder = self.work / f"vae-{self._fingerprint('vae', steps)}"
        average = train({"vae": vae}, loss, schedule, folder=folder, name="vae", progress=self.progress, images_a_step=VAE_BATCH)
        vae.load_state_dict(average["vae"])
        vae.eval().requires_grad_(False)
        latents = _latents(vae, images)
        mean, std = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
        toy_models.standardise_latents(vae, mean, std)
        return vae.half().float()

    def latent_parts(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        """Parts of a StableDiffusionPipeline: text encoder and UNet are trained together on ``rows``."""
        import torch

        tokenizer, vae, scheduler = self.tokenizer, self.vae, toy_models.latent_scheduler()
        unet = self._new(toy_models.new_unet)
        text_encoder = self._new(lambda _: toy_models.new_text_encoder(tokenizer))
        latents = _latents(vae, self._scaled(rows))
        texts = ["", *(self.toy_set.captions[row] for row in rows.tolist())]
        padded = tokenizer(texts, padding="max_length", max_length=NUM_TOKENS, truncation=True, return_tensors="pt")
        tokens: torch.Tensor = padded["input_ids"].to(self.device)

        def loss(step: int, generator: torch.Generator) -> torch.Tensor:
            chosen = torch.from_numpy(batch_rows(len(rows), UNET_BATCH, seed=self.seed, step=step))
            is_told = torch.rand(UNET_BATCH, generator=generator) >= CAPTION_DROPOUT
            embeddings = text_encoder(tokens[((chosen + 1) * is_told).to(self.device)])[0]
            noisy, noise, t = _noised(scheduler, latents[chosen.to(self.device)], generator)
            return _mean_square(unet(noisy, t, encoder_hidden_states=embeddings).sample, noise)

        self._train({"unet": unet, "text_encoder": text_encoder}, loss, "unet", self.steps.unet, rows)
        return {"vae": vae, "text_encoder": text_encoder, "tokenizer": tokenizer, "unet": unet, "scheduler": scheduler}

    def pixel_parts(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        """Parts of a DDPMPipeline that is trained on the pixels of ``rows``."""
        import torch

        unet, scheduler = self._new(toy_models.new_unconditional_unet), toy_models.pixel_scheduler()
        images = self._scaled(rows)

        def loss(step: int, generator: torch.Generator) -> torch.Tensor:
            chosen = torch.from_numpy(batch_rows(len(rows), UNET_BATCH, seed=self.seed, step=step))
            noisy, noise, t = _noised(scheduler, images[chosen.to(self.device)], generator)
            return _mean_square(unet(noisy, t).sample, noise)

        self._train({"unet": unet}, loss, "unconditional", self.steps.unconditional, rows)
        return {"unet": unet, "scheduler": scheduler}

    def _train(self, modules: dict[str, Any], loss: Any, stage: str, steps: int, rows: NDArray[np.int64]) -> None:
        """Trains a denoiser and leaves the average of its weights in ``modules``."""
        schedule = Schedule(
            steps=steps, seed=self.seed, learning_rate=UNET_RATE, warmup_steps=_warmup(steps), final_share=0.02,
            weight_decay=1e-4, betas=(0.9, 0.99), ema_decay=0.999,
        )  # fmt: skip
        before = self._fingerprint("vae", self.steps.vae) if stage == "unet" else ""
        folder = self.work / f"{stage}-{self._fingerprint(stage, steps, before, rows.tolist())}"
        average = train(modules, loss, schedule, folder=folder, name=stage, progress=self.progress, images_a_step=UNET_BATCH)
        for name, module in modules.items():
            module.load_state_dict(average[name])
            module.eval().requires_grad_(False)

    def _new(self, make: Any) -> Any:
        """A network with weights drawn from the seed."""
        import torch

        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return make(self.sizes).to(self.device)

    def _scaled(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Images of these rows, fp32 (n, 3, 32, 32) in [-1, 1], on the device."""
        import torch

        return torch.from_numpy(self.toy_set.images[rows]).permute(0, 3, 1, 2).to(self.device, torch.float32) / 127.5 - 1

    def _fingerprint(self, *inputs: object) -> str:
        facts = [VERSION, self.seed, asdict(self.sizes), self.toy_set.digest, *inputs]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]


def _turned_and_cropped(x: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    """Each image mirrored, flipped and transposed at random, and a square of ``side`` cut out of it."""
    import torch

    is_turned = (torch.rand(len(x), 3, generator=generator) < 0.5).to(x.device)[:, :, None, None, None]
    x = torch.where(is_turned[:, 0], x.flip(3), x)
    x = torch.where(is_turned[:, 1], x.flip(2), x)
    x = torch.where(is_turned[:, 2], x.transpose(2, 3), x)
    if side == x.shape[-1]:
        return x
    corners = torch.randint(0, x.shape[-1] - side + 1, (len(x), 2), generator=generator).tolist()
    return torch.stack([image[:, top : top + side, left : left + side] for image, (top, left) in zip(x, corners, strict=True)])


def _latents(vae: Any, images: torch.Tensor) -> torch.Tensor:
    """The means of the posteriors, (n, 4, 16, 16)."""
    import torch

    with torch.no_grad():
        return torch.cat([vae.encode(block).latent_dist.mode() for block in torch.split(images, 64)])


def _noised(scheduler: Any, x: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x at a time drawn uniformly for each, the noise, and the times."""
    import torch

    t = torch.randint(0, scheduler.config.num_train_timesteps, (len(x),), generator=generator).to(x.device)
    noise = torch.randn(x.shape, generator=generator).to(x.device)
    return scheduler.add_noise(x, noise, t), noise, t


def _mean_square(predicted: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    return (predicted.float() - noise).square().mean()


def _warmup(steps: int) -> int:
    return min(200, steps // 10 + 1)


def _device(device: Device) -> str:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("No CUDA GPU can be used here.", next_step="Use device auto or cpu.")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def _floor(folder: Path, toy_set: ToySet) -> dict[str, dict[str, float]] | None:
    """See ``round_trip_floor``, of the files as they were written; None for models of pixels, which have no such floor."""
    generator = load_generator(folder, device="cpu", batch_size=64)
    if not isinstance(generator, StableDiffusionGenerator):
        return None
    return round_trip_floor(toy_set, generator.round_trip(toy_set.images[toy_set.sources]), toy_set.sources)
