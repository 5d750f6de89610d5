"""Perceptual hashes of a run's images, part by part: those that the scan wrote down, and PDQ, made when a list asks for it.

PDQ needs every image again, so what was made lies in the run, a file a part, until the part changes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import RunConfig
from scanner.core.errors import BrokenShardError, ScannerError, StoreError
from scanner.core.ids import image_id
from scanner.core.preprocess import Preprocess
from scanner.core.progress import Bar
from scanner.core.store import Part, Store
from scanner.images.prepare import ImageLimits, ImagePreparer
from scanner.leak.hash_list import HashKind
from scanner.leak.journal import FOLDER, dump_arrays, load_arrays
from scanner.leak.stored import manifest_of
from scanner.sources.base import Sample, Shard, Source
from scanner.sources.originals import is_same_picture

if TYPE_CHECKING:
    import pyarrow as pa

PDQ_VERSION = 1
"""Of what ``images.pdq`` computes: raised when the same pixels give other bits."""
_TINY = Preprocess(size=(8, 8), resize_mode="squash")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HashedPart:
    """The images of a part that take part.

    Attributes:
        image_id: int64 (n,), ascending.
        words: uint64 (n, w), as ``hash_list.HashList`` has them.
        num_left_out: images that the scan could use and this cannot: blank, of low quality, or not to be read again.
    """

    image_id: NDArray[np.int64]
    words: NDArray[np.uint64]
    num_left_out: int


class Hashes:
    """Hashes of one kind of the images of a run. A context manager: its workers start when they are needed.

    Attributes:
        num_failed: files that could not be read again, or are not what the scan saw; ``last_failure`` says why.
    """

    def __init__(self, store: Store, config: RunConfig, sources: Mapping[str, Source], kind: HashKind) -> None:
        self.store, self.config, self.sources, self.kind = store, config, sources, kind
        self.num_failed = 0
        self.last_failure = ""
        self._stack = ExitStack()
        self._preparer: ImagePreparer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def parts(self, bar: Bar) -> Iterator[HashedPart]:
        """Each part of ``images`` in order.

        Raises:
            StoreError: there are none yet; for PDQ, no source with images is at hand.
        """
        manifest = manifest_of(self.store, "images")
        if self.kind == "phash":
            for part in manifest.parts:
                yield self._scanned(part)
                bar.advance(part.num_rows)
            return
        is_readable = any(source.embedding_dim is None for source in self.sources.values())
        if not is_readable and any(part.num_rows and self._made(part) is None for part in manifest.parts):
            raise StoreError(
                f"PDQ hashes need the images of {self.store.url} again, and none of its sources is at hand.",
                next_step="Make them reachable, or compare with a list of pHash, which the scan wrote down.",
            )
        self._remove_others(manifest.parts)
        for part in manifest.parts:
            yield self._pdq(part, bar)

    def _scanned(self, part: Part) -> HashedPart:
        """What the scan wrote down. Blanks all have one hash, which says nothing."""
        import pyarrow.compute as pc

        rows = self.store.read_part("images", part, ["image_id", "phash", "is_blank", "status"])
        rows = rows.filter(pc.equal(rows["status"], "ok"))
        usable = pc.and_(pc.is_valid(rows["phash"]), pc.invert(rows["is_blank"].fill_null(False)))
        chosen = rows.filter(usable).sort_by("image_id")
        return HashedPart(
            image_id=chosen["image_id"].to_numpy(),
            words=chosen["phash"].to_numpy().astype(np.uint64)[:, None],
            num_left_out=rows.num_rows - chosen.num_rows,
        )

    def _pdq(self, part: Part, bar: Bar) -> HashedPart:
        made = self._made(part)
        if made is None:
            made = self._make(part, bar)
            self.num_failed += int(made["num_failed"])
            # What could not be read today may be there tomorrow.
            if not made["num_failed"]:
                self.store.put(dump_arrays(made), *self._place(part))
        else:
            bar.advance(part.num_rows)
        is_good = made["quality"] >= self.config.leak.min_pdq_quality
        num_left_out = int((~is_good).sum()) + int(made["num_failed"])
        return HashedPart(image_id=made["image_id"][is_good], words=made["words"][is_good], num_left_out=num_left_out)

    def _place(self, part: Part) -> tuple[str, ...]:
        return (FOLDER, "pdq", f"{part.name.removesuffix('.parquet')}-v{PDQ_VERSION}.npz")

    def _remove_others(self, parts: Sequence[Part]) -> None:
        """Hashes of parts that the run no longer has."""
        folder = self.store.path(FOLDER, "pdq")
        current = {self._place(part)[-1] for part in parts}
        for path in self.store.fs.ls(folder, detail=False) if self.store.fs.exists(folder) else []:
            if path.rsplit("/", 1)[-1] not in current:
                self.store.fs.rm_file(path)

    def _made(self, part: Part) -> dict[str, NDArray[Any]] | None:
        data = self.store.get(*self._place(part))
        return load_arrays(data) if data is not None else None

    def _make(self, part: Part, bar: Bar) -> dict[str, NDArray[Any]]:
        """Every image of the part read and decoded once, shard by shard as the scan did."""
        import pyarrow.compute as pc

        rows = self.store.read_part("images", part, ["image_id", "sha256", "phash", "status"])
        rows = rows.filter(pc.equal(rows["status"], "ok"))
        seen = {row["image_id"]: (row["sha256"], row["phash"]) for row in rows.to_pylist()}
        ids, hashes, qualities = [], [], []
        for id_, facts, _ in self._get_preparer().prepare(self._files(part, seen, bar)):
            if facts.pdq is None:
                self.last_failure = facts.error_message or facts.status
            elif not is_same_picture(*seen[id_], facts.sha256, facts.phash):
                self.last_failure = "the source has changed since the scan"
            else:
                ids.append(id_)
                hashes.append(facts.pdq.hash)
                qualities.append(facts.pdq.quality)
        order = np.argsort(np.array(ids, np.int64), kind="stable")
        words = np.frombuffer(b"".join(hashes), ">u8").astype(np.uint64).reshape(-1, 4)
        return {
            "image_id": np.array(ids, np.int64)[order], "words": words[order],
            "quality": np.array(qualities, np.uint8)[order], "num_failed": np.array(len(seen) - len(ids)),
        }  # fmt: skip

    def _files(self, part: Part, wanted: Mapping[int, Any], bar: Bar) -> Iterator[tuple[int, bytes]]:
        for shard_id, dataset, shard in self._shards(part):
            source = self.sources.get(dataset)
            if source is None or source.embedding_dim is not None:
                self.last_failure = f"source {dataset} has no images at hand"
                continue
            for row, sample in enumerate(self._samples(source, shard)):
                bar.advance()
                id_ = image_id(shard_id, row)
                if id_ in wanted and sample.data is not None:
                    yield id_, sample.data

    def _samples(self, source: Source, shard: Shard) -> Iterator[Sample]:
        """What can be read of a shard; how it ends otherwise is counted by what is missing."""
        try:
            yield from source.samples(shard)
        except BrokenShardError:
            return  # as it was during the scan; what that saw has been yielded
        except ScannerError as error:
            self.last_failure = error.message
        except Exception as error:
            # Any filesystem may stand behind a source, and each has its own errors.
            self.last_failure = f"{type(error).__name__}: {error}"

    def _shards(self, part: Part) -> Iterator[tuple[int, str, Shard]]:
        import pyarrow.compute as pc

        rows: pa.Table = self.store.read("shards")
        rows = rows.filter(pc.and_(pc.equal(rows["part"], part.index), pc.not_equal(rows["status"], "superseded")))
        for row in rows.sort_by("shard_id").to_pylist():
            shard = Shard(url=row["url"], size=row["size"], etag=row["etag"], num_rows_estimate=row["num_rows"] or 0)
            yield row["shard_id"], row["dataset"], shard

    def _get_preparer(self) -> ImagePreparer:
        if self._preparer is None:
            workers = self.config.compute.workers
            count = os.cpu_count() or 1 if workers == "auto" else workers
            limits = ImageLimits.of(self.config.images)
            self._preparer = self._stack.enter_context(ImagePreparer(_TINY, limits, workers=count, has_pdq=True))
        return self._preparer
