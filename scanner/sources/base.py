"""What a source is: shards in, samples out, and any image again by its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

SampleStatus = Literal["ok", "missing", "unreadable"]

UNFETCHED = "could not be fetched: "
"""Begins the message of a BrokenShardError that says nothing of the shard itself: its store failed. The next scan tries again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """A unit of the source that is read as a whole.

    Attributes:
        url: path relative to the root of the source, unique in it; the shard's identity together with ``size`` and ``etag``.
        size: bytes.
        etag: the store's etag or checksum; for local files derived from the modification time. None where neither exists.
        num_rows_estimate: rows expected, known or guessed from the size; only used to fill parts evenly.
    """

    url: str
    size: int
    etag: str | None = None
    num_rows_estimate: int


@dataclass(kw_only=True, slots=True)
class Sample:
    """One row of the set as the source has it, before any decoding.

    Exactly one of ``data`` and ``embedding`` is set when ``status`` is ``ok``; neither otherwise.

    Attributes:
        key: the sample's name in its shard (webdataset ``__key__``, relative path, ``uid`` or row number); untrusted text.
        data: the encoded image file.
        embedding: float32 (dim,), for sources that hold ready embeddings.
        caption: None where there is none; an empty string counts as none. Always valid UTF-8 without NUL.
        sha256: 32 bytes, where the source itself recorded a digest of the image as published (img2dataset).
        byte_offset, num_bytes: where the image lies in the shard's file, where a ranged read can fetch it again.
        width, height: as the source recorded them; used only where there are no bytes to measure.
        status: ``missing`` (the source lists it but has no image: a failed download, a caption alone) or ``unreadable``
            (there, but cannot be read: a directory where a file should be).
        is_unfetched: its store failed at one of its files though it answers otherwise, so that the next scan tries again.
    """

    key: str
    data: bytes | None = None
    embedding: NDArray[np.float32] | None = None
    caption: str | None = None
    url: str | None = None
    sha256: bytes | None = None
    width: int | None = None
    height: int | None = None
    byte_offset: int | None = None
    num_bytes: int | None = None
    status: SampleStatus = "ok"
    error_message: str | None = None
    is_unfetched: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRef:
    """Where one image of a scanned set lies: columns of ``images`` and ``shards``."""

    shard_url: str
    row: int
    key: str
    byte_offset: int | None = None
    num_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One file of a sample: ``suffix`` as in a tar, all that follows the first dot of the base name (``jpg``, ``seg.png``)."""

    suffix: str
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class WholeSample:
    """A sample with every file that the source holds of it, as it stands in a tar or would stand in one.

    Attributes:
        sample: what ``samples`` yields of it.
        name: its key as the source writes it, undecodable bytes as surrogates.
        members: in the order of the source; the image first where the source is no tar.
        left_out: members that are no regular files or are too large to be read, which cannot be carried over.
    """

    sample: Sample
    name: str
    members: tuple[Member, ...]
    left_out: tuple[str, ...] = ()


@dataclass(kw_only=True)
class ReadCounts:
    """What a source has read so far, for its one-line account of itself."""

    num_shards: int = 0
    num_samples: int = 0
    num_without_caption: int = 0
    num_missing: int = 0
    num_duplicate_keys: int = 0
    notes: list[str] = field(default_factory=list)


class Source(Protocol):
    """An image–caption set in one format, at any fsspec URL. Cheap to make; picklable."""

    format: str
    counts: ReadCounts

    @property
    def embedding_dim(self) -> int | None:
        """Dimension of the embeddings the source holds ready, None where it holds images."""
        ...

    def shards(self) -> list[Shard]:
        """Every shard, in a stable order.

        Raises:
            SourceError: nothing is there, or nothing of this format.
        """
        ...

    def samples(self, shard: Shard) -> Iterator[Sample]:
        """The shard's samples in a stable order, each source byte read once.

        Raises:
            BrokenShardError: after the last readable sample, if the shard ends early; says where and why.
        """
        ...

    def whole(self, shard: Shard, rows: Iterable[int]) -> Iterator[tuple[int, WholeSample]]:
        """Those of the shard's samples whose numbers are in ``rows`` (ascending, drawn as they are needed), with all their files.

        A row that is no longer there is left out.

        Raises:
            BrokenShardError: the shard ends before the last of the rows.
            SourceError: the source holds no images.
        """
        ...

    def read(self, ref: ImageRef) -> bytes:
        """The bytes of one image again.

        Raises:
            SourceError: the source no longer holds it.
        """
        ...

    def describe(self) -> str:
        """``12 shards, 4,896 images, 3 without caption`` of what ``samples`` has yielded so far."""
        ...
