"""webdataset: tars whose consecutive members of one name form a sample (github.com/webdataset/webdataset)."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import IO, ClassVar, cast

from scanner.core.errors import BrokenShardError, ObjectError, SourceError, UnreachableError
from scanner.core.remote import STREAM_BYTES
from scanner.sources.base import ImageRef, Member, Sample, Shard, WholeSample
from scanner.sources.fields import MAX_TEXT_BYTES, clean_key, clean_text, clean_text_file, read_pixels, read_record, read_sha256
from scanner.sources.file_source import BYTES_PER_IMAGE_ROW, MAX_IMAGE_BYTES, FileSource
from scanner.sources.names import IMAGE_EXTENSIONS, TAR_SUFFIXES, count_noun, is_compressed_name, is_tar_name, split_member
from scanner.sources.places import Place
from scanner.sources.tar_stream import TarBreak, TarMember, TarStream


class WebdatasetSource(FileSource):
    """One tar (also gzipped), a folder of tars, a glob, or ``{00000..00041}.tar``.

    The caption is the ``.txt`` member, else the JSON member's ``caption``; a named ``caption_column`` is a field of the
    JSON member and goes first. Keys that occur twice in a shard stay separate rows and are counted.

    Args:
        max_member_bytes: larger image members are passed over unread.
    """

    format = "webdataset"
    options: ClassVar[frozenset[str]] = frozenset({"caption_column"})

    def __init__(
        self,
        url: str,
        *,
        caption_column: str | None = None,
        image_column: str | None = None,
        max_member_bytes: int = MAX_IMAGE_BYTES,
    ) -> None:
        super().__init__(url, caption_column=caption_column, image_column=image_column)
        self.max_member_bytes = max_member_bytes

    def shards(self) -> list[Shard]:
        found = self.place.files(lambda name: is_tar_name(name) or self.place.names is not None, self.note)
        if not found:
            raise SourceError(f"No tar is at {self.url!r}.", next_step=f"Give tars: {', '.join(TAR_SUFFIXES)}.")
        return [
            Shard(url=entry.name, size=entry.size, etag=entry.etag, num_rows_estimate=max(1, entry.size // BYTES_PER_IMAGE_ROW))
            for entry in found
        ]

    def _rows(self, shard: Shard) -> Iterator[Sample]:
        yield from read_tar_shard(self, shard, max_member_bytes=self.max_member_bytes)

    def _whole(self, shard: Shard, rows: Iterable[int]) -> Iterator[tuple[int, WholeSample]]:
        yield from read_whole_samples(self, shard, rows, max_member_bytes=self.max_member_bytes)

    def read(self, ref: ImageRef) -> bytes:
        return read_tar_image(self.place, ref, max_member_bytes=self.max_member_bytes)


def read_tar_shard(source: FileSource, shard: Shard, *, max_member_bytes: int = MAX_IMAGE_BYTES) -> Iterator[Sample]:
    """The samples of one tar of ``source``, which counts its duplicate keys and keeps remarks."""
    seen: set[str] = set()
    first_duplicate = ""
    num_duplicates = 0
    reader = _SampleReader(source.caption_column, max_member_bytes, lambda text: source.note(f"{shard.url}: {text}"))
    try:
        with _open_tar(source.place, shard.url) as file:
            for sample in reader.samples(file, has_offsets=not is_compressed_name(shard.url)):
                if sample.key in seen:
                    first_duplicate = first_duplicate or sample.key
                    num_duplicates += 1
                    source.counts.num_duplicate_keys += 1
                else:
                    seen.add(sample.key)
                yield sample
    except TarBreak as error:
        raise BrokenShardError(
            f"{shard.url} is broken: {error}", next_step="Its readable rows are kept; fetch it again."
        ) from error
    finally:
        if num_duplicates:
            source.note(f"{shard.url}: {count_noun(num_duplicates, 'duplicate key')}, the first {first_duplicate!r}")
        if reader.num_several:
            source.note(f"{shard.url}: {count_noun(reader.num_several, 'sample')} with several images: one of each is used")


def read_whole_samples(
    source: FileSource, shard: Shard, rows: Iterable[int], *, max_member_bytes: int = MAX_IMAGE_BYTES
) -> Iterator[tuple[int, WholeSample]]:
    """Samples of one tar with every member of theirs as it stands there; those of the others are passed over."""
    reader = _WholeReader(source.caption_column, max_member_bytes, rows)
    try:
        with _open_tar(source.place, shard.url) as file:
            yield from reader.whole(file)
    except TarBreak as error:
        raise BrokenShardError(f"{shard.url} is broken: {error}", next_step="Fetch it again, and scan it again.") from error


def read_tar_image(place: Place, ref: ImageRef, *, max_member_bytes: int = MAX_IMAGE_BYTES) -> bytes:
    """One image of a tar again: by a ranged read, or by streaming to its row where the tar is compressed.

    Raises:
        SourceError: the tar is gone, shorter than it was, or holds no image in that row.
    """
    gone = f"Row {ref.row} ({ref.key!r}) of {ref.shard_url}"
    again = "The source has changed since the scan: scan it again."
    try:
        if ref.byte_offset is not None and ref.num_bytes is not None:
            data: bytes = place.fs.cat_file(place.path(ref.shard_url), start=ref.byte_offset, end=ref.byte_offset + ref.num_bytes)
            if len(data) == ref.num_bytes:
                return data
            raise SourceError(f"{gone} lies beyond the end of the tar.", next_step=again)
        with _open_tar(place, ref.shard_url) as file:
            reader = _SampleReader(None, max_member_bytes, lambda text: None)
            for row, sample in enumerate(reader.samples(file, has_offsets=False)):
                if row == ref.row and sample.data is not None:
                    return sample.data
                if row == ref.row:
                    raise SourceError(f"{gone} has no image: {sample.error_message}", next_step=again)
    except (ObjectError, UnreachableError):
        raise
    except (OSError, TarBreak) as error:
        raise SourceError(f"{gone} cannot be read: {error}", next_step=again) from error
    raise SourceError(f"{gone} is not there.", next_step=again)


def _open_tar(place: Place, name: str) -> IO[bytes]:
    path = place.path(name)
    # unbuffered on local disks: TarStream reads in chunks of its own
    file = cast(IO[bytes], io.FileIO(path) if place.is_local else place.fs.open(path, "rb", block_size=STREAM_BYTES))
    return cast(IO[bytes], _Unzipped(file)) if is_compressed_name(name) else file


class _Unzipped(gzip.GzipFile):
    """A gzip stream that closes its file, and whose damage is a ``TarBreak`` at the unpacked offset."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(fileobj=file, mode="rb")
        self._packed = file
        self._num_read = 0

    def read(self, size: int | None = -1) -> bytes:
        try:
            data = super().read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise TarBreak(self._num_read, f"its gzip stream ends or is damaged ({error}), unpacked,") from error
        self._num_read += len(data)
        return data

    def close(self) -> None:
        super().close()
        self._packed.close()


class _SampleReader:
    """Groups the members of one tar into samples."""

    def __init__(self, caption_column: str | None, max_member_bytes: int, note: Callable[[str], None]) -> None:
        self._caption_column = caption_column
        self._max_member_bytes = max_member_bytes
        self._note = note
        self.num_several = 0

    def samples(self, file: IO[bytes], *, has_offsets: bool) -> Iterator[Sample]:
        """Every sample up to the end of the tar.

        Raises:
            TarBreak: after the last sample, if the tar ends early. A sample whose image was cut is ``unreadable``.
        """
        for group in self._groups(file, has_offsets=has_offsets):
            yield self._finish(group)

    def _groups(self, file: IO[bytes], *, has_offsets: bool) -> Iterator[_Group]:
        """Members by sample, each group as soon as it is whole."""
        stream = TarStream(file)
        group: _Group | None = None
        try:
            while (member := stream.next_member()) is not None:
                key, suffix = split_member(member.name.rstrip("/"))
                if not key:
                    continue
                if member.problem is not None and not _is_image(suffix):
                    self._pass_over(member, key, group)
                    continue
                if group is None or key != group.key or suffix in group.suffixes:
                    if group is not None:
                        yield group
                    group = _Group(key, 0 if group is None else group.number + 1)
                group.suffixes.append(suffix)
                self._take(stream, member, suffix, group, has_offsets=has_offsets)
            end = stream.offset
            if has_offsets and not stream.rest_is_zero():
                self._note(f"what follows the end-of-archive marker at byte {end:,} is not read, as tar programs do")
        except TarBreak:
            if group is not None:
                yield group
            raise
        if group is not None:
            yield group

    def _data(self, stream: TarStream, member: TarMember) -> bytes:
        """The whole data of the member just met.

        Raises:
            TarBreak: the tar ends before.
        """
        data = stream.data(member)
        if len(data) < member.size:
            raise TarBreak(stream.offset, f"it ends {member.size - len(data):,} bytes before the end of {member.name!r}")
        return data

    def _pass_over(self, member: TarMember, key: str, group: _Group | None) -> None:
        """Met a link, a device or the like that is no image."""

    def _take(self, stream: TarStream, member: TarMember, suffix: str, group: _Group, *, has_offsets: bool) -> None:
        if _is_image(suffix):
            is_plain = suffix in IMAGE_EXTENSIONS
            if group.has_image:
                group.num_images += 1
                # "a.jpg" is the image of "a" even where "a.mask.png" comes first; a file beats a link of that name
                if group.image is not None and (group.is_plain or not is_plain):
                    return
            group.num_images = group.num_images or 1
            group.is_plain = is_plain
            group.image, group.problem, group.offset, group.size = None, None, None, None
            if member.problem is not None:
                group.problem = f"its image is a {member.problem}, not a file"
            elif member.size > self._max_member_bytes:
                group.problem = f"its image of {member.size:,} bytes is over the limit of {self._max_member_bytes:,}"
            else:
                group.problem = "cut by the end of the shard"
                group.image = self._data(stream, member)
                group.problem = None
                if has_offsets:
                    group.offset, group.size = member.offset, member.size
        elif suffix in ("txt", "json"):
            if member.size > MAX_TEXT_BYTES:
                self._note(f"{clean_key(member.name)} of {member.size:,} bytes is not read")
                return
            data = self._data(stream, member)
            if suffix == "txt":
                group.text = data
            else:
                group.record = read_record(data) or {}

    def _finish(self, group: _Group) -> Sample:
        record = group.record
        if group.num_images > 1:
            self.num_several += 1
        caption = clean_text(record.get(self._caption_column)) if self._caption_column else None
        if caption is None and group.text:
            caption = clean_text_file(group.text)
        if caption is None:
            caption = clean_text(record.get("caption"))
        sample = Sample(key=clean_key(group.key), caption=caption)
        if record:
            sample.url = clean_text(record.get("url"))
            sample.sha256 = read_sha256(record.get("sha256"))
            sample.width = read_pixels(record.get("width"))
            sample.height = read_pixels(record.get("height"))
        if group.image is not None:
            sample.data = group.image
            sample.byte_offset, sample.num_bytes = group.offset, group.size
        elif group.problem is not None:
            sample.status, sample.error_message = "unreadable", group.problem
        else:
            sample.status = "missing"
            sample.error_message = f"no image among its members: {clean_key(', '.join(group.suffixes[:10]))}"
        return sample


class _WholeReader(_SampleReader):
    """Keeps every member of the samples whose numbers are in ``rows`` (ascending, drawn one by one), and reads no other."""

    def __init__(self, caption_column: str | None, max_member_bytes: int, rows: Iterable[int]) -> None:
        super().__init__(caption_column, max_member_bytes, lambda text: None)
        self._rows = iter(rows)
        self._wanted = next(self._rows, None)
        self._last = b""

    def whole(self, file: IO[bytes]) -> Iterator[tuple[int, WholeSample]]:
        """The samples; nothing is read behind the last of them.

        Raises:
            TarBreak: the tar ends before that.
        """
        if self._wanted is None:
            return
        for group in self._groups(file, has_offsets=False):
            if group.number == self._wanted:
                name, sample = group.key, self._finish(group)
                members, left_out = tuple(group.members), tuple(group.left_out)
                yield group.number, WholeSample(sample=sample, name=name, members=members, left_out=left_out)
                self._wanted = next(self._rows, None)
                if self._wanted is None:
                    return

    def _take(self, stream: TarStream, member: TarMember, suffix: str, group: _Group, *, has_offsets: bool) -> None:
        if group.number != self._wanted:
            return
        limit = self._max_member_bytes if _is_image(suffix) else MAX_IMAGE_BYTES
        if member.problem is not None or member.size > limit:
            self._pass_over(member, group.key, group)
        else:
            self._last = super()._data(stream, member)
            group.members.append(Member(suffix=_written_suffix(member.name), data=self._last))
        super()._take(stream, member, suffix, group, has_offsets=has_offsets)

    def _data(self, stream: TarStream, member: TarMember) -> bytes:
        return self._last

    def _pass_over(self, member: TarMember, key: str, group: _Group | None) -> None:
        if group is not None and group.number == self._wanted and key == group.key:
            group.left_out.append(f"{clean_key(member.name)} ({member.problem or f'{member.size:,} bytes'})")


class _Group:
    """The members of one sample, as far as they were read."""

    __slots__ = (
        "image", "is_plain", "key", "left_out", "members", "num_images", "number", "offset", "problem", "record", "size",
        "suffixes", "text",
    )  # fmt: skip

    def __init__(self, key: str, number: int) -> None:
        self.key = key
        self.number = number
        self.members: list[Member] = []
        self.left_out: list[str] = []
        self.suffixes: list[str] = []
        self.image: bytes | None = None
        self.problem: str | None = None
        self.offset: int | None = None
        self.size: int | None = None
        self.text: bytes | None = None
        self.record: dict[str, object] = {}
        self.num_images = 0
        self.is_plain = False

    @property
    def has_image(self) -> bool:
        return self.num_images > 0


def _written_suffix(name: str) -> str:
    """What follows the first dot of the base name, in the case in which it is written."""
    return name.rpartition("/")[2].partition(".")[2]


def _is_image(suffix: str) -> bool:
    return suffix.rpartition(".")[2] in IMAGE_EXTENSIONS
