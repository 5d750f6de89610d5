"""What a generator is, and the two kinds there are: Stable Diffusion pipelines and unconditional pixel models of diffusers.

Sampling is DDIM without noise (Song et al. 2021, eq. 12 with sigma = 0), so an image is a function of its prompt and its seed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import GeneratorError
from scanner.models.loading import BUNDLED
from scanner.models.pipeline_folder import Dtype, PipelineFolder, torch_dtype

if TYPE_CHECKING:
    import torch

    from scanner.models.encoders import Device

BATCH_SIZE = 8
"""Images that are sampled together. Always so many: a batch that is not full is padded, as sums in another batch shape round
in another order and would move a level here and there."""
MAX_CACHED_PROMPTS = 1024

TOYS = ("toy", "toy-dedup", "toy-unconditional", "toy-unconditional-dedup")
"""Models that ship with the package and have memorized a planted set; made by `scanner lab train`."""


class Generator(Protocol):
    """Prompts and seeds in, images out."""

    @property
    def model_id(self) -> str:
        """64 hex digits: digest of weights and configs, as ``model_id`` in the tables."""

    @property
    def takes_prompts(self) -> bool:
        """Whether the model is conditional. One that is not takes the empty prompt only."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of what ``generate`` gives."""

    @property
    def scheduler(self) -> str:
        """Of the sampling, as in table ``generations``."""

    def num_forward_passes(self, *, num_inference_steps: int, guidance_scale: float) -> int:
        """Evaluations of the network that one image costs."""

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], *, num_inference_steps: int, guidance_scale: float
    ) -> NDArray[np.uint8]:
        """One image a (prompt, seed): it depends on these two and the settings only, not on what else is asked for.

        On one machine and device the same image comes out to the bit; elsewhere noise is the same, and rounding differs.

        Args:
            prompts: n texts; all empty where ``takes_prompts`` is false.
            seeds: n integers from 0 to 2^63 - 1.
            num_inference_steps: of the sampler.
            guidance_scale: of classifier-free guidance (Ho and Salimans 2022): 1 is the prompt alone, at half the cost;
                unconditional models take 1 only.

        Returns:
            uint8 (n, h, w, 3), RGB.

        Raises:
            GeneratorError: a setting out of range, or images that are not finite.
        """


def generator_folder(name: str | Path) -> Path:
    """The folder that a name means: one of ``TOYS``, or the path itself. A folder of such a name is had as ``./toy``."""
    return BUNDLED / name if isinstance(name, str) and name in TOYS else Path(name).expanduser()


def load_generator(
    name: str | Path, *, device: Device = "auto", dtype: Dtype = "fp32", batch_size: int = BATCH_SIZE
) -> StableDiffusionGenerator | UnconditionalGenerator:
    """The generator of that name, or in a local folder that diffusers saved. Nothing is fetched.

    Args:
        name: one of ``TOYS``, which ship with this package, or the folder of a StableDiffusionPipeline, DDPMPipeline or
            DDIMPipeline, with safetensors.
        device: ``auto`` takes a CUDA GPU where there is one.
        dtype: of weights and arithmetic, whatever the files hold; latents are fp32 in any case.
        batch_size: images a batch; images of another batch size may differ by a level.

    Raises:
        GeneratorError: the folder or its model_index.json is missing, the pipeline is of another class, its weights are pickled,
            damaged or not finite, or there is no such device.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise GeneratorError(
            "no CUDA GPU can be used here", next_step="Use device auto or cpu, or install a CUDA build of torch."
        )
    place: Literal["cpu", "cuda"] = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    folder = PipelineFolder(generator_folder(name))
    kind = StableDiffusionGenerator if folder.class_name == "StableDiffusionPipeline" else UnconditionalGenerator
    return kind(folder, device=place, dtype=dtype, batch_size=batch_size)


class _Sampler(ABC):
    """What both kinds share: batches, noise of a seed, bytes."""

    scheduler = "ddim"
    takes_prompts: bool

    def __init__(self, folder: PipelineFolder, *, device: Literal["cpu", "cuda"], dtype: Dtype, batch_size: int) -> None:
        assert batch_size > 0, batch_size
        self.model_id = folder.digest
        self.device = device
        self.batch_size = batch_size
        self._dtype = torch_dtype(dtype)
        # Latents have no bounds to be clipped at. Old configs leave it open, and DDIM's own default, made for pixels, is to clip.
        self._schedule = folder.ddim(clip_sample=not self.takes_prompts)
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
        """See ``Generator.image_size``."""
        return self._shape[1], self._shape[2]

    def num_forward_passes(self, *, num_inference_steps: int, guidance_scale: float) -> int:
        """See ``Generator.num_forward_passes``."""
        return num_inference_steps * (1 if guidance_scale == 1 else 2)

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], *, num_inference_steps: int, guidance_scale: float
    ) -> NDArray[np.uint8]:
        """See ``Generator.generate``."""
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
            raise GeneratorError(
                f"the model gave images that are not finite in {self._dtype}",
                next_step="Use dtype fp32; if it happens there too, the weights are damaged.",
            )
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

    def __init__(self, folder: PipelineFolder, *, device: Literal["cpu", "cuda"], dtype: Dtype, batch_size: int) -> None:
        super().__init__(folder, device=device, dtype=dtype, batch_size=batch_size)
        self._vae = folder.module("vae", dtype=self._dtype, device=device)
        self._text_encoder = folder.module("text_encoder", dtype=self._dtype, device=device)
        self._tokenizer = folder.tokenizer()
        self._embeddings: OrderedDict[str, torch.Tensor] = OrderedDict()

    @property
    def image_size(self) -> tuple[int, int]:
        """See ``Generator.image_size``."""
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
            both = torch.cat([latents, latents]) if is_guided else latents
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

    def __init__(self, folder: PipelineFolder, *, device: Literal["cpu", "cuda"], dtype: Dtype, batch_size: int) -> None:
        super().__init__(folder, device=device, dtype=dtype, batch_size=batch_size)
        config = self._unet.config
        if config.class_embed_type or config.num_class_embeds or self._shape[0] != 3:
            raise GeneratorError(
                f"the network of {folder.path} is conditioned on classes, or its images have {self._shape[0]} channels",
                next_step="Give a model of RGB images without conditions.",
            )

    def _denoise(self, prompts: Sequence[str], noise: torch.Tensor, guidance_scale: float) -> torch.Tensor:
        sample: torch.Tensor = noise * self._schedule.init_noise_sigma
        for t in self._schedule.timesteps:
            predicted = self._unet(sample.to(self._dtype), t).sample.float()
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
