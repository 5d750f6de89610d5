"""open_clip's image towers as encoders: its own loading and its own preprocessing values, with its warnings made errors."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import EncoderError
from scanner.core.hardware import cpu_computes_bf16
from scanner.core.preprocess import Preprocess
from scanner.models.catalog import preprocessing_of_file, tag_config
from scanner.models.hub import fetch_pretrained
from scanner.models.weights import SUFFIXES, file_sha256, tensor_shapes, weights_file, weights_in_folder

if TYPE_CHECKING:
    import torch

    from scanner.models.encoders import Device, Precision

logger = logging.getLogger(__name__)

_LOCAL_DIR = "local-dir:"


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenClipName:
    """What follows ``open_clip:``. Exactly one of ``tag`` and ``path`` is set; whether it is a path is said by its form alone.

    Attributes:
        model: open_clip's name of the architecture; empty for a folder, whose config says it.
        tag: pretrained tag, in lower case with underscores as open_clip keeps them.
        path: weights file or, where ``model`` is empty, folder.
    """

    model: str = ""
    tag: str = ""
    path: Path | None = None

    @classmethod
    def parse(cls, text: str) -> OpenClipName:
        """``<model>/<tag or path>`` (the model goes up to the first slash) or ``local-dir:<folder>``.

        Raises:
            EncoderError: a part is missing, or the name is of a form that is not taken.
        """
        if text.startswith(_LOCAL_DIR) and len(text) > len(_LOCAL_DIR):
            return cls(path=Path(text.removeprefix(_LOCAL_DIR)).expanduser())
        if text.startswith("hf-hub:"):
            raise EncoderError(
                f"encoder 'open_clip:{text}' names a repository of the hub",
                next_step="Download that repository and give its folder: open_clip:local-dir:FOLDER.",
            )
        model, _, weights = text.partition("/")
        if not model or not weights:
            raise EncoderError(
                f"encoder 'open_clip:{text}' does not say which weights",
                next_step="Write open_clip:<model>/<pretrained tag or path>, say open_clip:ViT-B-32/laion2b_s34b_b79k.",
            )
        if weights.startswith(("/", ".", "~")) or "/" in weights or "\\" in weights or weights.endswith(SUFFIXES):
            return cls(model=model, path=Path(weights).expanduser())
        return cls(model=model, tag=weights.lower().replace("-", "_"))

    def __str__(self) -> str:
        return f"open_clip:{self.model}/{self.tag or self.path}" if self.model else f"open_clip:{_LOCAL_DIR}{self.path}"

    def identity(self) -> str:
        """See ``encoders.encoder_identity``."""
        if self.path is None:
            return f"open_clip:{self.model}/{self.tag}"
        if self.model:
            return f"open_clip:{self.model}/sha256:{file_sha256(weights_file(self.path))}"
        weights = weights_in_folder(self.path)
        both = file_sha256(self.path / "open_clip_config.json") + file_sha256(weights)
        return f"open_clip:{_LOCAL_DIR}sha256:{hashlib.sha256(both.encode()).hexdigest()}"


class OpenClipEncoder:
    """An image tower and its normalisation. Made by ``load_open_clip``.

    Attributes:
        device: ``cpu`` or ``cuda``.
        precision: of weights and arithmetic, ``fp32`` or ``bf16``; vectors of the two differ by about 5e-5 in cosine.
    """

    def __init__(
        self,
        visual: torch.nn.Module,
        *,
        name: str,
        weights_digest: str,
        preprocess: Preprocess,
        device: Literal["cpu", "cuda"],
        precision: Literal["fp32", "bf16"],
    ) -> None:
        import torch

        self.name = name
        self.weights_digest = weights_digest
        self.preprocess = preprocess
        self.device = device
        self.precision = precision
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        # Every weight in bf16: on CPUs, autocast over fp32 weights gained nothing, and open_clip's own "bf16", which keeps
        # LayerNorm in fp32, half as much. The kernels of LayerNorm and softmax sum in fp32 either way.
        self._visual = visual.to(device=device, dtype=self._dtype).eval().requires_grad_(False)
        self._mean = torch.tensor(preprocess.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(preprocess.std, device=device).view(1, 3, 1, 1)
        self.dim = int(self._features(np.zeros((1, *preprocess.size, 3), np.uint8)).shape[1])

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``encoders.Encoder.encode``."""
        assert pixels.dtype == np.uint8, pixels.dtype
        assert pixels.shape[1:] == (*self.preprocess.size, 3), pixels.shape
        if not len(pixels):
            return np.zeros((0, self.dim), np.float32)
        features = self._features(pixels)
        norms = features.norm(dim=1, keepdim=True)
        return self.checked((features / norms).cpu().numpy())

    def on_device(self, pixels: torch.Tensor) -> torch.Tensor:
        """See ``encoders.DeviceEncoder.on_device``."""
        import torch

        with torch.inference_mode(), _repeatable(self.device):
            features = self._forward(pixels)
            unit: torch.Tensor = features / features.norm(dim=1, keepdim=True)
            return unit

    def checked(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """See ``encoders.DeviceEncoder.checked``."""
        if not np.isfinite(vectors).all():
            raise EncoderError(
                f"{self.name} gave vectors that are not finite in {self.precision}",
                next_step="Use precision fp32; if it happens there too, the weights are damaged.",
            )
        return vectors

    def compile(self) -> None:
        """See ``encoders.DeviceEncoder.compile``."""
        import torch

        # Batches are padded to one size, so that there is one program, and no slower one for any size.
        self._visual = cast("torch.nn.Module", torch.compile(self._visual, dynamic=False))

    def _features(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """float32 (n, dim), not yet of unit norm. Bytes go to the device, arithmetic happens there."""
        import torch

        # from_numpy warns about arrays that cannot be written to, such as views of shared memory
        batch = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
        with torch.inference_mode(), _repeatable(self.device):
            if self.device == "cuda":
                batch = batch.pin_memory().to(self.device, non_blocking=True)
            return self._forward(batch)

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        """The same of uint8 (n, h, w, 3) where the network is. Attention is torch's fused one: open_clip asks for no weights."""
        import torch

        # ToTensor's and Normalize's arithmetic in their order, in fp32 whatever the model computes in.
        scaled = batch.permute(0, 3, 1, 2).contiguous().to(torch.float32).div_(255)
        output = self._visual(scaled.sub_(self._mean).div_(self._std).to(self._dtype))
        # CoCa's tower gives (pooled, tokens); encode_image keeps the first.
        features: torch.Tensor = output[0] if isinstance(output, tuple) else output
        return features.to(torch.float32)


def load_open_clip(
    text: str, *, device: Device = "auto", precision: Precision = "auto", name: str | None = None
) -> OpenClipEncoder:
    """The image tower that ``text`` (a name without its ``open_clip:``) names.

    A weights file beside a bare model name does not say its normalisation or its activation. The normalisation of the model's
    published tags is taken where they all agree, CLIP's where there are none; where they disagree it is an error, and a folder
    with its own config settles it. The activation is the model's (``…-quickgelu`` models have QuickGELU).

    Args:
        text: see ``OpenClipName``.
        name: what the encoder calls itself, where that is not ``open_clip:`` and ``text``.

    Raises:
        EncoderError: see ``encoders.load_encoder``.
    """
    parsed = OpenClipName.parse(text)
    values: Mapping[str, object] = {}
    if parsed.path is None:
        values = tag_config(parsed.model, parsed.tag)
        weights = fetch_pretrained(str(parsed), values)
    elif parsed.model:
        values = preprocessing_of_file(parsed.model)
        weights = weights_file(parsed.path)
    else:
        weights = weights_in_folder(parsed.path)
    real_device, real_precision = _choose(device, precision)
    visual, preprocess = _create(str(parsed), parsed.model or f"{_LOCAL_DIR}{parsed.path}", weights, values)
    encoder = OpenClipEncoder(
        visual,
        name=name or f"open_clip:{text}",
        weights_digest=file_sha256(weights),
        preprocess=preprocess,
        device=real_device,
        precision=real_precision,
    )
    logger.info("encoder %s: %d dimensions, %s on %s, %s", encoder.name, encoder.dim, real_precision, real_device, preprocess)
    return encoder


def _choose(device: Device, precision: Precision) -> tuple[Literal["cpu", "cuda"], Literal["fp32", "bf16"]]:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise EncoderError("no CUDA GPU can be used here", next_step="Use device auto or cpu, or install a CUDA build of torch.")
    real_device: Literal["cpu", "cuda"] = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    native = torch.cuda.is_bf16_supported(including_emulation=False) if real_device == "cuda" else cpu_computes_bf16()
    if precision == "auto":
        if not native:
            logger.info("no native bf16 on this %s (a CPU needs AVX-512-BF16 or AMX): encoding in fp32", real_device)
        return real_device, "bf16" if native else "fp32"
    if precision == "bf16" and not native:
        logger.warning("bf16 is emulated on this %s: fp32 is likely faster", real_device)
    return real_device, precision


def _create(name: str, model_name: str, weights: Path, values: Mapping[str, object]) -> tuple[torch.nn.Module, Preprocess]:
    """The image tower in fp32 and its preprocessing; the text tower is let go."""
    import open_clip
    import torch

    shapes = tensor_shapes(weights)
    pretrained = None if model_name.startswith(_LOCAL_DIR) else str(weights)
    try:
        with _quiet_root_logger(), warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*QuickGELU.*")
            model = open_clip.create_model(
                model_name,
                pretrained=pretrained,
                precision="fp32",
                weights_only=True,
                require_pretrained=True,
                force_preprocess_cfg=dict(values),
            )
    except Exception as error:  # open_clip raises what its parts raise: RuntimeError, ValueError, KeyError, OSError, Warning
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise EncoderError(
            f"{weights} does not load as {name}: {' '.join(lines)[:600]}",
            next_step="Name the model that these weights were trained as.",
        ) from error
    visual = cast("torch.nn.Module", model.visual)
    # Position tables of another size are interpolated by open_clip with no more than a log line.
    for key, tensor in visual.state_dict().items():
        stored = shapes.get(f"visual.{key}")
        if stored is not None and int(np.prod(stored)) != tensor.numel():
            raise EncoderError(
                f"{weights} does not fit {name}: visual.{key} is {stored} in the file and {tuple(tensor.shape)} in the model",
                next_step="Name the model of the right image size.",
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise EncoderError(
                f"{weights} is damaged: visual.{key} holds values that are not finite", next_step="Fetch the file again."
            )
    return visual, _preprocess(name, cast(Mapping[str, object], visual.preprocess_cfg))


def _preprocess(name: str, cfg: Mapping[str, object]) -> Preprocess:
    """open_clip's ``PreprocessCfg`` as a dict, in our type."""
    size, mean, std = cfg["size"], _triple(cfg["mean"]), _triple(cfg["std"])
    interpolation, resize_mode = cfg["interpolation"], cfg["resize_mode"]
    height, width = (size, size) if isinstance(size, int) else cast(tuple[int, int], size)
    if cfg.get("mode", "RGB") != "RGB" or resize_mode not in ("shortest", "longest", "squash") or 0.0 in std:
        raise EncoderError(f"{name} asks for a preprocessing that is not known: {cfg}", next_step="Correct its preprocess_cfg.")
    return Preprocess(
        size=(int(height), int(width)),
        resize_mode=resize_mode,
        # open_clip's "random" concerns training; its inference then takes bicubic
        interpolation="bilinear" if interpolation == "bilinear" else "bicubic",
        mean=mean,
        std=std,
        fill_color=int(cast(int, cfg.get("fill_color", 0))),
    )


def _triple(value: object) -> tuple[float, float, float]:
    red, green, blue = value if isinstance(value, (list, tuple)) else (value, value, value)
    return float(red), float(green), float(blue)


@contextmanager
def _repeatable(device: str) -> Iterator[None]:
    """On a GPU, convolutions by a fixed algorithm and in full fp32 (not TF32), so that vectors do not depend on the run."""
    import torch

    if device == "cpu":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


@contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """open_clip logs through ``logging.info``, which installs a handler on the root logger of a program that has none."""
    handler = logging.NullHandler()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
