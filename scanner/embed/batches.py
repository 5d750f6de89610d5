"""Images on their way to the encoder: packed into one buffer a batch, cut where memory does not hold it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pixels:
    """Images (h, w, 3), one after another, so that one copy brings all of them to a device.

    Attributes:
        data: uint8 (num_bytes,).
        shapes: (height, width) of each.
    """

    data: NDArray[np.uint8]
    shapes: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.shapes)

    @property
    def shape(self) -> tuple[int, int] | None:
        """(height, width) where all have the same."""
        return self.shapes[0] if len(set(self.shapes)) == 1 else None

    def starts(self) -> list[int]:
        """Offset of each image in ``data``, and the end."""
        return [0, *np.cumsum([3 * height * width for height, width in self.shapes]).tolist()]

    def cut(self, first: int, last: int) -> Pixels:
        """Images ``first`` to ``last``, in the same memory."""
        starts = self.starts()
        return Pixels(data=self.data[starts[first] : starts[last]], shapes=self.shapes[first:last])

    def stacked(self) -> NDArray[np.uint8]:
        """(n, h, w, 3) of images of one size, in the same memory."""
        assert self.shape is not None, "images of several sizes are no array"
        return self.data.reshape(len(self), *self.shape, 3)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Images that go through the encoder together, by their ids."""

    ids: list[int]
    pixels: Pixels

    def cut(self, first: int, last: int) -> Batch:
        return Batch(ids=self.ids[first:last], pixels=self.pixels.cut(first, last))


def sizes_of(images: list[NDArray[np.uint8]]) -> tuple[tuple[int, int], ...]:
    """(height, width) of each."""
    return tuple((image.shape[0], image.shape[1]) for image in images)


def pack(images: list[NDArray[np.uint8]], data: NDArray[np.uint8]) -> Pixels:
    """Copies images into ``data``, which has exactly their size."""
    pixels = Pixels(data=data, shapes=sizes_of(images))
    starts = pixels.starts()
    assert starts[-1] == len(data), (starts[-1], len(data))
    for image, start in zip(images, starts, strict=False):
        data[start : start + image.size] = image.reshape(-1)
    return pixels
