"""img2dataset's output in its three layouts, the downloads that failed included (github.com/rom1504/img2dataset)."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, ClassVar, Literal

from scanner.core.errors import BrokenShardError, ObjectError, SourceError
from scanner.sources.base import ImageRef, Member, Sample, Shard, WholeSample
from scanner.sources.columns import find_columns, find_payload
from scanner.sources.fetching import fetch
from scanner.sources.fields import MAX_TEXT_BYTES, clean_key, clean_text, clean_text_file, read_pixels, read_record, read_sha256
from scanner.sources.file_source import BYTES_PER_IMAGE_ROW, FileSource
from scanner.sources.folder import entry_problem, set_image
from scanner.sources.members import caption_member, chosen, image_suffix, tell_caption
from scanner.sources.names import extension, is_image_name, is_tar_name
from scanner.sources.parquet import ParquetSource, is_bookkeeping
from scanner.sources.parquet_files import batches, open_parquet, read_failures, read_fields
from scanner.sources.places import Entry
from scanner.sources.webdataset import read_tar_image, read_tar_shard, read_whole_samples

if TYPE_CHECKING:
    from collections.abc import Iterable

Layout = Literal["webdataset", "parquet", "files"]

_BATCH_ROWS = 4096


@dataclass(kw_only=True)
class _Stem:
    """The files that share a shard's name: ``00000.tar``, ``00000.parquet``, ``00000_stats.json``, ``00000/…``."""

    tar: Entry | None = None
    parquet: Entry | None = None
    stats: Entry | None = None
    files: list[Entry] = field(default_factory=list)

    @property
    def entries(self) -> list[Entry]:
        return [entry for entry in (self.tar, self.parquet, *self.files) if entry is not None]


class Img2datasetSource(FileSource):
    """A folder that img2dataset wrote, as ``webdataset``, ``parquet`` or ``files``.

    Rows come in the order of the tar (of the file; of the keys), then those that only the side-car Parquet lists, by key:
    failed downloads as ``missing`` with ``status: error_message``, what was downloaded and is no image as ``unreadable``.
    ``sha256`` is of the file as downloaded, before any resizing. A tar without its side-car is read as plain webdataset.
    """

    format = "img2dataset"
    options: ClassVar[frozenset[str]] = frozenset({"caption_column"})

    def __init__(self, url: str, *, caption_column: str | None = None, image_column: str | None = None) -> None:
        super().__init__(url, caption_column=caption_column, image_column=image_column)
        self._listed: dict[str, _Stem] = {}

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_listed": {}}

    def shards(self) -> list[Shard]:
        shards = []
        for stem, found in self._stems().items():
            if found.stats is None:
                self.note(f"{stem}: no {posixpath.basename(stem)}_stats.json, so img2dataset did not finish this shard")
            entries = found.entries
            size = sum(entry.size for entry in entries)
            rows = len(found.files) if self._layout(stem) == "files" else size // BYTES_PER_IMAGE_ROW
            shards.append(Shard(url=self._shard_url(stem), size=size, etag=_digest(entries), num_rows_estimate=max(1, rows)))
        return shards

    def _rows(self, shard: Shard) -> Iterator[Sample]:
        stem = _stem_of(shard.url)
        found = self._stems().get(stem)
        if found is None:
            raise BrokenShardError(f"{shard.url} is no longer in {self.url!r}.")
        layout = self._layout(stem)
        if layout == "parquet":
            yield from self._parquet().samples(shard)
            return
        broken: BrokenShardError | None = None
        listed: dict[str, Sample] = {}
        if found.parquet is not None:
            try:
                listed = self._read_sidecar(found.parquet)
            except BrokenShardError as error:
                broken = error
        images = self._tar_samples(shard, found) if layout == "webdataset" else self._file_samples(found, with_records=not listed)
        try:
            for sample in images:
                row = listed.pop(sample.key, None)
                if row is not None:
                    self._complete(sample, row)
                yield sample
        except BrokenShardError as error:
            broken = error
        for key in sorted(listed):
            row = listed[key]
            # What came and is no image is not missing: it is there, and nothing to look at.
            is_unreadable = row.error_message is not None and row.error_message.startswith("failed_to_resize")
            row.status = "unreadable" if is_unreadable else "missing"
            row.error_message = row.error_message or f"listed as downloaded, but not in {shard.url}"
            yield row
        if broken is not None:
            raise broken

    def _whole(self, shard: Shard, rows: Iterable[int]) -> Iterator[tuple[int, WholeSample]]:
        """As the files stand there; a caption that only the side-car has becomes a ``.txt``."""
        stem = _stem_of(shard.url)
        found, layout = self._stems()[stem], self._layout(stem)
        if layout == "parquet":
            yield from self._parquet().whole(shard, rows)
            return
        listed = self._read_sidecar(found.parquet) if found.parquet is not None else {}
        files = self._whole_files(found, with_records=not listed)
        images = read_whole_samples(self, shard, rows) if layout == "webdataset" else chosen(files, rows)
        for row, whole in images:
            sample = whole.sample
            if sample.key in listed:
                self._complete(sample, listed[sample.key])
            if sample.caption is not None and not tell_caption(whole.members):
                others = (member for member in whole.members if member.suffix.lower() != "txt")
                whole = replace(whole, members=(*others, caption_member(sample.caption)))
            yield row, whole

    def _whole_files(self, found: _Stem, *, with_records: bool) -> Iterator[tuple[int, WholeSample]]:
        """Each image of a folder with the files of its name beside it."""
        beside: dict[str, list[Entry]] = {}
        for entry in found.files:
            if not is_image_name(entry.name) and entry.kind == "file":
                beside.setdefault(_key(entry), []).append(entry)
        for row, sample in enumerate(self._file_samples(found, with_records=with_records)):
            members = [Member(suffix=image_suffix(sample.key, sample.data), data=sample.data)] if sample.data is not None else []
            for entry in beside.get(sample.key, ()):
                (data,) = fetch(self.place.fs, [(entry.path, entry.size)])
                if not isinstance(data, bytes):
                    raise BrokenShardError(f"{entry.name} cannot be read: {data}")
                members.append(Member(suffix=extension(entry.name), data=data))
            yield row, WholeSample(sample=sample, name=sample.key, members=tuple(members))

    def read(self, ref: ImageRef) -> bytes:
        stem = _stem_of(ref.shard_url)
        layout = self._layout(stem)
        if layout == "parquet":
            return self._parquet().read(ref)
        if layout == "webdataset":
            return read_tar_image(self.place, ref)
        files = self._stems()[stem].files
        entry = next((entry for entry in files if is_image_name(entry.name) and _key(entry) == ref.key), None)
        if entry is not None and entry_problem(self.place, entry) is None:
            (data,) = fetch(self.place.fs, [(entry.path, entry.size)])
            if isinstance(data, bytes):
                return data
        raise SourceError(f"{ref.key!r} is no longer in {ref.shard_url}.", next_step="The source has changed: scan it again.")

    def _stems(self) -> dict[str, _Stem]:
        """Shards by their common name, sorted; listed once."""
        if self._listed:
            return self._listed
        entries = [self.place.followed(entry) for entry in self.place.entries(self.note)]
        stems: dict[str, _Stem] = {}
        for entry in entries:
            if is_bookkeeping(entry.name):
                continue
            if entry.kind == "file" and is_tar_name(entry.name):
                stems.setdefault(_stem_of(entry.name), _Stem()).tar = entry
            elif entry.kind == "file" and extension(entry.name) == "parquet":
                stems.setdefault(_stem_of(entry.name), _Stem()).parquet = entry
        for entry in entries:
            folder = posixpath.dirname(entry.name)
            if entry.name.endswith("_stats.json") and (stem := entry.name.removesuffix("_stats.json")) in stems:
                stems[stem].stats = entry
            elif folder in stems:
                stems[folder].files.append(entry)
        if not stems:
            raise SourceError(
                f"No output of img2dataset is in {self.url!r}.",
                next_step="Give the folder that holds 00000.tar or 00000.parquet, or name another format.",
            )
        self._listed = dict(sorted(stems.items()))
        return self._listed

    def _layout(self, stem: str) -> Layout:
        found = self._stems().get(stem)
        if found is None or found.tar is not None:
            return "webdataset"
        if found.files:
            return "files"
        assert found.parquet is not None
        try:
            with open_parquet(self.place, found.parquet.name) as parquet:
                has_images = find_payload(parquet.schema_arrow, "image") is not None
        except BrokenShardError:
            has_images = True  # reading it will say what is wrong
        return "parquet" if has_images else "files"

    def _shard_url(self, stem: str) -> str:
        found = self._stems()[stem]
        if found.tar is not None:
            return found.tar.name
        return stem if found.files or found.parquet is None else found.parquet.name

    def _parquet(self) -> ParquetSource:
        return _PartOfSource(self)

    def _tar_samples(self, shard: Shard, found: _Stem) -> Iterator[Sample]:
        return read_tar_shard(self, shard) if found.tar is not None else iter(())

    def _file_samples(self, found: _Stem, *, with_records: bool) -> Iterator[Sample]:
        """Images of one folder by key; captions from the files beside them only where no side-car lists them."""
        by_name = {entry.name: entry for entry in found.files}
        entries = [entry for entry in found.files if is_image_name(entry.name)]
        problems = [entry_problem(self.place, entry) for entry in entries]
        sound = [(entry.path, entry.size) for entry, problem in zip(entries, problems, strict=True) if problem is None]
        images = fetch(self.place.fs, sound)
        for entry, problem in zip(entries, problems, strict=True):
            sample = Sample(key=_key(entry))
            if problem is None:
                set_image(sample, next(images))
            else:
                sample.status, sample.error_message = "unreadable", problem
            if with_records:
                self._read_beside(sample, entry, by_name)
            yield sample

    def _read_beside(self, sample: Sample, entry: Entry, by_name: dict[str, Entry]) -> None:
        stem = posixpath.splitext(entry.name)[0]
        beside = [by_name.get(f"{stem}.{suffix}") for suffix in ("json", "txt")]
        for other in beside:
            if other is None or other.kind != "file" or other.size > MAX_TEXT_BYTES:
                continue
            (data,) = fetch(self.place.fs, [(other.path, other.size)])
            if isinstance(data, (ConnectionError, TimeoutError)):
                raise data
            if not isinstance(data, bytes):
                sample.is_unfetched |= isinstance(data, ObjectError)
                continue
            if extension(other.name) == "txt":
                sample.caption = clean_text_file(data) or sample.caption
                continue
            record = read_record(data) or {}
            sample.caption = clean_text(record.get(self.caption_column or "caption"))
            sample.url = clean_text(record.get("url"))
            sample.sha256 = read_sha256(record.get("sha256"))
            sample.width, sample.height = read_pixels(record.get("width")), read_pixels(record.get("height"))

    def _read_sidecar(self, entry: Entry) -> dict[str, Sample]:
        """What the side-car lists, by key: a sample without an image, ``error_message`` set where it failed."""
        listed: dict[str, Sample] = {}
        with open_parquet(self.place, entry.name) as parquet:
            schema = parquet.schema_arrow
            caption = self.caption_column if self.caption_column in schema.names else None
            columns = find_columns(schema, payload="none", caption_column=caption, where=entry.name)
            if columns.key is None:
                self.note(f"{entry.name} has no column key: it is not used")
                return {}
            for first_row, batch in batches(parquet, columns.names(), size=_BATCH_ROWS):
                for sample, failure in zip(read_fields(batch, columns, first_row), read_failures(batch, columns), strict=True):
                    sample.error_message = failure
                    listed[sample.key] = sample
        return listed

    def _complete(self, sample: Sample, row: Sample) -> None:
        if self.caption_column is not None:
            sample.caption = row.caption or sample.caption
        else:
            sample.caption = sample.caption or row.caption
        sample.url = sample.url or row.url
        sample.sha256 = sample.sha256 or row.sha256
        sample.width = sample.width or row.width
        sample.height = sample.height or row.height


class _PartOfSource(ParquetSource):
    """The Parquet reader on the files of another source, whose counts it leaves alone."""

    def __init__(self, source: Img2datasetSource) -> None:
        super().__init__(source.url, caption_column=source.caption_column)
        self.place = source.place


def _stem_of(name: str) -> str:
    for suffix in (".tar.gz", ".tgz", ".tar", ".parquet"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _key(entry: Entry) -> str:
    return clean_key(posixpath.splitext(posixpath.basename(entry.name))[0])


def _digest(entries: Iterable[Entry]) -> str:
    digest = blake2b(digest_size=16)
    for entry in entries:
        digest.update(f"{entry.name}\0{entry.size}\0{entry.etag}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
