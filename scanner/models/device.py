"""The GPU as those who feed an encoder see it: copies that run beside the arithmetic, and memory that runs out.

``Device`` is all that the feeding of an encoder knows of CUDA, so that its order of events is tested without a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

_NO_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What RuntimeErrors of torch say that stand for a failed allocation and are no ``torch.OutOfMemoryError``."""


class Device(Protocol):
    """Memory that it reads by itself, a queue of copies to it, and a queue of arithmetic."""

    def buffer(self, num_bytes: int) -> torch.Tensor:
        """Memory of the host, uint8 (num_bytes,), that ``send`` copies from without the host's help."""

    def send(self, data: torch.Tensor) -> torch.Tensor:
        """A copy of ``data`` on the device. Returns at once; arithmetic that uses the copy waits for it on the device, and
        ``data`` stays as it is until the results of that arithmetic have come."""

    def fetch(self, result: torch.Tensor) -> Callable[[], NDArray[np.float32]]:
        """Starts to copy a result to the host. Returns at once; the call that it returns waits, and gives the values."""

    def release(self) -> None:
        """Waits for all that is under way and gives memory that is kept for reuse back."""


class CudaDevice:
    """A CUDA GPU: the current one of this process."""

    def __init__(self) -> None:
        import torch

        self._copies = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def buffer(self, num_bytes: int) -> torch.Tensor:
        """See ``Device``: page-locked, from torch's own cache of such memory, since locking pages takes milliseconds."""
        import torch

        return torch.empty(num_bytes, dtype=torch.uint8, pin_memory=True)

    def send(self, data: torch.Tensor) -> torch.Tensor:
        """See ``Device``: on a stream of its own, so that a batch is copied while the one before is computed."""
        import torch

        arithmetic = torch.cuda.current_stream()
        with torch.cuda.stream(self._copies):
            copy = data.to("cuda", non_blocking=True)
        arithmetic.wait_stream(self._copies)
        # Made on one stream and used on another: not to be given to the next batch before that use is over.
        copy.record_stream(arithmetic)
        return copy

    def fetch(self, result: torch.Tensor) -> Callable[[], NDArray[np.float32]]:
        """See ``Device``."""
        import torch

        host = torch.empty(result.shape, dtype=torch.float32, pin_memory=True)
        host.copy_(result, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream())

        def wait() -> NDArray[np.float32]:
            done.synchronize()
            # Out of page-locked memory, which is scarce: vectors of a whole part are kept.
            values: NDArray[np.float32] = host.numpy().copy()
            return values

        return wait

    def release(self) -> None:
        """See ``Device``."""
        import torch

        torch.cuda.synchronize()
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of a GPU or of the host."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def visible_gpus() -> list[str]:
    """The GPUs that can be used here, each as ``CUDA_VISIBLE_DEVICES`` names it. Takes no memory on any."""
    import torch

    if not torch.cuda.is_available():
        return []
    count = torch.cuda.device_count()
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in given.split(",")] if given else [str(index) for index in range(count)]
    return names[:count]
