"""Makes one part: its shards are read, decoded in worker processes and encoded, the three overlapping; written while the next is
made."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import RunConfig
from scanner.core.errors import BrokenShardError
from scanner.core.ids import image_id
from scanner.core.progress import Bar
from scanner.core.store import Part, Store
from scanner.core.vectors import READY
from scanner.embed.batches import Batch
from scanner.embed.feed import CPU_BATCH, Feed, find_batch_size
from scanner.embed.prefetch import prefetch
from scanner.embed.registry import ShardRow
from scanner.embed.rows import PartRows
from scanner.embed.runner import Runner, make_runner, resize_place
from scanner.embed.writer import Writer
from scanner.images.prepare import ImageLimits, ImagePreparer
from scanner.models.encoders import Encoder
from scanner.models.loading import load_encoder
from scanner.sources.base import Sample, Source

READY_ROWS = 8192
"""Vectors that are taken over at once where the source holds them."""

_Numbered = tuple[int, ShardRow, Sample]
"""A sample with its image_id, and the shard that it is of."""

Choose = Callable[[Callable[[], int]], int]
"""Decides on ``batch_size: auto`` of a GPU, given what measures it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartPlan:
    """A part to be: its shards, and the two files it becomes."""

    shards: tuple[ShardRow, ...]
    images: Part
    embeddings: Part


@dataclass(kw_only=True, slots=True)
class Work:
    """What making parts took. ``seconds_encoding`` of all processes together; preparing overlaps them."""

    num_images_read: int = 0
    num_decoded: int = 0
    seconds_encoding: float = 0.0
    peak_worker_memory_bytes: int = 0

    def add(self, other: Work) -> None:
        """The same of another process."""
        self.num_images_read += other.num_images_read
        self.num_decoded += other.num_decoded
        self.seconds_encoding += other.seconds_encoding
        self.peak_worker_memory_bytes = max(self.peak_worker_memory_bytes, other.peak_worker_memory_bytes)


class PartMaker:
    """All that parts are made with: encoder, decoding workers, a thread that writes. A context manager.

    Args:
        learn: told of each shard how many rows it had, and how many were expected.
        choose: of ``batch_size: auto`` on a GPU; by default what is measured.

    Attributes:
        encoder: loaded at first use, as a rerun that has nothing to encode needs no weights.
    """

    def __init__(
        self,
        store: Store,
        config: RunConfig,
        sources: dict[str, Source],
        *,
        learn: Callable[[int, int], None] = lambda num_rows, num_expected: None,
        choose: Choose = lambda measure: measure(),
    ) -> None:
        self.store, self.config, self.sources = store, config, sources
        self.ready_dim = next((source.embedding_dim for source in sources.values()), None)
        self.encoder: Encoder | None = None
        self._learn, self._choose = learn, choose
        self._stack = ExitStack()
        self._writer = Writer()
        self._runner: Runner | None = None
        self._feed: Feed | None = None
        self._preparer: ImagePreparer | None = None
        self._num_read = 0

    def __enter__(self) -> Self:
        self._stack.enter_context(self._writer)
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def wait(self) -> None:
        """Until every part that was made is written."""
        self._writer.wait()

    def work(self) -> Work:
        """What was done so far."""
        preparer = self._preparer
        return Work(
            num_images_read=self._num_read,
            num_decoded=preparer.num_decoded if preparer else 0,
            seconds_encoding=self._feed.seconds if self._feed else 0.0,
            peak_worker_memory_bytes=preparer.peak_worker_memory_bytes() if preparer else 0,
        )

    def make(self, plan: PartPlan, bar: Bar) -> None:
        """Reads, decodes and encodes the shards of a part; its files are written while the next is made, where they are not
        there yet. ``bar`` is told of images as they are done.

        Raises:
            EncoderError: see ``load_encoder`` and ``Feed.run``.
            Exception: what writing the part before raised.
        """
        rows, shards = PartRows(), {row.shard_id: row for row in plan.shards}
        facts: dict[int, dict[str, Any]] = {}
        samples = self._samples(plan, facts, bar)
        found: Iterator[tuple[list[int], NDArray[np.float32]]]
        if self.ready_dim:
            found = prefetch(self._ready(samples, rows), depth=2)
        else:
            feed = self.get_feed()
            feed.begin_part()
            found = feed.run(prefetch(self._batches(samples, rows), depth=2))
        told = 0
        for ids, vectors in found:
            if ids:
                rows.add_embeddings(ids, vectors)
            # Read once: the thread that reads adds to it meanwhile.
            num_images = rows.num_images
            bar.advance(num_images - told)
            told = num_images
        bar.advance(rows.num_images - told)
        self._num_read += rows.num_images
        assert set(facts) == set(shards), "every shard of a part is accounted for"
        metadata = self._metadata()
        dim = self.ready_dim or self.get_encoder().dim
        self._writer.write(partial(_write, self.store, plan, rows, dim=dim, metadata=metadata, facts=facts))

    def get_encoder(self) -> Encoder:
        if self.encoder is None:
            settings = self.config.encoder
            self.encoder = load_encoder(settings.name, device=self.config.compute.device, precision=settings.precision)
        return self.encoder

    def get_feed(self) -> Feed:
        if self._feed is None:
            runner = self._get_runner()
            size = self.config.encoder.batch_size
            if size == "auto":
                size = CPU_BATCH if runner.depth == 0 else self._choose(partial(find_batch_size, runner))
            self._feed = Feed(runner, size=size)
        return self._feed

    def get_preparer(self) -> ImagePreparer:
        if self._preparer is None:
            encoder, workers = self.get_encoder(), self.config.compute.workers
            self._preparer = self._stack.enter_context(
                ImagePreparer(
                    encoder.preprocess,
                    ImageLimits.of(self.config.images),
                    workers=os.cpu_count() or 1 if workers == "auto" else workers,
                    is_fitted_later=self._resized_on == "gpu",
                )
            )
        return self._preparer

    def _get_runner(self) -> Runner:
        if self._runner is None:
            self._runner = make_runner(self.get_encoder(), is_compiled=self.config.compute.compile_encoder)
        return self._runner

    @property
    def _resized_on(self) -> Literal["cpu", "gpu"]:
        return resize_place(self.config.compute.resize, self.get_encoder())

    def _samples(self, plan: PartPlan, facts: dict[int, dict[str, Any]], bar: Bar) -> Iterator[_Numbered]:
        """Samples of the part's shards with their ids; notes how each shard ended."""
        for row in plan.shards:
            count, status, message = 0, "current", None
            try:
                for sample in self.sources[row.dataset].samples(row.shard):
                    yield image_id(row.shard_id, count), row, sample
                    count += 1
            except BrokenShardError as error:
                status, message = "broken", error.message
                bar.say(f"{row.dataset}/{row.url}: {error.message} ({count:,} rows kept)")
            facts[row.shard_id] = {"num_rows": count, "status": status, "error_message": message}
            self._learn(count, row.num_rows_estimate)

    def _batches(self, samples: Iterator[_Numbered], rows: PartRows) -> Generator[Batch]:
        """Batches of decoded images, never across parts; rows of ``images`` are noted on the way."""

        def with_bytes() -> Iterator[tuple[_Numbered, bytes]]:
            for id_, row, sample in samples:
                if sample.data is None:
                    rows.add_image(id_, row.dataset, sample, None)
                    continue
                data, sample.data = sample.data, None
                yield (id_, row, sample), data

        runner, feed = self._get_runner(), self.get_feed()
        ids: list[int] = []
        images: list[NDArray[np.uint8]] = []
        for (id_, row, sample), facts_of, array in self.get_preparer().prepare(with_bytes()):
            rows.add_image(id_, row.dataset, sample, facts_of)
            if array is None:
                continue
            ids.append(id_)
            images.append(array)
            if len(ids) >= feed.size:
                yield Batch(ids=ids, pixels=runner.pack(images))
                ids, images = [], []
        if ids:
            yield Batch(ids=ids, pixels=runner.pack(images))

    def _ready(self, samples: Iterator[_Numbered], rows: PartRows) -> Generator[tuple[list[int], NDArray[np.float32]]]:
        """Embeddings that the source holds, brought to unit length; what has no length is a row ``unreadable``."""
        ids: list[int] = []
        vectors: list[NDArray[np.float32]] = []
        for id_, row, sample in samples:
            vector = sample.embedding
            if vector is not None:
                norm = float(np.linalg.norm(vector))
                if not np.isfinite(norm) or norm == 0:
                    sample.status, sample.error_message, vector = "unreadable", "embedding has no finite length above zero", None
                else:
                    vector = vector / np.float32(norm)
            rows.add_image(id_, row.dataset, sample, None)
            if vector is not None:
                ids.append(id_)
                vectors.append(vector)
            if len(ids) == READY_ROWS:
                yield ids, np.stack(vectors)
                ids, vectors = [], []
        if ids:
            yield ids, np.stack(vectors)

    def _metadata(self) -> dict[str, str]:
        """What made the vectors of the part that was just made."""
        if self.ready_dim:
            return {"encoder": READY, "dim": str(self.ready_dim)}
        encoder = self.get_encoder()
        found = {
            "encoder": encoder.name,
            "dim": str(encoder.dim),
            "weights_digest": encoder.weights_digest,
            "preprocess_id": encoder.preprocess.id,
            "device": encoder.device,
            "precision": encoder.precision,
            # More than one where memory ran out within the part, in their order.
            "batch_size": ", ".join(map(str, self.get_feed().sizes)),
        }
        if encoder.device == "cuda":
            found |= {"resized_on": self._resized_on, "is_compiled": str(self.config.compute.compile_encoder).lower()}
        return found


def _write(
    store: Store, plan: PartPlan, rows: PartRows, *, dim: int, metadata: dict[str, str], facts: dict[int, dict[str, Any]]
) -> None:
    """Both files of a part. That of ``images`` comes last and says that the part is whole."""
    if not store.has_part("embeddings", plan.embeddings):
        store.write_part("embeddings", plan.embeddings, rows.embeddings(dim), metadata=metadata)
    if not store.has_part("images", plan.images):
        store.write_part("images", plan.images, rows.images(), metadata={"shards": json.dumps(facts)})
