"""What every format shares: the URL, the counts, and the one-line account of what was read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import ClassVar

from scanner.core.errors import BrokenShardError, ObjectError, ScannerError, SourceError
from scanner.core.urls import refuse_credentials
from scanner.sources.base import UNFETCHED, ImageRef, ReadCounts, Sample, Shard, WholeSample
from scanner.sources.members import chosen, sample_members
from scanner.sources.names import count_noun
from scanner.sources.places import Place, resolve

MAX_ROWS = 1 << 24
"""Rows of a shard: an image id keeps 24 bits for the row."""

MAX_IMAGE_BYTES = 256 * 2**20
"""A larger image file is not read into memory; its row says so."""

BYTES_PER_IMAGE_ROW = 16 * 2**10
"""Guess for shards that do not tell their rows: between small clip art (7 KB) and 256-pixel photographs (25 KB)."""

_MAX_NOTES = 100
_AGAIN = "The same scan tries again."


class FileSource(ABC):
    """A source made of files at an fsspec URL. Making one touches no file.

    Args:
        url: a file, folder, glob or brace pattern.
        caption_column: name of the column or JSON field with the caption; None finds it by its usual names.
        image_column: name of the column with the image (or the embedding); None finds it.
    """

    format: str = ""
    noun: ClassVar[str] = "image"
    options: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, url: str, *, caption_column: str | None = None, image_column: str | None = None) -> None:
        for option, value in (("caption_column", caption_column), ("image_column", image_column)):
            if value is not None and option not in self.options:
                flag = option.replace("_", "-")
                raise SourceError(f"--{flag} has no meaning for the format {self.format!r}.", next_step=f"Leave --{flag} out.")
        refuse_credentials(url)
        self.url = url
        self.caption_column = caption_column
        self.image_column = image_column
        self.counts = ReadCounts()

    @cached_property
    def place(self) -> Place:
        return resolve(self.url)

    @property
    def embedding_dim(self) -> int | None:
        return None

    @abstractmethod
    def shards(self) -> list[Shard]: ...

    @abstractmethod
    def read(self, ref: ImageRef) -> bytes: ...

    @abstractmethod
    def _rows(self, shard: Shard) -> Iterator[Sample]:
        """The shard's samples; what ``samples`` counts and checks."""

    def samples(self, shard: Shard) -> Iterator[Sample]:
        """The shard's samples in a stable order, counted.

        Raises:
            BrokenShardError: after the last readable sample, if the shard ends early.
            SourceError: more than 2^24 rows, or a connection that failed (run again: the shard itself may be sound).
        """
        self.counts.num_shards += 1
        num_unfetched, reason = 0, ""
        with _told(shard):
            for row, sample in enumerate(self._rows(shard)):
                if row == MAX_ROWS:
                    raise SourceError(
                        f"{shard.url} holds more than {MAX_ROWS:,} rows.", next_step="Split it into smaller shards."
                    )
                self.counts.num_samples += 1
                if sample.status == "missing":
                    self.counts.num_missing += 1
                elif sample.caption is None:
                    self.counts.num_without_caption += 1
                if sample.is_unfetched:
                    num_unfetched, reason = num_unfetched + 1, reason or sample.error_message or "its caption"
                yield sample
        if num_unfetched:
            raise BrokenShardError(
                f"{UNFETCHED}{count_noun(num_unfetched, 'file')} of {shard.url}, the first: {reason}", next_step=_AGAIN
            )

    def whole(self, shard: Shard, rows: Iterable[int]) -> Iterator[tuple[int, WholeSample]]:
        """Those of the shard's samples whose numbers are in ``rows``, with all their files; see ``Source.whole``."""
        if self.embedding_dim is not None:
            raise SourceError("This source holds embeddings and no images.", next_step="Export ids, or scan the images.")
        with _told(shard):
            yield from self._whole(shard, rows)

    def _whole(self, shard: Shard, rows: Iterable[int]) -> Iterator[tuple[int, WholeSample]]:
        """For sources that keep nothing beside what ``samples`` yields; the others read it themselves."""
        for row, sample in chosen(enumerate(self._rows(shard)), rows):
            yield row, WholeSample(sample=sample, name=sample.key, members=sample_members(sample))

    def describe(self) -> str:
        """``12 shards, 4,896 images, 3 without caption, 5 missing, 2 duplicate keys`` of what was read so far."""
        counts = self.counts
        parts = [count_noun(counts.num_shards, "shard"), count_noun(counts.num_samples - counts.num_missing, self.noun)]
        if counts.num_without_caption:
            parts.append(f"{counts.num_without_caption:,} without caption")
        if counts.num_missing:
            parts.append(f"{counts.num_missing:,} missing")
        if counts.num_duplicate_keys:
            parts.append(count_noun(counts.num_duplicate_keys, "duplicate key"))
        return ", ".join(parts)

    def note(self, text: str) -> None:
        """Keeps a remark for the summary; the first 100, then a line that says there were more."""
        notes = self.counts.notes
        if text in notes or len(notes) > _MAX_NOTES:
            return
        notes.append(text if len(notes) < _MAX_NOTES else "more remarks were left out")


@contextmanager
def _told(shard: Shard) -> Iterator[None]:
    """Errors of a file system as those of a source."""
    try:
        yield
    except (ConnectionError, TimeoutError) as error:
        said = error.message if isinstance(error, ScannerError) else error
        raise SourceError(f"Reading {shard.url} failed: {said}", next_step="Run again; what is finished is kept.") from error
    except ObjectError as error:
        raise BrokenShardError(f"{UNFETCHED}{error.message}", next_step=_AGAIN) from error
    except OSError as error:
        raise BrokenShardError(f"{shard.url} cannot be read: {error}") from error
