"""An image from outside as a vector of the run: decoded within bounds, embedded by the encoder that embedded the set."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import RunConfig
from scanner.core.errors import EncoderError
from scanner.images.prepare import ImagePreparer
from scanner.models.encoders import Encoder
from scanner.models.loading import load_encoder
from scanner.report.serve.params import RequestError
from scanner.report.serve.pictures import limits_of

READY = "ready"
"""What the tables' metadata say where the source brought its own embeddings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """An image that was given: its vector (dim,), its size in pixels, and a JPEG of what the encoder saw."""

    vector: NDArray[np.float32]
    width: int
    height: int
    jpeg: bytes


class Examples:
    """Embeds images, one at a time; the encoder and the decoding worker start with the first. A context manager."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._encoder: Encoder | None = None
        self._preparer: ImagePreparer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def embed(self, data: bytes, metadata: Mapping[str, Any]) -> Example:
        """The example of an encoded image. ``metadata`` is that of table ``embeddings``.

        Raises:
            RequestError: not an image or outside the limits (422), or the run's encoder cannot be had (409).
        """
        with self._lock:
            encoder, preparer = self._get(metadata)
            ((_, facts, pixels),) = preparer.prepare([(None, data)])
            if pixels is None or facts.width is None or facts.height is None:
                raise RequestError(
                    422,
                    f"This is no image that can be used: {facts.error_message or facts.status}.",
                    next_step="JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF and JPEG 2000 are read.",
                )
            try:
                (vector,) = encoder.encode(pixels[None])
            except EncoderError as error:
                raise RequestError(422, error.message, next_step=error.next_step) from error
        return Example(vector=vector, width=facts.width, height=facts.height, jpeg=_jpeg(pixels))

    def _get(self, metadata: Mapping[str, Any]) -> tuple[Encoder, ImagePreparer]:
        name = str(metadata.get("encoder") or self._config.encoder.name)
        if name == READY:
            raise RequestError(
                409,
                "The source of this run brought its own embeddings, and what made them is not known here.",
                next_step="Search by the id of an image of the set.",
            )
        if self._encoder is None or self._encoder.name != name:
            recorded = metadata.get("precision")
            precision: Literal["auto", "fp32", "bf16"] = recorded if recorded in ("fp32", "bf16") else "auto"
            try:
                self._encoder = load_encoder(name, device=self._config.compute.device, precision=precision)
            except EncoderError as error:
                raise RequestError(
                    409, f"The encoder of this run cannot be loaded: {error.message}", next_step=error.next_step
                ) from error
            self._preparer = None
        encoder = self._encoder
        for key, value in (("weights_digest", encoder.weights_digest), ("preprocess_id", encoder.preprocess.id)):
            if value not in str(metadata.get(key, value)):
                raise RequestError(
                    409,
                    f"Encoder {name} is another one here than the one that embedded the set ({key} differs).",
                    next_step="Search by the id of an image of the set, or scan again.",
                )
        if self._preparer is None:
            limits = limits_of(self._config.images)
            self._preparer = self._stack.enter_context(ImagePreparer(encoder.preprocess, limits, workers=1))
        return encoder, self._preparer


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
