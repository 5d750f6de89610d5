"""The embedded images of a run, part by part; whether the vectors of two runs may be compared; facts of images by their ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import EncoderError, StoreError
from scanner.core.ids import shard_of
from scanner.core.schemas import arrow_schema
from scanner.core.store import Manifest, Part, Store
from scanner.core.vectors import READY, to_matrix
from scanner.search.collapse import collapse
from scanner.sources.originals import FileRef

if TYPE_CHECKING:
    import pyarrow as pa

INPUTS = ("images", "embeddings", "shards")
FACTS = [
    "image_id", "dataset", "key", "byte_offset", "num_bytes", "sha256", "phash", "width", "height", "is_blank",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PartRows:
    """The embedded images of a part, by ascending id.

    Attributes:
        image_id: int64 (n,).
        vectors: float16 (n, d).
        sha256: uint8 (n, 32), zeros where ``has_sha256`` (n,) is False.
    """

    image_id: NDArray[np.int64]
    vectors: NDArray[np.float16]
    sha256: NDArray[np.uint8]
    has_sha256: NDArray[np.bool_]


class StoredSet:
    """A scanned set.

    Attributes:
        num_images: rows of ``images``; ``num_embedded`` of them can be compared by their vectors.
        dim: of the vectors.

    Raises:
        StoreError: the run has no images, embeddings or shards yet.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.manifests: dict[str, Manifest] = {table: manifest_of(store, table) for table in INPUTS}
        self.num_images = self.manifests["images"].num_rows
        self.num_embedded = self.manifests["embeddings"].num_rows
        self.metadata: Mapping[str, Any] = self.manifests["embeddings"].metadata
        self.dim = int(self.metadata.get("dim", 0))

    @property
    def fingerprints(self) -> dict[str, list[str]]:
        """By table, of the parts that are read here."""
        return {table: manifest.fingerprints for table, manifest in self.manifests.items()}

    def slabs(self, max_rows: int) -> list[list[Part]]:
        """Parts in order, put together up to about so many rows; one that is larger stands alone."""
        slabs: list[list[Part]] = []
        num_rows = 0
        for part in self.manifests["embeddings"].parts:
            if not slabs or num_rows + part.num_rows > max_rows:
                slabs.append([])
                num_rows = 0
            slabs[-1].append(part)
            num_rows += part.num_rows
        return [slab for slab in slabs if any(part.num_rows for part in slab)]

    def read(self, part: Part) -> PartRows:
        """The embedded images of a part of ``embeddings``, with the digests that the part of ``images`` beside it has."""
        import pyarrow as pa
        import pyarrow.compute as pc

        rows = self.store.read_part("embeddings", part, ["image_id", "embedding"]).sort_by("image_id")
        ids = rows["image_id"].to_numpy()
        images = self.store.read_part("images", self._beside(part), ["image_id", "sha256"])
        images = images.filter(pc.is_in(images["image_id"], value_set=pa.array(ids))).sort_by("image_id")
        if not np.array_equal(images["image_id"].to_numpy(), ids):
            raise StoreError(
                f"{self.store.url}: part {part.index} of embeddings and of images hold different images.",
                next_step="Run the scan again; it brings both up to date.",
            )
        digests = np.frombuffer(b"".join(images["sha256"].fill_null(bytes(32)).to_pylist()), dtype=np.uint8).reshape(-1, 32)
        return PartRows(
            image_id=ids,
            vectors=to_matrix(rows["embedding"]),
            sha256=digests,
            has_sha256=np.asarray(pc.is_valid(images["sha256"])),
        )

    def _beside(self, part: Part) -> Part:
        for other in self.manifests["images"].parts:
            if other.index == part.index:
                return other
        raise StoreError(
            f"{self.store.url} has no part {part.index} of images.", next_step="Run the scan again; it brings both up to date."
        )


def manifest_of(store: Store, table: str) -> Manifest:
    """The committed state of a table. Raises StoreError where there is none."""
    manifest = store.manifest(table)
    if manifest is None:
        raise StoreError(f"{store.url} has no table {table} yet.", next_step="Run its scan to its end first.")
    return manifest


def check_encoders(here: StoredSet, there: StoredSet) -> str:
    """A warning where the vectors of two runs may be compared but are not quite of one making; empty where they are.

    Raises:
        EncoderError: they are of two encoders, or nothing says that they are of one.
    """
    ours, theirs = here.metadata, there.metadata
    names = [f"{one.store.url} has vectors of {_described(one.metadata)}" for one in (here, there)]
    step = "Scan both sets with the same --encoder, or give the other set's files with --images."
    told = f"{names[0]}, {names[1]}"
    if here.dim != there.dim:
        raise EncoderError(f"The two runs cannot be compared: {told}.", next_step=step)
    if ours.get("encoder") == theirs.get("encoder") == READY:
        return f"both runs hold ready embeddings of {here.dim} numbers; that one encoder made them is taken on trust"
    if READY in (ours.get("encoder"), theirs.get("encoder")):
        raise EncoderError(f"The two runs cannot be compared: {told}; nothing says that one encoder made both.", next_step=step)
    for fact in ("weights_digest", "preprocess_id"):
        if ours.get(fact) != theirs.get(fact):
            what = "weights" if fact == "weights_digest" else "preprocessing"
            raise EncoderError(f"The two runs cannot be compared, as their {what} differ: {told}.", next_step=step)
    if ours.get("precision") != theirs.get("precision"):
        return (
            f"the vectors here are of precision {ours.get('precision')}, there of {theirs.get('precision')}: "
            "cosines may be off in the third digit"
        )
    return ""


def _described(metadata: Mapping[str, Any]) -> str:
    digest = str(metadata.get("weights_digest", ""))[:12]
    weights = f", weights {digest}" if digest else ""
    return f"{metadata.get('encoder', 'an unknown encoder')} ({metadata.get('dim')} numbers{weights})"


class ImageFacts:
    """What table ``images`` says of some images, by ascending id.

    Attributes:
        image_id: int64 (n,).
        file: int64 (n,) for each the first of those that are the same file: digest, perceptual hash and size agree.
        pixels: int64 (n,) width x height, 0 where unknown.
    """

    def __init__(self, rows: pa.Table, shard_urls: Mapping[int, str]) -> None:
        self._rows = rows.sort_by("image_id").combine_chunks()
        self._shard_urls = shard_urls
        self.image_id: NDArray[np.int64] = self._rows["image_id"].to_numpy()
        width, height = (self._rows[name].fill_null(0).to_numpy() for name in ("width", "height"))
        self.pixels: NDArray[np.int64] = width * height

    @property
    def file(self) -> NDArray[np.int64]:
        return collapse(self.file_keys(), missing=~self.has_digest).labels

    @property
    def has_digest(self) -> NDArray[np.bool_]:
        has: NDArray[np.bool_] = self._rows["sha256"].is_valid().to_numpy()
        return has

    def file_keys(self) -> NDArray[np.uint8]:
        """uint8 (n, 56): equal for the same file. A digest may be a claim of the source, so what was seen must agree with it."""
        digest = np.frombuffer(b"".join(self._rows["sha256"].fill_null(bytes(32)).to_pylist()), np.uint8).reshape(-1, 32)
        seen = np.stack(
            [self._rows[name].fill_null(0).to_numpy().view(np.int64) for name in ("phash", "width", "height")], axis=1
        )
        return np.concatenate([digest, np.ascontiguousarray(seen).view(np.uint8).reshape(-1, 24)], axis=1)

    def column(self, name: str) -> pa.ChunkedArray:
        return self._rows[name]

    def rows_of(self, image_id: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of images that are here."""
        found: NDArray[np.int64] = np.searchsorted(self.image_id, image_id)
        return found

    def files(self, rows: NDArray[np.int64], *, side: str) -> list[FileRef]:
        """Where the files of images (by position) lie. ``side`` goes before their dataset: two runs may use one name."""
        import pyarrow as pa

        found = []
        for row in self._rows.take(pa.array(rows)).to_pylist():
            ref = FileRef.of_row(row | {"shard": self._shard_urls[shard_of(row["image_id"])]})
            found.append(replace(ref, dataset=f"{side}{ref.dataset}"))
        return found


def read_facts(store: Store, image_ids: NDArray[np.int64]) -> ImageFacts:
    """Facts of images of a run, from the parts that hold them.

    Raises:
        StoreError: one of them is not there.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = np.unique(image_ids)
    value_set, shards = pa.array(wanted), {str(shard) for shard in np.unique(wanted >> 24).tolist()}
    pieces = []
    for part in manifest_of(store, "images").parts:
        if _may_hold(part, shards):
            rows = store.read_part("images", part, FACTS)
            pieces.append(rows.filter(pc.is_in(rows["image_id"], value_set=value_set)).replace_schema_metadata())
    rows = pa.concat_tables(pieces) if pieces else arrow_schema("images").empty_table().select(FACTS)
    if rows.num_rows != len(wanted):
        raise StoreError(f"{store.url}: images of embeddings are not in table images.", next_step="Run its scan again.")
    urls = store.read("shards", ["shard_id", "url"])
    return ImageFacts(rows, dict(zip(urls["shard_id"].to_pylist(), urls["url"].to_pylist(), strict=True)))


def _may_hold(part: Part, shards: set[str]) -> bool:
    """Whether one of these shards may be in the part; one that does not list its shards may hold any."""
    own = {name for name in part.inputs if name.isdigit()}
    return not own or not own.isdisjoint(shards)
