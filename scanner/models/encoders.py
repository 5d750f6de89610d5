"""What an encoder is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from scanner.core.preprocess import Preprocess

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16"]


class Encoder(Protocol):
    """Images in, unit vectors out; close vectors mean like images.

    Similarities are comparable only among vectors of one encoder, one precision and one preprocessing.
    """

    @property
    def name(self) -> str:
        """As the config says it."""

    @property
    def dim(self) -> int:
        """Length of the vectors."""

    @property
    def weights_digest(self) -> str:
        """64 hex digits: sha256 of the weights, or of the version string where there are none."""

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``: where ``encode`` runs."""

    @property
    def precision(self) -> str:
        """``fp32`` or ``bf16``, as it came out: of weights and arithmetic."""

    @property
    def preprocess(self) -> Preprocess:
        """The pixels that ``encode`` takes."""

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Vectors of one batch; the same batch on the same machine gives the same bits.

        Args:
            pixels: uint8 (n, h, w, 3), RGB, resized as ``preprocess`` says and not yet normalised.

        Returns:
            float32 (n, dim), each row of norm 1.

        Raises:
            EncoderError: the model gave a vector that is not finite.
        """


@runtime_checkable
class DeviceEncoder(Encoder, Protocol):
    """An encoder that can be fed on its device, so that one batch is copied there while another is computed."""

    def on_device(self, pixels: torch.Tensor) -> torch.Tensor:
        """As ``encode``, of pixels that lie on the device, to float32 vectors that stay there.

        On a GPU it returns before they are computed, and they are not looked at: ``checked`` does that.
        """

    def checked(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The vectors, once they are on the host.

        Raises:
            EncoderError: one is not finite.
        """

    def compile(self) -> None:
        """Lets ``torch.compile`` fuse the network at its next batch, which takes a minute; vectors change in their last bits."""
