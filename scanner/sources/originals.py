"""Images of a scanned set read again, one by one, from wherever they came. What cannot be read is counted, never raised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice

from scanner.core.errors import ScannerError, UnreachableError
from scanner.core.ids import row_of
from scanner.sources.base import ImageRef, Source
from scanner.sources.fetching import ahead, is_slow
from scanner.sources.file_source import FileSource

MAX_CHANGED_BITS = 10
"""Of a perceptual hash, that may differ from what the scan saw: another version of a decoder, not another picture."""

_GUESSED_BYTES = 2**20
"""Of an image whose size the scan did not take down."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRef:
    """The file of an image, as the scan saw it."""

    image_id: int
    dataset: str
    ref: ImageRef
    sha256: bytes | None
    phash: int | None
    is_blank: bool = False
    aspect: float = 1.0
    """Width over height."""

    @classmethod
    def of_row(cls, row: Mapping[str, object]) -> FileRef:
        """From a row of ``images`` with ``shard``, the url of its shard: image_id, dataset, shard, key, byte_offset, num_bytes,
        sha256, phash, is_blank, width and height."""
        values: dict[str, object] = dict(row)
        image_id = int(str(values["image_id"]))
        ref = ImageRef(
            shard_url=str(values["shard"]), row=row_of(image_id), key=str(values["key"]),
            byte_offset=_number(values["byte_offset"]), num_bytes=_number(values["num_bytes"]),
        )  # fmt: skip
        sha256 = values["sha256"]
        return cls(
            image_id=image_id, dataset=str(values["dataset"]), ref=ref, sha256=sha256 if isinstance(sha256, bytes) else None,
            phash=_number(values["phash"]), is_blank=bool(values["is_blank"]),
            aspect=(_number(values["width"]) or 1) / (_number(values["height"]) or 1),
        )  # fmt: skip

    def is_as_scanned(self, sha256: bytes | None, phash: int | None) -> bool:
        """Whether a file that was read again is the one that the scan saw."""
        return is_same_picture(self.sha256, self.phash, sha256, phash)


def is_same_picture(sha256: bytes | None, phash: int | None, sha256_now: bytes | None, phash_now: int | None) -> bool:
    """By the digest; where the scan took down another file's (as published, before resizing), by the perceptual hash."""
    if sha256 is not None and sha256 == sha256_now:
        return True
    return phash is None or phash_now is None or (phash ^ phash_now).bit_count() <= MAX_CHANGED_BITS


class Originals:
    """Reads files of the sources that are at hand.

    Attributes:
        num_failed: files that could not be had, by whoever called ``failed``.
        last_failure: why the last one could not.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self.sources = sources
        self.num_failed = 0
        self.last_failure = ""

    def read(self, file: FileRef) -> bytes | None:
        """The bytes; None, counted, where they cannot be had.

        Raises:
            UnreachableError: the store does not answer: that says nothing of the file, and would be so for all that follow.
        """
        return self._counted(self._read(file))

    def read_all(self, files: Iterable[FileRef]) -> Iterator[bytes | None]:
        """``read`` of each, in order; of a distant source several at once, ahead of what is asked for.

        Raises:
            UnreachableError: as ``read`` does.
        """
        for dataset, same in groupby(files, key=lambda file: file.dataset):
            source = self.sources.get(dataset)
            if not (isinstance(source, FileSource) and source.embedding_dim is None and is_slow(source.place.fs)):
                yield from map(self.read, same)
                continue
            # The first alone, as some sources list themselves once, when something is read.
            yield from (self.read(file) for file in islice(same, 1))
            for found in ahead(self._read, same, size_of=lambda file: file.ref.num_bytes or _GUESSED_BYTES):
                if isinstance(found, Exception):
                    raise found
                yield self._counted(found)

    def _counted(self, found: bytes | str) -> bytes | None:
        if isinstance(found, bytes):
            return found
        self.failed(found)
        return None

    def _read(self, file: FileRef) -> bytes | str:
        """The bytes, or why they cannot be had."""
        source = self.sources.get(file.dataset)
        if source is None:
            return f"source {file.dataset} is not at hand"
        try:
            if source.embedding_dim is not None:
                return f"source {file.dataset} holds embeddings, not images"
            return source.read(file.ref)
        except UnreachableError:
            raise
        except ScannerError as error:
            return error.message
        except Exception as error:
            # Any filesystem may stand behind a source, and each has its own errors; one file is not worth the stage.
            return f"{type(error).__name__}: {error}"

    @property
    def has_images(self) -> bool:
        """Whether any of the sources holds images at all: without one, nothing needs to be got ready."""
        return any(source.embedding_dim is None for source in self.sources.values())

    def failed(self, reason: str) -> None:
        """Counts a file that could not be used."""
        self.num_failed += 1
        self.last_failure = reason


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
