"""One pass over the sources: every byte read once, every image decoded once; tables ``shards``, ``images`` and ``embeddings``.

A part whose name exists is finished and kept; a part that only lost shards (superseded ones) is copied without them; all else is
made by ``PartMaker``: one part after another or, with several GPUs, by one process each.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scanner.core.config import EncoderConfig, RunConfig, fingerprint
from scanner.core.errors import ConfigError
from scanner.core.ids import SHARD_BITS
from scanner.core.progress import Bar, Progress
from scanner.core.schemas import TABLES
from scanner.core.store import Part, Store
from scanner.core.vectors import READY
from scanner.embed.feed import CPU_BATCH
from scanner.embed.part_maker import PartMaker, PartPlan, Work
from scanner.embed.processes import make_on_gpus
from scanner.embed.registry import ShardRow, commit_shards, read_shards, register
from scanner.models.device import visible_gpus
from scanner.models.loading import encoder_identity
from scanner.sources.base import Source

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(kw_only=True)
class EmbedResult:
    """What the pass did. ``seconds_encoding`` are inside ``seconds``, of several GPUs their sum; preparing overlaps them."""

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


class EmbedStage:
    """The pass over ``sources`` (dataset name to source) into ``store``.

    Attributes:
        maker: of the parts that this process makes. What it is given before ``run`` (an encoder) it does not load.
    """

    def __init__(self, store: Store, config: RunConfig, sources: dict[str, Source], progress: Progress) -> None:
        self.store, self.config, self.sources, self.progress = store, config, sources, progress
        self.result = EmbedResult()
        self.maker = PartMaker(store, config, sources, learn=self._learn, choose=self._choose)
        self._plans_of_run: list[PartPlan] = []
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
        self._plans_of_run = plans = self._plans(rows)
        missing = [plan for plan in plans if not self._is_done(plan)]
        self.result.num_parts_made = len(missing)
        self._expected = sum(row.num_rows_estimate for plan in missing for row in plan.shards)
        with self.progress.bar("embed", total=self._expected, unit="images", is_estimate=True) as bar:
            self._bar = bar
            self._make([plan for plan in missing if not self._copy(plan)])
        finished = [self._with_rows(plan) for plan in plans]
        images, embeddings = [plan.images for plan in finished], [plan.embeddings for plan in finished]
        facts = {id_: found for part in images for id_, found in self._shard_facts(part).items()}
        self.store.commit("embeddings", embeddings, metadata=self._embedding_metadata(embeddings))
        self.store.commit("images", images)
        commit_shards(self.store, (replace(row, **facts[row.shard_id]) if row.shard_id in facts else row for row in rows))
        result = self.result
        result.num_shards = sum(len(plan.shards) for plan in plans)
        result.num_parts, result.seconds = len(plans), time.perf_counter() - start
        result.num_images, result.num_embedded = sum(p.num_rows for p in images), sum(p.num_rows for p in embeddings)
        return result

    def _make(self, missing: list[PartPlan]) -> None:
        """Parts that are not there: shared out among GPUs where there are several, what they left and all else here."""
        total = Work()
        gpus = self._gpus(len(missing))
        if len(gpus) > 1:
            known = self._known_batch_size()
            total.add(make_on_gpus(gpus, missing, self.store, self.config, self.sources, bar=self._bar, batch_size=known))
            missing = [plan for plan in missing if not self._is_done(plan)]
        with self.maker as maker:
            for plan in missing:
                maker.make(plan, self._bar)
            maker.wait()
            total.add(maker.work())
        result = self.result
        result.num_images_read, result.num_decoded = total.num_images_read, total.num_decoded
        result.seconds_encoding, result.peak_worker_memory_bytes = total.seconds_encoding, total.peak_worker_memory_bytes

    def _gpus(self, num_parts: int) -> list[str]:
        """Those that are to have a process of their own; none where one process does as well."""
        compute = self.config.compute
        is_cpu = compute.device == "cpu" or self.config.encoder.name == "pixels" or self.ready_dim or self.maker.encoder
        if num_parts < 2 or is_cpu or compute.gpus == 1:
            return []
        found = visible_gpus()
        return found[: min(num_parts, len(found) if compute.gpus == "auto" else compute.gpus)]

    def _choose(self, measure: Callable[[], int]) -> int:
        """The batch size of a GPU where it is to be found."""
        return self._known_batch_size() or measure()

    def _known_batch_size(self) -> int | None:
        """What GPUs made parts of this run with, so that a scan that goes on stays with it; None before the first."""
        for plan in self._plans_of_run:
            if self.store.has_part("embeddings", plan.embeddings):
                _, told = self.store.part_metadata("embeddings", plan.embeddings)
                if told.get("device") == "cuda":
                    return int(told["batch_size"].split(", ")[-1])
        return None

    def _plans(self, rows: list[ShardRow]) -> list[PartPlan]:
        """Parts and their names, in order. The names carry all that their content depends on."""
        config = self.config
        # How a source is read belongs to its own shards, so that a further source leaves the parts of the others alone.
        options = {s.dataset: [s.format, s.caption_column, s.image_column] for s in config.sources}
        versions = [TABLES["images"].version, TABLES["embeddings"].version]
        limits = fingerprint(versions, config.images)
        encoder = [READY, self.ready_dim] if self.ready_dim else [encoder_identity(config.encoder.name), _hashed(config)]
        by_part: defaultdict[int, list[ShardRow]] = defaultdict(list)
        for row in rows:
            if row.status != "superseded":
                by_part[row.part].append(row)
        plans = []
        for index, shards in sorted(by_part.items()):
            inputs = {str(row.shard_id): fingerprint(*row.identity, options[row.dataset])[:16] for row in shards}
            plans.append(
                PartPlan(
                    shards=tuple(shards),
                    images=_part(index, limits, inputs),
                    embeddings=_part(index, fingerprint(limits, encoder), inputs),
                )
            )
        return plans

    def _is_done(self, plan: PartPlan) -> bool:
        return self.store.has_part("images", plan.images) and self.store.has_part("embeddings", plan.embeddings)

    def _with_rows(self, plan: PartPlan) -> PartPlan:
        """The plan of a part that is there now, with the rows of its files."""
        num_images, _ = self.store.part_metadata("images", plan.images)
        num_embedded, _ = self.store.part_metadata("embeddings", plan.embeddings)
        return replace(
            plan, images=replace(plan.images, num_rows=num_images), embeddings=replace(plan.embeddings, num_rows=num_embedded)
        )

    def _copy(self, plan: PartPlan) -> bool:
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

    def _learn(self, num_rows: int, num_expected: int) -> None:
        """Scales what is still expected by how the shards read so far compare with their estimates."""
        self._read, self._read_expected = self._read + num_rows, self._read_expected + num_expected
        if self._read_expected:
            self._bar.expect(round(self._expected * self._read / self._read_expected))

    def _embedding_metadata(self, parts: list[Part]) -> dict[str, str]:
        """Of the table as a whole: what its parts say, several values where they differ (a run continued on another CPU)."""
        told: dict[str, dict[str, None]] = {}
        for part in parts:
            for key, value in _own(self.store.part_metadata("embeddings", part)[1]).items():
                told.setdefault(key, {}).update(dict.fromkeys(value.split(", ") if key == "batch_size" else [value]))
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


def _hashed(config: RunConfig) -> EncoderConfig:
    """What of the encoder's settings parts depend on. A batch size that is found is recorded and not hashed, or a scan could not
    go on elsewhere."""
    is_found = config.encoder.batch_size == "auto"
    return config.encoder.model_copy(update={"batch_size": CPU_BATCH}) if is_found else config.encoder


def _own(metadata: dict[str, str]) -> dict[str, str]:
    """Without the keys that every part gets on writing."""
    return {key: value for key, value in metadata.items() if key not in ("table", "version", "fingerprint")}


def _int64(values: list[int]) -> pa.Array:
    import pyarrow as pa

    return pa.array(values, type=pa.int64())
