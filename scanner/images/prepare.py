"""Encoded images in, facts and encoder-ready pixels out, decoded in worker processes that may die of them."""

from __future__ import annotations

import functools
import hashlib
import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from scanner.core.engine import TaskFailure, WorkerPool
from scanner.core.preprocess import Preprocess
from scanner.images.decode import UnusableImageError, decode, raise_if_memory
from scanner.images.device_fit import can_fit
from scanner.images.geometry import fit
from scanner.images.hashes import is_blank, perceptual_hash, thumbnail
from scanner.images.pdq import Pdq, pdq

if TYPE_CHECKING:
    from scanner.core.config import ImagesConfig

T = TypeVar("T")

Prepared = tuple["ImageFacts", NDArray[np.uint8] | None]

ImageStatus = Literal["ok", "unreadable", "too_small", "too_large", "missing"]

CHUNK_IMAGES = 16
CHUNK_BYTES = 4 * 2**20
"""A task of the pool: this many images, or fewer that reach this many encoded bytes together. One at a time they cost a
fifth more, most of it for waking processes."""

PRELOAD = ("torch", "torchvision.io", "PIL.Image", "PIL.AvifImagePlugin", "PIL.WebPImagePlugin", "scanner.images.prepare")
"""What decoding imports: known to the server that workers are forked from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageLimits:
    """Bounds on what an image may cost. Images outside become rows with a status.

    Attributes:
        max_pixels: width x height, judged from the header.
        min_side: pixels of the shorter side.
        timeout_s: seconds of wall clock for one image.
        memory_bytes: of address space, on top of what a worker takes before its first image.
    """

    max_pixels: int = 100_000_000
    min_side: int = 8
    timeout_s: float = 20.0
    memory_bytes: int = 2 * 2**30

    @classmethod
    def of(cls, images: ImagesConfig) -> ImageLimits:
        """As the config has them."""
        return cls(
            max_pixels=images.max_pixels, min_side=images.min_side, timeout_s=images.timeout_s,
            memory_bytes=images.memory_mb << 20,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFacts:
    """What table ``images`` says of an image; its docstrings in ``core.schemas`` hold for the fields here.

    ``pixel_digest`` (sha256 of size and pixels) and ``pdq`` are of no table, and there where they were asked for.
    """

    sha256: bytes | None = None
    phash: int | None = None
    width: int | None = None
    height: int | None = None
    num_bytes: int | None = None
    is_blank: bool | None = None
    status: ImageStatus = "ok"
    error_message: str | None = None
    pixel_digest: bytes | None = None
    pdq: Pdq | None = None


def prepare_image(
    data: bytes,
    *,
    preprocess: Preprocess,
    limits: ImageLimits,
    has_pixel_digest: bool = False,
    has_pdq: bool = False,
    is_fitted_later: bool = False,
) -> Prepared:
    """Facts of one image and, if it is usable, its pixels (h, w, 3) at ``preprocess.size``. In this very process.

    Of ``limits`` only those on pixels are kept here; time and memory are the pool's. With ``is_fitted_later`` an image keeps
    its size where ``device_fit.fit_images`` can take it.
    """
    sha256 = hashlib.sha256(data).digest()
    try:
        pixels = decode(data, max_pixels=limits.max_pixels, min_side=limits.min_side)
    except UnusableImageError as error:
        facts = ImageFacts(
            sha256=sha256,
            width=error.width,
            height=error.height,
            num_bytes=len(data),
            status=error.status,
            error_message=error.message,
        )
        return facts, None
    height, width, _ = pixels.shape
    small = thumbnail(pixels)
    facts = ImageFacts(
        sha256=sha256,
        phash=perceptual_hash(small),
        width=width,
        height=height,
        num_bytes=len(data),
        is_blank=is_blank(pixels, small),
        pixel_digest=hashlib.sha256(b"%d %d " % (width, height) + pixels.tobytes()).digest() if has_pixel_digest else None,
        pdq=pdq(pixels) if has_pdq else None,
    )
    if is_fitted_later and can_fit(height, width, preprocess):
        return facts, pixels
    return facts, fit(pixels, preprocess)


class ImagePreparer:
    """Prepares images in worker processes, in order, each decoded once. A context manager.

    Images go to the workers in chunks. Of a chunk that kills its worker, by time, memory or crash, each image is tried
    again alone, so that only the guilty one becomes a row without pixels.

    The calling thread feeds the workers while it waits for the next image; to keep them busy while something else is
    computed, iterate in a thread of its own.

    Args:
        preprocess: what the encoder wants.
        limits: of the images.
        workers: processes; by default one a CPU core.
        has_pixel_digest: whether facts carry one; it costs about a millisecond a megapixel.
        has_pdq: whether facts carry a PDQ hash.
        is_fitted_later: pixels of images that ``device_fit.can_fit`` takes keep their size.

    Attributes:
        num_decoded: images prepared, each counted once.
        num_retried: of them, those given to a worker a second time because a chunk failed.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        limits: ImageLimits | None = None,
        workers: int | None = None,
        *,
        has_pixel_digest: bool = False,
        has_pdq: bool = False,
        is_fitted_later: bool = False,
    ) -> None:
        self.preprocess = preprocess
        self.has_pixel_digest = has_pixel_digest
        self.has_pdq = has_pdq
        self.is_fitted_later = is_fitted_later
        self.limits = limits or ImageLimits()
        self.num_decoded = 0
        self.num_retried = 0
        self._pool = self._new_pool(workers or os.cpu_count() or 1)
        self._single_pool = self._new_pool(1)

    def _new_pool(self, workers: int) -> WorkerPool[list[bytes], list[Prepared]]:
        return WorkerPool(
            functools.partial(
                _prepare_chunk,
                preprocess=self.preprocess,
                limits=self.limits,
                has_pixel_digest=self.has_pixel_digest,
                has_pdq=self.has_pdq,
                is_fitted_later=self.is_fitted_later,
            ),
            workers=workers,
            timeout_s=self.limits.timeout_s,
            memory_bytes=self.limits.memory_bytes,
            preload=PRELOAD,
            setup=functools.partial(_set_up_worker, self.preprocess),
        )

    def __enter__(self) -> Self:
        self._pool.__enter__()  # the other starts when it is needed
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def peak_worker_memory_bytes(self) -> int:
        """Highest resident memory of a worker that is alive now."""
        return self._pool.peak_memory_bytes()

    def close(self) -> None:
        """Stop the workers."""
        self._pool.close()
        self._single_pool.close()

    def prepare(self, items: Iterable[tuple[T, bytes]]) -> Iterator[tuple[T, ImageFacts, NDArray[np.uint8] | None]]:
        """Facts and pixels of (anything, encoded image), in order; items are pulled a bounded number ahead.

        The first of each pair stays in this process and comes back as it is. Pixels are (h, w, 3) uint8 of
        ``preprocess.size`` (or of their own, see ``is_fitted_later``), None unless the status is ``ok``.

        Raises:
            RuntimeError: the workers cannot start, or preparing failed by a mistake of ours (with the worker's traceback).
        """
        labels: deque[T] = deque()

        def images() -> Iterator[bytes]:
            for label, data in items:
                labels.append(label)
                yield data

        for outcome in self._pool.map(_chunks(images())):
            results = self._retry(outcome) if isinstance(outcome, TaskFailure) else outcome
            for facts, pixels in results:
                self.num_decoded += 1
                yield labels.popleft(), facts, pixels

    def _retry(self, failure: TaskFailure[list[bytes]]) -> Iterator[Prepared]:
        if failure.reason == "error":
            raise RuntimeError(f"preparing an image failed: {failure.message}\n{failure.traceback}")
        if len(failure.item) == 1:
            yield self._failed(failure), None
            return
        self.num_retried += len(failure.item)
        for outcome in self._single_pool.map([data] for data in failure.item):
            if isinstance(outcome, TaskFailure):
                yield from self._retry(outcome)
            else:
                yield from outcome

    def _failed(self, failure: TaskFailure[list[bytes]]) -> ImageFacts:
        (data,) = failure.item
        status: ImageStatus = "unreadable"
        message = "the decoder crashed"
        if failure.reason == "timeout":
            message = f"decoding took longer than {self.limits.timeout_s:g} s"
        elif failure.reason == "memory":
            status, message = "too_large", f"decoding needs more than {self.limits.memory_bytes / 2**20:,.0f} MiB of memory"
        return ImageFacts(
            sha256=hashlib.sha256(data).digest(),
            num_bytes=len(data),
            status=status,
            error_message=message,
        )


def _chunks(images: Iterable[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    num_bytes = 0
    for data in images:
        if chunk and (len(chunk) == CHUNK_IMAGES or num_bytes + len(data) > CHUNK_BYTES):
            yield chunk
            chunk, num_bytes = [], 0
        chunk.append(data)
        num_bytes += len(data)
    if chunk:
        yield chunk


def _prepare_chunk(
    chunk: list[bytes],
    *,
    preprocess: Preprocess,
    limits: ImageLimits,
    has_pixel_digest: bool,
    has_pdq: bool,
    is_fitted_later: bool,
) -> list[Prepared]:
    prepare = functools.partial(
        prepare_image, preprocess=preprocess, limits=limits, has_pixel_digest=has_pixel_digest, has_pdq=has_pdq,
        is_fitted_later=is_fitted_later,
    )  # fmt: skip
    try:
        return [prepare(data) for data in chunk]
    except RuntimeError as error:
        raise_if_memory(error)
        raise


def _set_up_worker(preprocess: Preprocess) -> None:
    """Make a process fit to decode untrusted images, and touch all that is initialised lazily before memory is limited."""
    import io

    import torch
    from PIL import AvifImagePlugin, Image

    torch.set_num_threads(1)  # the workers are the parallelism
    # The encoder waits for its slowest thread: a decoder that takes that thread's core stops all of them.
    os.nice(19)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    Image.MAX_IMAGE_PIXELS = None  # the limit is ours, and the size is wanted for the row
    warnings.simplefilter("ignore")
    # The C libraries write warnings about damaged files here, thousands in a large set; errors travel by the pipe.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    for format_ in ("JPEG", "PNG"):
        file = io.BytesIO()
        Image.new("RGB", (64, 48), (90, 120, 150)).save(file, format_)
        prepare_image(file.getvalue(), preprocess=preprocess, limits=ImageLimits())
