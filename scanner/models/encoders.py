"""What an encoder is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
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
