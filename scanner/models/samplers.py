"""The two kinds of model that are sampled: Stable Diffusion pipelines and unconditional pixel models of diffusers.

Samplers add no noise on the way: DDIM (Song et al. 2021, eq. 12 with sigma = 0) or another of ``SAMPLERS``. So an image is a
function of its prompt and its seed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import GeneratorError
from scanner.models.pipeline_folder import Dtype, PipelineFolder, torch_dtype

if TYPE_CHECKING:
    import torch

BATCH_SIZE = 8
"""Images that are sampled together. Always so many: a batch that is not full is padded, as sums in another batch shape round
in another order and would move a level here and there."""
MAX_CACHED_PROMPTS = 1024


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FirstStep:
    """What the network says of n prompts at the first step from pure noise, for s seeds that all prompts share.

    Attributes:
        noise_magnitude: float64 (n, s), ``||eps(x_T, prompt) - eps(x_T, "")||_2`` over the whole latent: Wen et al. 2024
            (arXiv 2407.21720), section 3, at the first step. Its scale depends on the size of the latent.
        denoising_confidence: float64 (n, s), mean square of what one step to the clean sample takes away, over that of the
            noise schedule: Webster 2023 (arXiv 2305.08694), section 3, with guidance explicit.
        num_prompt_passes: evaluations of the network for one prompt.
        num_shared_passes: evaluations for all together: of the empty prompt, which depends on the seed only.
    """

    noise_magnitude: NDArray[np.float64]
    denoising_confidence: NDArray[np.float64]
    num_prompt_passes: int
    num_shared_passes: int


class _Sampler(ABC):
    """What both kinds share: batches, noise of a seed, bytes."""

    takes_prompts: bool

    def __init__(
        self, folder: PipelineFolder, *, device: Literal["cpu", "cuda"], dtype: Dtype, batch_size: int, scheduler: str = "ddim"
    ) -> None:
        assert batch_size > 0, batch_size
        self.model_id = folder.digest
        self.scheduler = scheduler
        self.device = device
        self.batch_size = batch_size
        self._dtype = torch_dtype(dtype)
        # Latents have no bounds to be clipped at. Old configs leave it open, and DDIM's own default, made for pixels, is to clip.
        self._schedule = folder.sampler(scheduler, clip_sample=not self.takes_prompts)
        self._unet = folder.module("unet", dtype=self._dtype, device=device)
        config = self._unet.config
        if config.in_channels != config.out_channels:
            raise GeneratorError(
                f"the network of {folder.path} takes {config.in_channels} channels and gives {config.out_channels}",
                next_step="Models that paint into images, or that learn their variance, are not sampled.",
            )
        side = config.sample_size
        height, width = (side, side) if isinstance(side, int) else side
        self._shape = (int(config.in_channels), int(height), int(width))

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self._shape[1], self._shape[2]

    def num_forward_passes(self, *, num_inference_steps: int, guidance_scale: float) -> int:
        """See ``generators.Generator.num_forward_passes``."""
        # Some samplers look twice a step, or once more at the start.
        self._schedule.set_timesteps(num_inference_steps)
        return len(self._schedule.timesteps) * (1 if guidance_scale == 1 else 2)

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], *, num_inference_steps: int, guidance_scale: float
    ) -> NDArray[np.uint8]:
        """See ``generators.Generator.generate``."""
        assert len(prompts) == len(seeds), (len(prompts), len(seeds))
        self._check(prompts, seeds, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale)
        images = np.empty((len(seeds), *self.image_size, 3), np.uint8)
        for start, wanted, rows in self._batches(len(seeds)):
            with _inference(self.device):
                self._schedule.set_timesteps(num_inference_steps)
                sample = self._denoise([prompts[i] for i in rows], self.noise([seeds[i] for i in rows]), guidance_scale)
                images[start : start + wanted] = self._bytes(sample)[:wanted]
        return images

    def noise(self, seeds: Sequence[int]) -> torch.Tensor:
        """Standard normal starting points, fp32 (n, channels, h, w): each from its own generator, the same on every device."""
        import torch

        drawn = [torch.randn(self._shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(drawn).to(self.device)

    @abstractmethod
    def _denoise(self, prompts: Sequence[str], noise: torch.Tensor, guidance_scale: float) -> torch.Tensor:
        """From noise to a sample of what the network models, fp32 (n, channels, h, w), along the schedule's time steps."""

    @abstractmethod
    def _pixels(self, sample: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, h, w), in [-1, 1] but for outliers."""

    def _batches(self, num_rows: int) -> Iterator[tuple[int, int, list[int]]]:
        """First row, rows that are wanted, and the rows of a whole batch: the last one stands in for what is missing."""
        for start in range(0, num_rows, self.batch_size):
            stop = min(start + self.batch_size, num_rows)
            yield start, stop - start, [min(row, stop - 1) for row in range(start, start + self.batch_size)]

    def _bytes(self, sample: torch.Tensor) -> NDArray[np.uint8]:
        import torch

        pixels = (self._pixels(sample).float() / 2 + 0.5).permute(0, 2, 3, 1)
        if not bool(torch.isfinite(pixels).all()):
            raise not_finite(self._dtype)
        images: NDArray[np.uint8] = pixels.clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()
        return images

    def _check(self, prompts: Sequence[str], seeds: Sequence[int], *, num_inference_steps: int, guidance_scale: float) -> None:
        most = int(self._schedule.config.num_train_timesteps)
        if not 1 <= num_inference_steps <= most:
            raise GeneratorError(
                f"{num_inference_steps} sampling steps are not possible",
                next_step=f"Take 1 to {most:,}, the steps that the model was trained with.",
            )
        if any(not 0 <= seed < 2**63 for seed in seeds):
            raise GeneratorError("a seed is out of range", next_step="Take seeds from 0 to 2^63 - 1.")
        if not np.isfinite(guidance_scale):
            raise GeneratorError(f"guidance of {guidance_scale} is not possible", next_step="Take a number, 7.5 say.")
        if not self.takes_prompts and (guidance_scale != 1 or any(prompts)):
            raise GeneratorError(
                "this model is unconditional: it takes no prompts and no guidance",
                next_step="Give empty prompts and a guidance scale of 1, or a StableDiffusionPipeline.",
            )


class StableDiffusionGenerator(_Sampler):
    """A StableDiffusionPipeline: CLIP text encoder, UNet on latents, AutoencoderKL. Made by ``load_generator``."""

    takes_prompts = True

    def __init__(
        self, folder: PipelineFolder, *, device: Literal["cpu", "cuda"], dtype: Dtype, batch_size: int, scheduler: str = "ddim"
    ) -> None:
        super().__init__(folder, device=device, dtype=dtype, batch_size=batch_size, scheduler=scheduler)
        self._vae = folder.module("vae", dtype=self._dtype, device=device)
        self._text_encoder = folder.module("text_encoder", dtype=self._dtype, device=device)
        self._tokenizer = folder.tokenizer()
        self._embeddings: OrderedDict[str, torch.Tensor] = OrderedDict()

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        scale = 2 ** (len(self._vae.config.block_out_channels) - 1)
        return self._shape[1] * scale, self._shape[2] * scale

    def is_truncated(self, prompt: str) -> bool:
        """Whether the prompt has more tokens than the text encoder reads; the rest of it has no effect."""
        return len(self._tokenizer(prompt, verbose=False)["input_ids"]) > int(self._tokenizer.model_max_length)

    def embed(self, prompt: str) -> torch.Tensor:
        """What the UNet is told of a prompt, (tokens, width). Each prompt is encoded alone, so that no other one matters."""
        if prompt in self._embeddings:
            self._embeddings.move_to_end(prompt)
            return self._embeddings[prompt]
        length = int(self._tokenizer.model_max_length)
        tokens = self._tokenizer(prompt, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        mask = tokens.attention_mask.to(self.device) if getattr(self._text_encoder.config, "use_attention_mask", False) else None
        with _inference(self.device):
            hidden: torch.Tensor = self._text_encoder(tokens.input_ids.to(self.device), attention_mask=mask)[0][0]
        self._embeddings[prompt] = hidden
        if len(self._embeddings) > MAX_CACHED_PROMPTS:
            self._embeddings.popitem(last=False)
        return hidden

    def first_step(
        self, prompts: Sequence[str], seeds: Sequence[int], *, num_inference_steps: int, guidance_scale: float
    ) -> FirstStep:
        """What ``FirstStep`` says, for every prompt with every seed.

        Args:
            prompts, seeds, num_inference_steps, guidance_scale: as ``generate`` takes them, but every prompt meets every
                seed.

        Raises:
            GeneratorError: a setting out of range, or predictions that are not finite.
        """
        self._check(prompts, seeds, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale)
        num_seeds = len(seeds)
        magnitude, confidence = np.empty((2, len(prompts) * num_seeds))
        with _inference(self.device):
            self._schedule.set_timesteps(num_inference_steps)
            start = self.noise(seeds)
            unprompted = self._first_noise([""] * num_seeds, start)
            for first, wanted, rows in self._batches(len(prompts) * num_seeds):
                which = [row % num_seeds for row in rows]
                prompted = self._first_noise([prompts[row // num_seeds] for row in rows], start[which])
                shift = prompted - unprompted[which]
                guided = unprompted[which] + guidance_scale * shift
                place = slice(first, first + wanted)
                magnitude[place] = shift.flatten(1).norm(dim=1)[:wanted].double().cpu().numpy()
                confidence[place] = guided.square().flatten(1).mean(dim=1)[:wanted].double().cpu().numpy()
        if not (np.isfinite(magnitude).all() and np.isfinite(confidence).all()):
            raise not_finite(self._dtype)
        return FirstStep(
            noise_magnitude=magnitude.reshape(-1, num_seeds), denoising_confidence=confidence.reshape(-1, num_seeds),
            num_prompt_passes=num_seeds, num_shared_passes=num_seeds,
        )  # fmt: skip

    def _first_noise(self, prompts: Sequence[str], start: torch.Tensor) -> torch.Tensor:
        """The noise that the network sees in pure noise, whatever it was trained to predict: fp32 (n, channels, h, w)."""
        import torch

        latents = start * self._schedule.init_noise_sigma
        t = self._schedule.timesteps[0]
        scaled = self._schedule.scale_model_input(latents, t)
        embeddings = torch.stack([self.embed(text) for text in prompts])
        predicted: torch.Tensor = self._unet(scaled.to(self._dtype), t, encoder_hidden_states=embeddings).sample.float()
        kind = self._schedule.config.prediction_type
        if kind == "epsilon":
            return predicted
        kept = self._schedule.alphas_cumprod[int(t)].sqrt().to(predicted)
        lost = (1 - kept.square()).sqrt()
        # Salimans and Ho 2022: v = alpha eps - sigma x, so eps = alpha v + sigma z; and z = alpha x + sigma eps.
        noise: torch.Tensor = kept * predicted + lost * start if kind == "v_prediction" else (start - kept * predicted) / lost
        return noise

    def round_trip(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Images (n, h, w, 3) through the autoencoder and back: the closest that generations can come to them."""
        import torch

        back = np.empty_like(images)
        for start, wanted, rows in self._batches(len(images)):
            with _inference(self.device):
                pixels = torch.from_numpy(images[rows]).to(self.device).permute(0, 3, 1, 2).to(self._dtype) / 127.5 - 1
                latents = self._vae.encode(pixels).latent_dist.mode().float() * self._vae.config.scaling_factor
                back[start : start + wanted] = self._bytes(latents)[:wanted]
        return back

    def _denoise(self, prompts: Sequence[str], noise: torch.Tensor, guidance_scale: float) -> torch.Tensor:
        import torch

        is_guided = guidance_scale != 1
        embeddings = torch.stack([self.embed(text) for text in ([""] * len(prompts) if is_guided else []) + list(prompts)])
        latents: torch.Tensor = noise * self._schedule.init_noise_sigma
        for t in self._schedule.timesteps:
            scaled = self._schedule.scale_model_input(latents, t)
            both = torch.cat([scaled, scaled]) if is_guided else scaled
            predicted = self._unet(both.to(self._dtype), t, encoder_hidden_states=embeddings).sample.float()
            if is_guided:
                unprompted, prompted = predicted.chunk(2)
                predicted = unprompted + guidance_scale * (prompted - unprompted)
            latents = self._schedule.step(predicted, t, latents).prev_sample
        return latents

    def _pixels(self, sample: torch.Tensor) -> torch.Tensor:
        pixels: torch.Tensor = self._vae.decode((sample / self._vae.config.scaling_factor).to(self._dtype)).sample
        return pixels


class UnconditionalGenerator(_Sampler):
    """A DDPMPipeline: a UNet on pixels, sampled with DDIM steps. Made by ``load_generator``."""

    takes_prompts = False

    def __init__(
        self, folder: PipelineFolder, *, device: Literal["cpu", "cuda"], dtype: Dtype, batch_size: int, scheduler: str = "ddim"
    ) -> None:
        super().__init__(folder, device=device, dtype=dtype, batch_size=batch_size, scheduler=scheduler)
        config = self._unet.config
        if config.class_embed_type or config.num_class_embeds or self._shape[0] != 3:
            raise GeneratorError(
                f"the network of {folder.path} is conditioned on classes, or its images have {self._shape[0]} channels",
                next_step="Give a model of RGB images without conditions.",
            )

    def _denoise(self, prompts: Sequence[str], noise: torch.Tensor, guidance_scale: float) -> torch.Tensor:
        sample: torch.Tensor = noise * self._schedule.init_noise_sigma
        for t in self._schedule.timesteps:
            predicted = self._unet(self._schedule.scale_model_input(sample, t).to(self._dtype), t).sample.float()
            sample = self._schedule.step(predicted, t, sample).prev_sample
        return sample

    def _pixels(self, sample: torch.Tensor) -> torch.Tensor:
        return sample


@contextmanager
def _inference(device: str) -> Iterator[None]:
    """No gradients; on a GPU convolutions by a fixed algorithm and, in fp32, without TF32."""
    import torch

    with torch.inference_mode():
        if device == "cpu":
            yield
            return
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield


def not_finite(dtype: torch.dtype) -> GeneratorError:
    """What is said of numbers that are none."""
    return GeneratorError(
        f"the model gave numbers that are not finite in {dtype}",
        next_step="Use dtype fp32; if it happens there too, the weights are damaged.",
    )
