"""Any text-to-image pipeline of diffusers as a generator: Stable Diffusion XL and 3, flow models, pixel-space ones.

The pipeline's own code samples; nothing of it is written anew. So an image is what the pipeline makes of a prompt and a generator
of that seed, and the first step is seen from outside: by listening to the network and stopping once it has spoken.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import GeneratorError, nearest
from scanner.models.pipeline_folder import PICKLED, SAMPLERS, Dtype, quietly, torch_dtype
from scanner.models.samplers import FirstStep, not_finite
from scanner.models.weights import file_sha256

if TYPE_CHECKING:
    import torch

OWN_SAMPLER = "pipeline"
"""In place of a sampler's name: the one that the pipeline was saved with."""
_DENOISERS = ("unet", "transformer", "prior")
_NOT_NEEDED = ("safety_checker", "feature_extractor", "watermarker")


def text_to_image_classes() -> set[str]:
    """Names of the pipelines that diffusers knows to make images of text."""
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

    return {pipeline.__name__ for pipeline in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()}


class PipelineGenerator:
    """Made by ``load_generator``. Attributes as in ``generators.Generator``."""

    takes_prompts = True

    def __init__(
        self, folder: Path, *, device: Literal["cpu", "cuda"], dtype: Dtype, batch_size: int, scheduler: str = OWN_SAMPLER
    ) -> None:
        assert batch_size > 0, batch_size
        self.path, self.device, self.batch_size, self.scheduler = folder, device, batch_size, scheduler
        self._dtype = torch_dtype(dtype)
        self.model_id = self._digest()
        self._pipe = self._load()
        self._denoiser: Any = next((getattr(self._pipe, name) for name in _DENOISERS if getattr(self._pipe, name, None)), None)
        if self._denoiser is None:
            raise GeneratorError(f"{folder} has no network that is known to denoise", next_step=f"One of {_DENOISERS} is needed.")
        self._use_sampler(scheduler)
        # One step says how large the images are, and how often the network is asked.
        with self._counted() as rows:
            (probe,) = self._run([""], [0], num_inference_steps=1, guidance_scale=2.0)
        self._passes_guided = sum(rows)
        with self._counted() as rows:
            self._run([""], [0], num_inference_steps=1, guidance_scale=1.0)
        self._passes_plain = sum(rows)
        self.image_size: tuple[int, int] = (probe.shape[0], probe.shape[1])

    def num_forward_passes(self, *, num_inference_steps: int, guidance_scale: float) -> int:
        """See ``generators.Generator.num_forward_passes``; what one step asks for, times the steps."""
        return num_inference_steps * (self._passes_plain if guidance_scale == 1 else self._passes_guided)

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], *, num_inference_steps: int, guidance_scale: float
    ) -> NDArray[np.uint8]:
        """See ``generators.Generator.generate``."""
        assert len(prompts) == len(seeds), (len(prompts), len(seeds))
        if num_inference_steps < 1 or not np.isfinite(guidance_scale) or any(not 0 <= seed < 2**63 for seed in seeds):
            raise GeneratorError(
                f"{num_inference_steps} steps with a guidance of {guidance_scale} and these seeds are not possible",
                next_step="Take a step at least, a finite guidance, and seeds from 0 to 2^63 - 1.",
            )
        images = np.empty((len(seeds), *self.image_size, 3), np.uint8)
        for start in range(0, len(seeds), self.batch_size):
            stop = min(start + self.batch_size, len(seeds))
            rows = [min(row, stop - 1) for row in range(start, start + self.batch_size)]
            made = self._run(
                [prompts[row] for row in rows], [seeds[row] for row in rows],
                num_inference_steps=num_inference_steps, guidance_scale=guidance_scale,
            )  # fmt: skip
            images[start:stop] = made[: stop - start]
        return images

    def is_truncated(self, prompt: str) -> bool:
        """See ``generators.PromptedGenerator.is_truncated``; by the first tokenizer."""
        tokenizer = getattr(self._pipe, "tokenizer", None)
        return tokenizer is not None and len(tokenizer(prompt, verbose=False)["input_ids"]) > int(tokenizer.model_max_length)

    def first_step(
        self, prompts: Sequence[str], seeds: Sequence[int], *, num_inference_steps: int, guidance_scale: float
    ) -> FirstStep:
        """See ``generators.PromptedGenerator.first_step``, of what the network predicts: noise, v or a velocity.

        Scores are held against controls of the same model only, so a constant factor between these does not matter.
        """
        magnitude, confidence = np.empty((2, len(prompts), len(seeds)))
        for column, seed in enumerate(seeds):
            plain = self._first_prediction("", seed, num_inference_steps)
            for row, prompt in enumerate(prompts):
                shift = self._first_prediction(prompt, seed, num_inference_steps) - plain
                guided = plain + guidance_scale * shift
                magnitude[row, column] = float(shift.norm())
                confidence[row, column] = float(guided.square().mean())
        if not (np.isfinite(magnitude).all() and np.isfinite(confidence).all()):
            raise not_finite(self._dtype)
        return FirstStep(
            noise_magnitude=magnitude, denoising_confidence=confidence, num_prompt_passes=len(seeds) * self._passes_plain,
            num_shared_passes=len(seeds) * self._passes_plain,
        )  # fmt: skip

    def round_trip(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See ``generators.PromptedGenerator.round_trip``; the images themselves where the model has no AutoencoderKL."""
        import torch

        vae: Any = getattr(self._pipe, "vae", None)
        if type(vae).__name__ != "AutoencoderKL":
            return images
        back = np.empty_like(images)
        for start in range(0, len(images), self.batch_size):
            block = images[start : start + self.batch_size]
            with torch.inference_mode():
                pixels = torch.from_numpy(block).to(self.device).permute(0, 3, 1, 2).to(vae.dtype) / 127.5 - 1
                made = vae.decode(vae.encode(pixels).latent_dist.mode()).sample.float()
                bytes_ = (made / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)
                back[start : start + len(block)] = bytes_.cpu().numpy()
        return back

    def _run(self, prompts: list[str], seeds: list[int], *, num_inference_steps: int, guidance_scale: float) -> NDArray[np.uint8]:
        import torch

        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        with torch.inference_mode():
            made = self._pipe(
                prompt=prompts, generator=generators, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale,
                output_type="np",
            ).images  # fmt: skip
        images = np.asarray(made, np.float32)
        if not np.isfinite(images).all():
            raise not_finite(self._dtype)
        return np.clip(images * 255, 0, 255).round().astype(np.uint8)

    def _first_prediction(self, prompt: str, seed: int, num_inference_steps: int) -> torch.Tensor:
        """What the network first says, fp32; the sampling ends there."""
        heard: list[Any] = []

        def listen(_: Any, __: Any, output: Any) -> None:
            heard.append(output[0] if isinstance(output, tuple) else output.sample)
            raise _EnoughError

        hook = self._denoiser.register_forward_hook(listen)
        try:
            self._run([prompt], [seed], num_inference_steps=num_inference_steps, guidance_scale=1.0)
        except _EnoughError:
            pass
        finally:
            hook.remove()
        prediction: torch.Tensor = heard[0].detach().float().cpu()
        return prediction

    @contextmanager
    def _counted(self) -> Iterator[list[int]]:
        """Rows that the network is asked for, a number a call."""
        rows: list[int] = []

        def count(_: Any, __: Any, output: Any) -> None:
            rows.append(len(output[0] if isinstance(output, tuple) else output.sample))

        hook = self._denoiser.register_forward_hook(count)
        try:
            yield rows
        finally:
            hook.remove()

    def _load(self) -> Any:
        """The pipeline, every weight looked at.

        Raises:
            GeneratorError: pickled or absent weights, damaged ones, or values that are not finite.
        """
        import diffusers
        import torch

        index = json.loads((self.path / "model_index.json").read_text("utf-8"))
        for part in (path for path in self.path.iterdir() if path.is_dir() and path.name not in _NOT_NEEDED):
            pickled = sorted(file.name for pattern in PICKLED for file in part.glob(pattern))
            if pickled and not any(part.glob("*.safetensors")):
                raise GeneratorError(
                    f"{part} holds pickled weights only ({pickled[0]}); unpickling can run code, so they are refused",
                    next_step="Where you trust them, convert them: load the pipeline in diffusers and save_pretrained(FOLDER).",
                )
        for name, entry in index.items():
            if isinstance(entry, list) and entry[0] not in (None, "diffusers", "transformers"):
                raise GeneratorError(
                    f"{self.path} takes its {name} from {entry[0]}, which is code that came with the model",
                    next_step="Only parts of diffusers and transformers are loaded.",
                )
        # Parts that the folder was saved without (a third text encoder, say) must be named as such.
        without = [name for name, entry in index.items() if isinstance(entry, list) and entry[0] is None]
        absent: dict[str, Any] = {name: None for name in {*without, *_NOT_NEEDED} if name in index}
        if "requires_safety_checker" in index:
            absent["requires_safety_checker"] = False
        try:
            with quietly():
                pipeline = getattr(diffusers, index["_class_name"])
                pipe = pipeline.from_pretrained(str(self.path), local_files_only=True, use_safetensors=True, **absent)
        except Exception as error:  # whatever a damaged file leads to
            reason = " ".join(str(error).split())[:400]
            raise GeneratorError(f"{self.path} cannot be loaded: {reason}", next_step="Fetch the folder again.") from error
        for name, part in pipe.components.items():
            if not isinstance(part, torch.nn.Module):
                continue
            for key, tensor in part.state_dict().items():
                if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                    raise GeneratorError(
                        f"{self.path / name} is damaged: {key} holds values that are not finite",
                        next_step="Fetch the file again.",
                    )
            torch.nn.Module.to(part, device=self.device, dtype=self._dtype)
            part.eval().requires_grad_(False)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def _use_sampler(self, name: str) -> None:
        if name == OWN_SAMPLER:
            return
        if name not in SAMPLERS:
            raise GeneratorError(f"there is no sampler {name!r} here", next_step=nearest(name, [OWN_SAMPLER, *SAMPLERS]))
        fitting = {one.__name__: one for one in getattr(self._pipe.scheduler, "compatibles", [])}
        if SAMPLERS[name] not in fitting:
            own = type(self._pipe.scheduler).__name__
            raise GeneratorError(
                f"{self.path} is sampled by {own}, and {name} does not fit it", next_step="Take --scheduler pipeline, its own."
            )
        self._pipe.scheduler = fitting[SAMPLERS[name]].from_config(self._pipe.scheduler.config)

    def _digest(self) -> str:
        """64 hex digits: sha256 of every config, weights and tokenizer file, by relative path."""
        total = hashlib.sha256()
        for file in sorted(self.path.rglob("*")):
            if file.suffix in (".json", ".txt", ".model", ".safetensors") and file.is_file():
                total.update(f"{file.relative_to(self.path).as_posix()}\0{file_sha256(file)}\0".encode())
        return total.hexdigest()


class _EnoughError(Exception):
    """The network has spoken."""
