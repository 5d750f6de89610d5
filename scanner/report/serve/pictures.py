"""Pictures of the live pages: originals read again from their source and generated images of the run, as small JPEGs made here.

What is sent is never a file as it lies there: all goes through the bounded decoder of the scan, in worker processes, and is
encoded anew. One thread reads and feeds the workers; what it made stays in memory up to a bound.
"""

from __future__ import annotations

import io
import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import ImagesConfig
from scanner.core.errors import ScannerError
from scanner.core.preprocess import Preprocess
from scanner.core.store import Store
from scanner.images.geometry import place
from scanner.images.prepare import ImageFacts, ImageLimits, ImagePreparer
from scanner.report.serve.reader import Reader, View
from scanner.sources.base import Source
from scanner.sources.originals import FileRef, Originals

SIDE = 512
"""Pixels of the longer side, at most."""
CACHE_BYTES = 64 << 20
"""Of finished JPEGs."""
WORKERS = 2
BATCH = 16
"""Pictures that are looked up, read and decoded together, where so many wait."""
MAX_WAITING = 4096
MAX_FILE_BYTES = 64 << 20
MAX_PIXELS = 100_000_000
TIMEOUT_S = 10.0
MEMORY_BYTES = 1 << 30
"""Bounds of the decoder, where the scan had wider ones."""
_FIT = Preprocess(size=(SIDE, SIDE), resize_mode="longest", fill_color=255)
_QUALITY = 82

_log = logging.getLogger(__name__)

Kind = Literal["original", "generated"]
Key = tuple[Kind, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A JPEG, or the reason why there is none."""

    jpeg: bytes = b""
    reason: str = ""


def limits_of(images: ImagesConfig) -> ImageLimits:
    """Those of the scan, or tighter: here somebody waits, and the rest of the machine is not ours."""
    limits = ImageLimits.of(images)
    return ImageLimits(
        max_pixels=min(limits.max_pixels, MAX_PIXELS),
        min_side=limits.min_side,
        timeout_s=min(limits.timeout_s, TIMEOUT_S),
        memory_bytes=min(limits.memory_bytes, MEMORY_BYTES),
    )


def to_jpeg(pixels: NDArray[np.uint8], fit: Preprocess, *, width: int, height: int) -> bytes:
    """A JPEG of pixels that were fitted with ``resize_mode="longest"``: the padding cut off, never larger than the original."""
    from PIL import Image

    at = place(height, width, fit)
    top, left = max(-at.top, 0), max(-at.left, 0)
    image = Image.fromarray(pixels[top : top + at.height, left : left + at.width])
    if width * height < at.width * at.height:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


class Pictures:
    """Makes pictures for any number of threads. A context manager: its thread and its workers stop with it.

    Args:
        reader: of the run.
        open_sources: gives the sources at hand, by dataset; called again when the run has other shards.
        images: limits of the scan.
    """

    def __init__(self, reader: Reader, open_sources: Callable[[], Mapping[str, Source]], images: ImagesConfig) -> None:
        self._reader = reader
        self._open_sources = open_sources
        self._limits = limits_of(images)
        self._originals = Originals(open_sources())
        self._shards: object = None
        self._lock = threading.Lock()
        self._cache: OrderedDict[Key, Picture] = OrderedDict()
        self._cached_bytes = 0
        self._under_way: dict[Key, Future[Picture]] = {}
        self._waiting: queue.Queue[Key | None] = queue.Queue(MAX_WAITING)
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="pictures", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed = True
        with suppress(queue.Full):  # else it sees the flag after its batch
            self._waiting.put_nowait(None)
        self._thread.join(2 * self._limits.timeout_s)

    def why_none(self, dataset: str) -> str:
        """Why no image of a dataset can be shown; empty where it is worth a try."""
        source = self._originals.sources.get(dataset)
        if source is None:
            return f"source {dataset} is not at hand"
        return "" if source.embedding_dim is None else "the source holds embeddings, not images"

    def get(self, kind: Kind, id_: int) -> Future[Picture]:
        """The picture of an image_id or a generation_id. Who asks for the same one at the same time waits for the same work."""
        key = (kind, id_)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return _done(self._cache[key])
            if key in self._under_way:
                return self._under_way[key]
            if self._is_closed:
                return _done(Picture(reason="no pictures are made any more"))
            future: Future[Picture] = Future()
            try:
                self._waiting.put_nowait(key)
            except queue.Full:
                return _done(Picture(reason="too many pictures are asked for at once"))
            self._under_way[key] = future
            return future

    def _work(self) -> None:
        try:
            with ImagePreparer(_FIT, self._limits, workers=WORKERS) as preparer:
                while not self._is_closed:
                    self._make_all(self._take(), preparer)
        except Exception:
            _log.exception("no pictures can be made any more")
        finally:
            self._is_closed = True
            with self._lock:
                left = list(self._under_way)
            for key in left:
                self._finish(key, Picture(reason="no pictures are made any more"))

    def _take(self) -> list[Key]:
        """The next to be made, waited for; an empty list at the end."""
        keys: list[Key] = []
        key = self._waiting.get()
        while key is not None:
            keys.append(key)
            if len(keys) == BATCH:
                break
            try:
                key = self._waiting.get_nowait()
            except queue.Empty:
                break
        return keys

    def _make_all(self, keys: list[Key], preparer: ImagePreparer) -> None:
        reason = "it could not be used in the scan, or was not kept"
        try:
            originals, paths = self._reader.answer(lambda view: self._find(view, keys))
            for key, file, facts, pixels in self._prepared(originals, paths, preparer):
                self._finish(key, _picture(file, facts, pixels))
        except ScannerError as error:
            reason = error.message
        except Exception:
            _log.exception("pictures could not be made")
            reason = "it could not be made"
        for key in keys:  # those that nothing was found of
            self._finish(key, Picture(reason=reason))

    def _find(self, view: View, keys: list[Key]) -> tuple[list[FileRef], dict[int, str]]:
        """Files of originals, and paths of generated images by generation_id, of those that the run knows."""
        shards = view.manifests.get("shards")
        if shards != self._shards and self._shards is not None:
            self._originals = Originals(self._open_sources())
        self._shards = shards
        image_ids = ",".join(str(id_) for kind, id_ in keys if kind == "original")
        rows = view.rows("extraction/image_files", image_ids=image_ids) if image_ids else []
        paths = {}
        for kind, id_ in keys:
            if kind == "generated" and (row := view.row("serve/generated_file", generation_id=id_)):
                paths[id_] = str(row["image_path"])
        return [FileRef.of_row(row) for row in rows], paths

    def _prepared(
        self, originals: list[FileRef], paths: dict[int, str], preparer: ImagePreparer
    ) -> Iterator[tuple[Key, FileRef | None, ImageFacts, NDArray[np.uint8] | None]]:
        """What the decoder makes of each file that can be read; the others are finished here."""

        def read() -> Iterator[tuple[tuple[Key, FileRef | None], bytes]]:
            for file in originals:
                if (file.ref.num_bytes or 0) > MAX_FILE_BYTES:
                    self._finish(("original", file.image_id), Picture(reason="a file too large for a look"))
                elif (data := self._originals.read(file)) is None:
                    self._finish(("original", file.image_id), Picture(reason=self._originals.last_failure))
                else:
                    yield (("original", file.image_id), file), data
            for generation_id, path in paths.items():
                if (data := _kept(self._reader.store, path)) is None:
                    self._finish(("generated", generation_id), Picture(reason="its file is gone"))
                else:
                    yield (("generated", generation_id), None), data

        for (key, file), facts, pixels in preparer.prepare(read()):
            yield key, file, facts, pixels

    def _finish(self, key: Key, picture: Picture) -> None:
        """Hands a picture to all who wait for it; of those that failed nothing is kept, as the reason may pass."""
        with self._lock:
            future = self._under_way.pop(key, None)
            if picture.jpeg and key not in self._cache:
                self._cache[key] = picture
                self._cached_bytes += len(picture.jpeg)
                while self._cached_bytes > CACHE_BYTES:
                    _, old = self._cache.popitem(last=False)
                    self._cached_bytes -= len(old.jpeg)
        if future is not None:
            with suppress(InvalidStateError):  # nobody waits any more
                future.set_result(picture)


def _picture(file: FileRef | None, facts: ImageFacts, pixels: NDArray[np.uint8] | None) -> Picture:
    if pixels is None or facts.width is None or facts.height is None:
        return Picture(reason=facts.error_message or facts.status)
    if file is not None and not file.is_as_scanned(facts.sha256, facts.phash):
        return Picture(reason="the source has changed since the scan")
    return Picture(jpeg=to_jpeg(pixels, _FIT, width=facts.width, height=facts.height))


def _kept(store: Store, path: str) -> bytes | None:
    """A file of the run; None where it is gone, or where the path leads out of the run."""
    try:
        return store.get(*path.split("/"))
    except (ScannerError, OSError):
        return None


def _done(picture: Picture) -> Future[Picture]:
    future: Future[Picture] = Future()
    future.set_result(picture)
    return future
