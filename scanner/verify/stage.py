"""Tables ``groups`` and ``group_evidence``: candidate groups looked at again, file by file, beside their representative.

Only one file of equal ones is decoded, and each is compared with representatives only: the cost is linear in the files. Parts
are cut by candidates, so that a stopped run goes on after its last whole part.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import RunConfig, fingerprint
from scanner.core.errors import StoreError
from scanner.core.ids import shard_of
from scanner.core.progress import Bar, Progress
from scanner.core.schemas import TABLES
from scanner.core.store import Part, Store
from scanner.core.vectors import to_matrix
from scanner.images.looks import Reader
from scanner.sources.base import Source
from scanner.sources.originals import FileRef, Originals
from scanner.verify.judge import JudgedGroup, judge
from scanner.verify.members import CandidateGroup, read_groups
from scanner.verify.tables import evidence_rows, group_rows

log = logging.getLogger("scanner.verify")

OUTPUTS = ("groups", "group_evidence")
INPUTS = ("candidates", "images", "shards")


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyResult:
    """What was looked at. ``is_recomputed`` is False where the committed tables already answered.

    Attributes:
        num_candidates: images that the search joined with others.
        num_groups, num_grouped, largest_group: what is left.
        num_refuted: images that are in no group any more.
        num_by_kind, num_by_class: images of each kind, groups of each class.
        num_read, num_failed: files decoded, and those that could not be read again, by this call.
    """

    is_recomputed: bool
    is_enabled: bool
    num_candidates: int
    num_groups: int
    num_grouped: int
    largest_group: int
    num_by_kind: dict[str, int]
    num_by_class: dict[str, int]
    num_read: int
    num_failed: int
    seconds: float

    @property
    def num_refuted(self) -> int:
        return self.num_candidates - self.num_grouped


def run(store: Store, config: RunConfig, sources: dict[str, Source], progress: Progress) -> VerifyResult:
    """Brings both tables up to date and commits them.

    Raises:
        StoreError: candidates, images or shards are not there.
    """
    start = time.perf_counter()
    inputs, num_candidates = {}, 0
    for table in INPUTS:
        manifest = store.manifest(table)
        if manifest is None:
            raise StoreError(f"{store.url} has no table {table} yet.", next_step="Run the scan to its end first.")
        inputs[table] = manifest.fingerprints
        num_candidates = manifest.num_rows if table == "candidates" else num_candidates
    settings, has_images = config.verify, any(source.embedding_dim is None for source in sources.values())
    looks_again = settings.enabled and has_images
    # Where nothing is looked at, how it would have been is no matter.
    how = [settings.model_dump(mode="json"), config.images.model_dump(mode="json")] if looks_again else "not looked at"
    whole = fingerprint([TABLES[t].version for t in OUTPUTS], inputs, how, config.store.part_rows)
    manifests = [store.manifest(table) for table in OUTPUTS]
    reader = Reader(Originals(sources), config.images, config.compute)
    if all(manifest is not None and manifest.metadata.get("fingerprint") == whole for manifest in manifests):
        return _result(store, num_candidates, reader, is_recomputed=False, is_enabled=looks_again, start=start)
    if settings.enabled and not has_images and num_candidates:
        progress.say(f"verify: the source holds embeddings, not images; {num_candidates:,} images of groups stay unverified")

    parts: dict[str, list[Part]] = {table: [] for table in OUTPUTS}
    with reader, progress.bar("verify", total=num_candidates, unit="images") as bar:
        for index, groups in enumerate(_cut(read_groups(store), config.store.part_rows)):
            part = Part(index=index, fingerprint=fingerprint(whole, index), num_rows=0)
            if not all(store.has_part(table, part) for table in OUTPUTS):
                judged = list(_judged(groups, reader if looks_again else None, config, bar))
                store.write_part("group_evidence", part, evidence_rows(judged))
                store.write_part("groups", part, group_rows(judged, functools.partial(_similarities, store)))
            else:
                bar.advance(sum(len(group.image_id) for group in groups))
            for table in OUTPUTS:
                parts[table].append(replace(part, num_rows=store.part_metadata(table, part)[0]))
        if not parts["groups"]:
            part = Part(index=0, fingerprint=fingerprint(whole, 0), num_rows=0)
            parts = {
                "groups": [store.write_part("groups", part, group_rows([], functools.partial(_similarities, store)))],
                "group_evidence": [store.write_part("group_evidence", part, evidence_rows([]))],
            }
        if reader.num_failed:
            progress.say(
                f"verify: {reader.num_failed:,} files could not be read again and stay unverified, for example: "
                f"{reader.last_failure}"
            )
    for table in OUTPUTS:
        store.commit(table, parts[table], metadata={"fingerprint": whole, "is_verified": looks_again})
    return _result(store, num_candidates, reader, is_recomputed=True, is_enabled=looks_again, start=start)


def _cut(groups: Iterator[CandidateGroup], part_rows: int) -> Iterator[list[CandidateGroup]]:
    """Whole groups, about ``part_rows`` images together: the same cut whatever came of them."""
    piece: list[CandidateGroup] = []
    num_rows = 0
    for group in groups:
        piece.append(group)
        num_rows += len(group.image_id)
        if num_rows >= part_rows:
            yield piece
            piece, num_rows = [], 0
    if piece:
        yield piece


def _judged(groups: list[CandidateGroup], reader: Reader[FileRef] | None, config: RunConfig, bar: Bar) -> Iterator[JudgedGroup]:
    """The groups of a part, a block of files after another."""
    limit = config.verify.block_images
    block: list[CandidateGroup] = []
    num_files = 0
    for i, group in enumerate(groups):
        block.append(group)
        num_files += len(group.files)
        is_last = i + 1 == len(groups)
        if is_last or num_files + len(groups[i + 1].files) > limit:
            files = [file for one in block for file in one.files]
            looks = reader.looks(files, max_in_memory=limit) if reader else None
            yield from judge(block, looks, config.verify)
            bar.advance(sum(len(one.image_id) for one in block))
            block, num_files = [], 0


def _similarities(store: Store, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float32]:
    """Cosines of images by id, from the parts of ``embeddings`` that hold them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = np.unique(np.concatenate([left, right]))
    shards = {str(shard) for shard in np.unique([shard_of(id_) for id_ in wanted.tolist()]).tolist()}
    manifest = store.manifest("embeddings")
    assert manifest is not None, "candidates come from embeddings"
    found = []
    for part in manifest.parts:
        if shards.isdisjoint(part.inputs):
            continue
        rows = store.read_part("embeddings", part)
        found.append(rows.filter(pc.is_in(rows["image_id"], value_set=pa.array(wanted))).replace_schema_metadata())
    rows = pa.concat_tables(found).sort_by("image_id").combine_chunks()
    vectors = to_matrix(rows["embedding"])
    ids = rows["image_id"].to_numpy()
    cosines = np.empty(len(left), np.float32)
    for start in range(0, len(left), 65_536):
        block = slice(start, start + 65_536)
        a, b = (vectors[np.searchsorted(ids, side[block])].astype(np.float64) for side in (left, right))
        lengths = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
        cosines[block] = np.divide((a * b).sum(axis=1), lengths, out=np.zeros(len(a)), where=lengths > 0)
    return np.minimum(cosines, np.float32(1))


def _result(
    store: Store, num_candidates: int, reader: Reader[FileRef], *, is_recomputed: bool, is_enabled: bool, start: float
) -> VerifyResult:
    kinds = store.read("groups", ["kind"])["kind"].value_counts().to_pylist()
    evidence = store.read("group_evidence", ["class", "num_images"])
    sizes = evidence["num_images"].to_numpy()
    return VerifyResult(
        is_recomputed=is_recomputed,
        is_enabled=is_enabled,
        num_candidates=num_candidates,
        num_groups=len(sizes),
        num_grouped=int(sizes.sum()),
        largest_group=int(sizes.max(initial=0)),
        num_by_kind={row["values"]: row["counts"] for row in sorted(kinds, key=lambda row: str(row["values"]))},
        num_by_class={
            row["values"]: row["counts"]
            for row in sorted(evidence["class"].value_counts().to_pylist(), key=lambda row: str(row["values"]))
        },
        num_read=reader.num_read,
        num_failed=reader.num_failed,
        seconds=time.perf_counter() - start,
    )
