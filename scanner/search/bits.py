"""bf16 numbers by their bits, which numpy compares and copies many times faster than torch does the numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def rows_at(bounds: torch.Tensor, places: NDArray[np.int64]) -> torch.Tensor:
    """(m, w): rows of a tensor at these places. numpy copies whole rows, in a tenth of the time that torch's indexing takes."""
    import torch

    bits = bounds.view(torch.int16) if bounds.dtype == torch.bfloat16 else bounds
    return torch.from_numpy(np.take(bits.numpy(), places, axis=0)).view(bounds.dtype)


def as_sortable(values: torch.Tensor) -> NDArray[np.float32] | NDArray[np.int16]:
    """fp32 numbers as they are; bf16 ones as their 16 bits.

    Positive bf16 numbers are in the order of their bits; negative ones have the sign bit and lie below. So they compare rightly
    with a positive number, in a twentieth of the time that bf16 takes.
    """
    import torch

    bits = values.view(torch.int16) if values.dtype == torch.bfloat16 else values
    plain: NDArray[np.float32] | NDArray[np.int16] = bits.numpy()
    return plain


def as_ordered(values: torch.Tensor) -> NDArray[np.float32] | NDArray[np.int16]:
    """As ``as_sortable``, negative numbers in their order too: of those all bits but the sign are turned over, in a copy."""
    import torch

    if values.dtype != torch.bfloat16:
        return as_sortable(values)
    bits: NDArray[np.int16] = values.view(torch.int16).numpy()
    turned = bits >> np.int16(15)
    turned &= np.int16(0x7FFF)
    turned ^= bits
    return turned


def sortable(value: float, dtype: torch.dtype) -> np.float32 | np.int16:
    """A positive number in the form that ``as_sortable`` compares."""
    import torch

    assert value > 0
    return np.float32(value) if dtype == torch.float32 else np.int16(torch.tensor(value, dtype=dtype).view(torch.int16))


def rounded_down(value: float, dtype: torch.dtype) -> float:
    """The largest number of that type not above ``value``: rounding is monotone, so nothing at or above it falls below."""
    import torch

    rounded = torch.tensor(value, dtype=dtype)
    if float(rounded) > value:
        rounded = torch.nextafter(rounded, torch.tensor(-float("inf"), dtype=dtype))
    return float(rounded)
