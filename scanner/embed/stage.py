"""One pass over the sources: every byte read once, every image decoded once; tables ``shards``, ``images`` and ``embeddings``.

Parts are made one after another. A part whose name exists is finished and kept; a part that only lost shards (superseded ones)
is copied without them; all else is read, decoded in worker processes and encoded, the three overlapping.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import RunConfig, fingerprint
from scanner.core.errors import BrokenShardError, ConfigError
from scanner.core.ids import SHARD_BITS, image_id
from scanner.core.progress import Bar, Progress
from scanner.core.schemas import TABLES
from scanner.core.store import Part, Store
from scanner.core.vectors import READY
from scanner.embed.prefetch import prefetch
from scanner.embed.registry import ShardRow, commit_shards, read_shards, register
from scanner.embed.rows import PartRows
from scanner.images.prepare import ImageLimits, ImagePreparer
from scanner.models.encoders import Encoder
from scanner.models.loading import encoder_identity, load_encoder
from scanner.sources.base import Sample, Source

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("scanner.embed")


@dataclass(kw_only=True)
class EmbedResult:
    """What the pass did. Seconds of ``encode`` are inside ``seconds``; preparing overlaps them."""

    num_shards: int = 0
    num_parts: int = 0
    num_parts_made: int = 0
    num_images: int = 0
    num_images_read: int = 0
    num_embedded: int = 0
    seconds: float = 0.0
    seconds_encoding: float = 0.0
    num_decoded: int = 0
    peak_worker_memory_bytes: int = 0
    encoder: str = ""
    dim: int = 0
    weights_digest: str = ""
    precision: str = ""

    def encoder_facts(self) -> dict[str, str | int]:
        """What made the vectors, for run.yaml: equal in two runs exactly when their vectors may be compared."""
        return {"name": self.encoder, "weights_digest": self.weights_digest, "dim": self.dim, "precision": self.precision}

    @property
    def images_per_s(self) -> float:
        return self.num_images_read / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _PartPlan:
    """A part to be: its shards, and the two files it becomes."""

    shards: tuple[ShardRow, ...]
    images: Part
    embeddings: Part


@dataclass(frozen=True, kw_only=True, slots=True)
class _Batch:
    """Images that go through the encoder together; ``pixels`` (n, h, w, 3) uint8, or ready ``vectors`` (n, dim)."""

    ids: list[int]
    pixels: NDArray[np.uint8] | None = None
    vectors: NDArray[np.float32] | None = None


class EmbedStage:
    """The pass over ``sources`` (dataset name to source) into ``store``."""

    def __init__(self, store: Store, config: RunConfig, sources: dict[str, Source], progress: Progress) -> None:
        self.store, self.config, self.sources, self.progress = store, config, sources, progress
        self.result = EmbedResult()
        self._encoder: Encoder | None = None
        self._preparer: ImagePreparer | None = None
        self._stack = ExitStack()
        self._bar: Bar
        self._expected = self._read = self._read_expected = 0
        dims = {name: source.embedding_dim for name, source in sources.items()}
        if len(set(dims.values())) > 1:
            found = ", ".join(f"{name}: {dim or 'images'}" for name, dim in dims.items())
            raise ConfigError(
                f"The sources do not agree on embeddings: {found}.",
                next_step="Scan images, or ready embeddings of one dimension, not both.",
            )
        self.ready_dim = next(iter(dims.values()), None)

    def run(self) -> EmbedResult:
        """Brings the three tables up to date and commits them.

        Raises:
            SourceError, EncoderError: see ``open_source`` and ``load_encoder``.
        """
        start = time.perf_counter()
        rows = register(read_shards(self.store), self.sources, part_rows=self.config.store.part_rows)
        commit_shards(self.store, rows)
        plans = self._plans(rows)
        images: list[Part] = []
        embeddings: list[Part] = []
        facts: dict[int, dict[str, Any]] = {}
        self._expected = sum(row.num_rows_estimate for plan in plans if not self._is_done(plan) for row in plan.shards)
        with self._stack, self.progress.bar("embed", total=self._expected, unit="images", is_estimate=True) as bar:
            self._bar = bar
            for plan in plans:
                made = self._finish(plan)
                images.append(made.images)
                embeddings.append(made.embeddings)
                facts |= self._shard_facts(made.images)
            if self._preparer is not None:
                self.result.num_decoded = self._preparer.num_decoded
                self.result.peak_worker_memory_bytes = self._preparer.peak_worker_memory_bytes()
        self.store.commit("embeddings", embeddings, metadata=self._embedding_metadata(embeddings))
        self.store.commit("images", images)
        commit_shards(self.store, (replace(row, **facts[row.shard_id]) if row.shard_id in facts else row for row in rows))
        result = self.result
        result.num_shards = sum(len(plan.shards) for plan in plans)
        result.num_parts, result.seconds = len(plans), time.perf_counter() - start
        result.num_images, result.num_embedded = sum(p.num_rows for p in images), sum(p.num_rows for p in embeddings)
        return result

    def _plans(self, rows: list[ShardRow]) -> list[_PartPlan]:
        """Parts and their names, in order. The names carry all that their content depends on."""
        config = self.config
        # How a source is read belongs to its own shards, so that a further source leaves the parts of the others alone.
        options = {s.dataset: [s.format, s.caption_column, s.image_column] for s in config.sources}
        versions = [TABLES["images"].version, TABLES["embeddings"].version]
        limits = fingerprint(versions, config.images)
        encoder = [READY, self.ready_dim] if self.ready_dim else [encoder_identity(config.encoder.name), config.encoder]
        by_part: defaultdict[int, list[ShardRow]] = defaultdict(list)
        for row in rows:
            if row.status != "superseded":
                by_part[row.part].append(row)
        plans = []
        for index, shards in sorted(by_part.items()):
            inputs = {str(row.shard_id): fingerprint(*row.identity, options[row.dataset])[:16] for row in shards}
            plans.append(
                _PartPlan(
                    shards=tuple(shards),
                    images=_part(index, limits, inputs),
                    embeddings=_part(index, fingerprint(limits, encoder), inputs),
                )
            )
        return plans

    def _is_done(self, plan: _PartPlan) -> bool:
        return self.store.has_part("images", plan.images) and self.store.has_part("embeddings", plan.embeddings)

    def _finish(self, plan: _PartPlan) -> _PartPlan:
        """Both files of a part, made only where they are not there yet."""
        store = self.store
        if not self._is_done(plan):
            self.result.num_parts_made += 1
            if not self._copy(plan):
                self._make(plan)
        num_images, _ = store.part_metadata("images", plan.images)
        num_embedded, _ = store.part_metadata("embeddings", plan.embeddings)
        return replace(
            plan, images=replace(plan.images, num_rows=num_images), embeddings=replace(plan.embeddings, num_rows=num_embedded)
        )

    def _copy(self, plan: _PartPlan) -> bool:
        """Writes the part from an older one that held all its shards and more; False where there is none."""
        import pyarrow.compute as pc

        older = {}
        for table, part in (("images", plan.images), ("embeddings", plan.embeddings)):
            manifest = self.store.manifest(table)
            matches = [
                old
                for old in (manifest.parts if manifest else ())
                if old.index == part.index and part.inputs.items() <= old.inputs.items()
            ]
            if not matches or not self.store.has_part(table, matches[0]):
                return False
            older[table] = matches[0]
        keep = {row.shard_id for row in plan.shards}
        for table, part in (("images", plan.images), ("embeddings", plan.embeddings)):
            rows = self.store.read_part(table, older[table])
            _, metadata = self.store.part_metadata(table, older[table])
            shard_ids = pc.shift_right(rows["image_id"], SHARD_BITS)
            rows = rows.filter(pc.is_in(shard_ids, value_set=_int64(sorted(keep))))
            if table == "images":
                known = json.loads(metadata["shards"])
                metadata = {"shards": json.dumps({id_: known[id_] for id_ in known if int(id_) in keep})}
            self.store.write_part(table, part, rows, metadata=_own(metadata))
        return True

    def _make(self, plan: _PartPlan) -> None:
        """Reads, decodes and encodes the shards of a part and writes both its files."""
        rows, shards = PartRows(), {row.shard_id: row for row in plan.shards}
        facts: dict[int, dict[str, Any]] = {}
        batches = self._ready_batches(plan, rows, facts) if self.ready_dim else self._pixel_batches(plan, rows, facts)
        read_before = 0
        for batch in prefetch(batches, depth=2):
            vectors = batch.vectors
            if batch.pixels is not None:
                encoder = self._get_encoder()
                start = time.perf_counter()
                vectors = encoder.encode(batch.pixels)
                self.result.seconds_encoding += time.perf_counter() - start
            if vectors is not None and len(batch.ids):
                rows.add_embeddings(batch.ids, vectors)
            self._bar.advance(rows.num_images - read_before)
            read_before = rows.num_images
        self.result.num_images_read += rows.num_images
        assert set(facts) == set(shards), "every shard of a part is accounted for"
        dim = self.ready_dim or self._get_encoder().dim
        if not self.store.has_part("embeddings", plan.embeddings):
            self.store.write_part("embeddings", plan.embeddings, rows.embeddings(dim), metadata=self._encoder_metadata(dim))
        if not self.store.has_part("images", plan.images):
            self.store.write_part("images", plan.images, rows.images(), metadata={"shards": json.dumps(facts)})

    def _samples(self, plan: _PartPlan, facts: dict[int, dict[str, Any]]) -> Iterator[tuple[int, ShardRow, Sample]]:
        """Samples of the part's shards with their ids; notes how each shard ended."""
        for row in plan.shards:
            count, status, message = 0, "current", None
            try:
                for sample in self.sources[row.dataset].samples(row.shard):
                    yield image_id(row.shard_id, count), row, sample
                    count += 1
            except BrokenShardError as error:
                status, message = "broken", error.message
                self._bar.say(f"{row.dataset}/{row.url}: {error.message} ({count:,} rows kept)")
            facts[row.shard_id] = {"num_rows": count, "status": status, "error_message": message}
            self._learn(count, row.num_rows_estimate)

    def _learn(self, num_rows: int, num_expected: int) -> None:
        """Scales what is still expected by how the shards read so far compare with their estimates."""
        self._read, self._read_expected = self._read + num_rows, self._read_expected + num_expected
        if self._read_expected:
            self._bar.expect(round(self._expected * self._read / self._read_expected))

    def _pixel_batches(self, plan: _PartPlan, rows: PartRows, facts: dict[int, dict[str, Any]]) -> Generator[_Batch]:
        """Batches of decoded images, never across parts; rows of ``images`` are noted on the way."""

        def with_bytes() -> Iterator[tuple[tuple[int, ShardRow, Sample], bytes]]:
            for id_, row, sample in self._samples(plan, facts):
                if sample.data is None:
                    rows.add_image(id_, row.dataset, sample, None)
                    continue
                data, sample.data = sample.data, None
                yield (id_, row, sample), data

        size, ids, pixels = self.config.encoder.batch_size, [], []
        for (id_, row, sample), facts_of, array in self._get_preparer().prepare(with_bytes()):
            rows.add_image(id_, row.dataset, sample, facts_of)
            if array is None:
                continue
            ids.append(id_)
            pixels.append(array)
            if len(ids) == size:
                yield _Batch(ids=ids, pixels=np.stack(pixels))
                ids, pixels = [], []
        yield _Batch(ids=ids, pixels=np.stack(pixels) if pixels else None)

    def _ready_batches(self, plan: _PartPlan, rows: PartRows, facts: dict[int, dict[str, Any]]) -> Generator[_Batch]:
        """Batches of embeddings that the source holds, brought to unit length; what has no length is a row ``unreadable``."""
        ids: list[int] = []
        vectors: list[NDArray[np.float32]] = []
        for id_, row, sample in self._samples(plan, facts):
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
            if len(ids) == 8192:
                yield _Batch(ids=ids, vectors=np.stack(vectors))
                ids, vectors = [], []
        yield _Batch(ids=ids, vectors=np.stack(vectors) if vectors else None)

    def _get_encoder(self) -> Encoder:
        """Loaded at first use: a rerun that has nothing to encode needs no weights."""
        if self._encoder is None:
            settings = self.config.encoder
            self._encoder = load_encoder(settings.name, device=self.config.compute.device, precision=settings.precision)
        return self._encoder

    def _get_preparer(self) -> ImagePreparer:
        if self._preparer is None:
            images, workers = self.config.images, self.config.compute.workers
            limits = ImageLimits.of(images)
            count = os.cpu_count() or 1 if workers == "auto" else workers
            self._preparer = self._stack.enter_context(ImagePreparer(self._get_encoder().preprocess, limits, workers=count))
        return self._preparer

    def _encoder_metadata(self, dim: int) -> dict[str, str]:
        if self.ready_dim:
            return {"encoder": READY, "dim": str(dim)}
        encoder = self._get_encoder()
        return {
            "encoder": encoder.name,
            "dim": str(dim),
            "weights_digest": encoder.weights_digest,
            "preprocess_id": encoder.preprocess.id,
            "device": encoder.device,
            "precision": encoder.precision,
            "batch_size": str(self.config.encoder.batch_size),
        }

    def _embedding_metadata(self, parts: list[Part]) -> dict[str, str]:
        """Of the table as a whole: what its parts say, several values where they differ (a run continued on another CPU)."""
        told: dict[str, dict[str, None]] = {}
        for part in parts:
            for key, value in _own(self.store.part_metadata("embeddings", part)[1]).items():
                told.setdefault(key, {})[value] = None
        metadata = {key: ", ".join(values) for key, values in told.items()}
        self.result.encoder, self.result.dim = metadata.get("encoder", ""), int(metadata.get("dim", 0))
        self.result.weights_digest = metadata.get("weights_digest", "")
        self.result.precision = metadata.get("precision", "")
        return metadata

    def _shard_facts(self, part: Part) -> dict[int, dict[str, Any]]:
        """How the shards of a finished part ended, as its footer says."""
        _, metadata = self.store.part_metadata("images", part)
        return {int(id_): facts for id_, facts in json.loads(metadata["shards"]).items()}


def _part(index: int, settings: str, inputs: dict[str, str]) -> Part:
    whole = {"settings": settings, **inputs}
    return Part(index=index, fingerprint=fingerprint(whole), num_rows=0, inputs=whole)


def _own(metadata: dict[str, str]) -> dict[str, str]:
    """Without the keys that every part gets on writing."""
    return {key: value for key, value in metadata.items() if key not in ("table", "version", "fingerprint")}


def _int64(values: list[int]) -> pa.Array:
    import pyarrow as pa

    return pa.array(values, type=pa.int64())
