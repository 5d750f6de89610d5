"""How an encoder wants its pixels: said by ``models``, applied by ``images``, recorded in the embeddings' metadata."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

ResizeMode = Literal["shortest", "longest", "squash"]
Interpolation = Literal["bicubic", "bilinear"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocess:
    """Pixels of an encoder, in the field names and meanings of open_clip's ``PreprocessCfg``.

    Attributes:
        size: (height, width) in pixels of what the encoder takes.
        resize_mode: ``shortest``: the shorter side is brought to ``size``, then the centre is cropped; ``longest``: the
            longer side is brought to ``size``, then the rest is padded with ``fill_color``; ``squash``: both sides are
            brought to ``size`` whatever the aspect.
        interpolation: resampling filter, always antialiased.
        mean, std: per channel (R, G, B), of pixels scaled to [0, 1]; applied by the encoder, not by the workers.
        fill_color: padding value in 0..255.
    """

    size: tuple[int, int]
    resize_mode: ResizeMode = "shortest"
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    fill_color: int = 0

    @property
    def id(self) -> str:
        """Eight hex digits that change with any of the fields."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]
