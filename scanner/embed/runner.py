"""How a batch is started and its vectors are had: at once on a CPU, while the next is started on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from scanner.embed.batches import Pixels, pack
from scanner.images.device_fit import fit_images
from scanner.models.device import CudaDevice, Device
from scanner.models.encoders import DeviceEncoder, Encoder

Wait = Callable[[], NDArray[np.float32]]
"""Waits for the vectors of a batch, float32 (n, dim)."""


class Runner(Protocol):
    """Starts batches, in order."""

    @property
    def depth(self) -> int:
        """Batches that may be under way when the next is started."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) that the encoder takes."""

    def pack(self, images: list[NDArray[np.uint8]]) -> Pixels:
        """Images as a batch, in memory that ``start`` is fast from. May be called from another thread."""

    def start(self, pixels: Pixels) -> Wait:
        """Starts a batch.

        Raises:
            Exception: of those that ``is_out_of_memory`` knows, where memory does not hold it. Nothing is under way of it then.
        """

    def release(self) -> None:
        """Gives back memory that is kept for reuse."""


class HostRunner:
    """An encoder that takes and gives arrays: computed when it is started."""

    depth = 0

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.size = encoder.preprocess.size

    def pack(self, images: list[NDArray[np.uint8]]) -> Pixels:
        return pack(images, np.empty(sum(image.size for image in images), np.uint8))

    def start(self, pixels: Pixels) -> Wait:
        vectors = self._encoder.encode(pixels.stacked())
        return lambda: vectors

    def release(self) -> None: ...


class DeviceRunner:
    """An encoder on a device: page-locked bytes go there while the batch before is computed; there they are resized, normalised
    and encoded; vectors come back while the next batch is computed.

    Args:
        pads: every batch is filled up to the largest so far, for a network that is compiled for one size.
    """

    depth = 1

    def __init__(self, encoder: DeviceEncoder, device: Device, *, pads: bool = False) -> None:
        self._encoder, self._device, self._pads = encoder, device, pads
        self.size = encoder.preprocess.size
        self._padded = 0

    def pack(self, images: list[NDArray[np.uint8]]) -> Pixels:
        return pack(images, self._device.buffer(sum(image.size for image in images)).numpy())

    def start(self, pixels: Pixels) -> Wait:
        import torch

        num = len(pixels)
        with torch.inference_mode():
            data = self._device.send(torch.from_numpy(pixels.data))
            if pixels.shape == self.size:
                batch = data.view(num, *self.size, 3)
            else:
                ranges = zip(pixels.starts(), pixels.shapes, strict=False)
                images = [data[at : at + 3 * height * width].view(height, width, 3) for at, (height, width) in ranges]
                batch = fit_images(images, self._encoder.preprocess)
            if self._pads:
                self._padded = max(self._padded, num)
                batch = torch.cat([batch, batch.new_zeros((self._padded - num, *batch.shape[1:]))])
            fetched = self._device.fetch(self._encoder.on_device(batch)[:num])

        held = [pixels]

        def wait() -> NDArray[np.float32]:
            vectors = fetched()
            # Not before: until now the device may have been reading them.
            held.clear()
            return self._encoder.checked(vectors)

        return wait

    def release(self) -> None:
        self._padded = 0
        self._device.release()


def make_runner(encoder: Encoder, *, is_compiled: bool = False) -> Runner:
    """For that encoder where it is."""
    if encoder.device != "cuda":
        return HostRunner(encoder)
    assert isinstance(encoder, DeviceEncoder), f"{encoder.name} says that it is on a GPU"
    if is_compiled:
        encoder.compile()
    return DeviceRunner(encoder, CudaDevice(), pads=is_compiled)


def resize_place(setting: Literal["auto", "cpu", "gpu"], encoder: Encoder) -> Literal["cpu", "gpu"]:
    """Where images are brought to the encoder's size: ``auto`` and ``gpu`` mean the GPU only if the encoder is on one."""
    return "gpu" if setting != "cpu" and encoder.device == "cuda" else "cpu"
