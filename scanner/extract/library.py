"""The training set as extraction sees it: a row a distinct picture, found by its embedding, compared pixel by pixel.

Embeddings are streamed part by part and compared with all that is asked at once; files are read again only for what came near,
and stay decoded as long as memory allows. They decode in worker processes, as they did in the scan: they are as hostile now.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import RunConfig
from scanner.core.preprocess import Preprocess
from scanner.core.sql import connect, fetch_table, find_query
from scanner.core.store import Store
from scanner.core.vectors import to_matrix
from scanner.images.prepare import ImageLimits, ImagePreparer
from scanner.sources.base import Source
from scanner.sources.originals import FileRef, Originals

if TYPE_CHECKING:
    import pyarrow as pa

CACHE_BYTES = 512 << 20
"""Of decoded pictures: 2,700 at 256 x 256, and as many once through an autoencoder."""
BLOCK_ROWS = 65_536
"""Embeddings that are compared at once."""
MAX_FILES = 8
"""Files of one group that are compared, the commonest first."""

Crop = Literal["center", "squash"]
"""How training brought images to the model's size: shorter side and centre crop, or both sides whatever the aspect."""


class Library:
    """Distinct pictures of a scanned set. A context manager: its workers stop with it.

    Args:
        size: height and width in pixels at which images are compared.
        crop: how they are brought to it.

    Attributes:
        image_id: int64 (p,), ascending, one a picture.
        group_id: int64 (p,) its group; -1 where it is in none.
    """

    def __init__(
        self, store: Store, config: RunConfig, sources: Mapping[str, Source], *, size: tuple[int, int], crop: Crop
    ) -> None:
        self.store, self.size = store, size
        self.originals = Originals(sources)
        self._config = config
        mode: Literal["shortest", "squash"] = "shortest" if crop == "center" else "squash"
        self._preprocess = Preprocess(size=size, resize_mode=mode)
        self._stack = ExitStack()
        # One connection for all: what it lists of the run stays as it is while the run is locked.
        self._connection = self._stack.enter_context(connect(store))
        self._preparer: ImagePreparer | None = None
        self._pixels: OrderedDict[int, NDArray[np.uint8] | None] = OrderedDict()
        self._max_cached = max(256, CACHE_BYTES // (size[0] * size[1] * 3))
        self._files: dict[int, NDArray[np.int64]] = {}
        rows = self._query("extraction/pictures")
        self.image_id: NDArray[np.int64] = rows["image_id"].to_numpy()
        self.group_id: NDArray[np.int64] = rows["group_id"].fill_null(-1).to_numpy()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def nearest(self, vectors: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The ``k`` pictures of highest cosine to each of ``vectors`` (n, d), exactly: positions (n, k) and cosines, best first.

        Fewer columns where there are fewer pictures.
        """
        k = min(k, len(self.image_id))
        best = np.full((len(vectors), k), -np.inf, np.float32)
        where = np.zeros((len(vectors), k), np.int64)
        for _, rows in self.store.read_parts("embeddings", ["image_id", "embedding"]):
            ids = rows["image_id"].to_numpy()
            place = np.searchsorted(self.image_id, ids)
            known = np.flatnonzero(np.take(self.image_id, place, mode="clip") == ids) if len(self.image_id) else place[:0]
            if not len(known):
                continue
            column = rows["embedding"]
            matrix = to_matrix(column.combine_chunks() if column.num_chunks > 1 else column)
            for start in range(0, len(known), BLOCK_ROWS):
                block = known[start : start + BLOCK_ROWS]
                similarity = vectors @ matrix[block].astype(np.float32).T
                together = np.concatenate([best, similarity], axis=1)
                positions = np.concatenate([where, np.broadcast_to(place[block], similarity.shape)], axis=1)
                top = np.argpartition(-together, k - 1, axis=1)[:, :k]
                best, where = np.take_along_axis(together, top, axis=1), np.take_along_axis(positions, top, axis=1)
        order = np.lexsort((where, -best), axis=1)
        return np.take_along_axis(where, order, axis=1), np.take_along_axis(best, order, axis=1)

    def files_of(self, positions: Sequence[int]) -> list[NDArray[np.int64]]:
        """Image ids of the different files of each picture, itself first: of its copies at most ``MAX_FILES``."""
        groups = {int(self.group_id[i]) for i in positions} - {-1} - set(self._files)
        if groups:
            rows = self._query("extraction/group_files", group_ids=",".join(map(str, sorted(groups))), limit=MAX_FILES)
            group, image = rows["group_id"].to_numpy(), rows["image_id"].to_numpy()
            for one in groups:
                self._files[one] = image[group == one]
        found = []
        for i in positions:
            own = self.image_id[i]
            others = self._files.get(int(self.group_id[i]), np.empty(0, np.int64))
            # A member that stands for itself is another picture than the rest of its group.
            is_alone = own not in others
            found.append(np.array([own]) if is_alone else np.concatenate([[own], others[others != own]]))
        return found

    def pixels(self, image_ids: Sequence[int]) -> list[NDArray[np.uint8] | None]:
        """uint8 (h, w, 3) of each image; None where its file cannot be had again, or is not what the scan saw."""
        return self.cached(image_ids, self._read)

    def cached(
        self, keys: Sequence[int], make: Callable[[list[int]], dict[int, NDArray[np.uint8] | None]]
    ) -> list[NDArray[np.uint8] | None]:
        """Pixels by key, ``make`` asked for those that are not in memory. Keys below 0 are the caller's own."""
        absent = [key for key in dict.fromkeys(keys) if key not in self._pixels]
        made = make(absent) if absent else {}
        found = [made[key] if key in made else self._pixels[key] for key in keys]
        for key in dict.fromkeys(keys):
            if key in made:
                self._pixels[key] = made[key]
            self._pixels.move_to_end(key)
        while len(self._pixels) > self._max_cached:
            self._pixels.popitem(last=False)
        return found

    def _read(self, image_ids: list[int]) -> dict[int, NDArray[np.uint8] | None]:
        rows = self._query("extraction/image_files", image_ids=",".join(map(str, image_ids))).to_pylist()
        files = {int(row["image_id"]): FileRef.of_row(row) for row in rows}
        found: dict[int, NDArray[np.uint8] | None] = dict.fromkeys(image_ids)

        def originals() -> Iterator[tuple[FileRef, bytes]]:
            for image_id in sorted(files):
                data = self.originals.read(files[image_id])
                if data is not None:
                    yield files[image_id], data

        for file, facts, pixels in self._get_preparer().prepare(originals()):
            if pixels is None:
                self.originals.failed(facts.error_message or facts.status)
            elif not file.is_as_scanned(facts.sha256, facts.phash):
                self.originals.failed("the source has changed since the scan")
            else:
                found[file.image_id] = pixels
        return found

    def _query(self, name: str, **given: object) -> pa.Table:
        query = find_query(name)
        return fetch_table(self._connection, query.sql, query.arguments(given), name=name)

    def _get_preparer(self) -> ImagePreparer:
        if self._preparer is None:
            images, workers = self._config.images, self._config.compute.workers
            limits = ImageLimits.of(images)
            count = os.cpu_count() or 1 if workers == "auto" else workers
            self._preparer = self._stack.enter_context(ImagePreparer(self._preprocess, limits, workers=count))
        return self._preparer
