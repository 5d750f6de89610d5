"""A folder of images, recursive, with captions from sidecar ``.txt`` files, from a metadata file, or without."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice, takewhile
from typing import ClassVar

from scanner.core.errors import ObjectError, SourceError
from scanner.sources.base import ImageRef, Sample, Shard, WholeSample
from scanner.sources.fetching import fetch
from scanner.sources.fields import MAX_TEXT_BYTES, clean_key, clean_text_file
from scanner.sources.file_source import MAX_IMAGE_BYTES, FileSource
from scanner.sources.folder_metadata import is_metadata_name, read_metadata
from scanner.sources.members import sample_members
from scanner.sources.names import count_noun, is_image_name
from scanner.sources.places import Entry, Place, is_inside

_CUT_EVERY = 4096
_MAX_RUN = 4 * _CUT_EVERY
_BLOCK_FILES = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class _Item:
    """One row to be: a file named like an image, or a name that only the metadata file lists (no ``entry``)."""

    name: str
    entry: Entry | None
    sidecar: Entry | None
    caption: str | None


class FolderSource(FileSource):
    """Images below a folder; shards are runs of one folder's sorted images.

    Runs are cut where a hash of the file name says so (content-defined chunking: Muthitacharoen et al., LBFS, SOSP 2001),
    about every 4,096 images and at most 16,384, so a new file changes only the run it falls into. A sidecar ``.txt`` goes
    before the metadata file nearest above the image, unless ``caption_column`` is named. Links that leave the folder are
    never followed, nor linked folders; hidden names are left out.
    """

    format = "folder"
    options: ClassVar[frozenset[str]] = frozenset({"caption_column"})

    def __init__(self, url: str, *, caption_column: str | None = None, image_column: str | None = None) -> None:
        super().__init__(url, caption_column=caption_column, image_column=image_column)
        self._runs: dict[str, list[_Item]] = {}

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_runs": {}}

    def shards(self) -> list[Shard]:
        runs: dict[str, list[_Item]] = {}
        shards = []
        for folder, items in self._folders().items():
            for run in cut_runs(items):
                url = f"{folder}/#{posixpath.basename(run[0].name)}".lstrip("/")
                runs[url] = run
                size = sum(entry.size for item in run for entry in (item.entry, item.sidecar) if entry)
                shards.append(Shard(url=clean_key(url), size=size, etag=_digest(run), num_rows_estimate=len(run)))
        self._runs = runs  # at once: other threads may be reading
        if not shards:
            raise SourceError(f"No image is in {self.url!r}.", next_step="Images are told by extension: .jpg .png .webp …")
        return shards

    def _rows(self, shard: Shard) -> Iterator[Sample]:
        yield from self._read(self._items(shard.url))

    def _whole(self, shard: Shard, rows: Iterable[int]) -> Iterator[tuple[int, WholeSample]]:
        """Images with their captions; other columns of a metadata file, and other files beside an image, are not read."""
        items = self._items(shard.url)
        wanted = takewhile(lambda row: row < len(items), rows)
        while block := list(islice(wanted, _BLOCK_FILES)):
            for row, sample in zip(block, self._read([items[row] for row in block]), strict=True):
                yield row, WholeSample(sample=sample, name=sample.key, members=sample_members(sample))

    def _read(self, items: list[_Item]) -> Iterator[Sample]:
        """A sample an item, in order."""
        problems = [_problem(self.place, item) for item in items]
        images = fetch(self.place.fs, _files(item.entry for item, problem in zip(items, problems, strict=True) if not problem))
        texts = fetch(self.place.fs, _files(item.sidecar for item in items if self._wants_sidecar(item)))
        for item, problem in zip(items, problems, strict=True):
            caption, is_unfetched = item.caption, False
            if self._wants_sidecar(item):
                text = next(texts)
                if isinstance(text, bytes):
                    caption = clean_text_file(text) or caption
                elif isinstance(text, (ConnectionError, TimeoutError)):
                    raise text
                else:
                    is_unfetched = isinstance(text, ObjectError)
                    self.note(f"the caption file of {clean_key(item.name)} cannot be read: {text}")
            sample = Sample(key=clean_key(item.name), caption=caption, is_unfetched=is_unfetched)
            if problem:
                sample.status, sample.error_message = ("unreadable" if item.entry else "missing"), problem
            else:
                set_image(sample, next(images))
            yield sample

    def read(self, ref: ImageRef) -> bytes:
        again = "The source has changed since the scan: scan it again."
        items = self._items(ref.shard_url)
        item = next((item for item in items if clean_key(item.name) == ref.key), None)
        if item is None:
            raise SourceError(f"{ref.key!r} is no longer in {self.url!r}.", next_step=again)
        problem = _problem(self.place, item)
        data = None if problem else next(fetch(self.place.fs, _files([item.entry])))
        if isinstance(data, bytes):
            return data
        raise SourceError(f"{ref.key!r} cannot be read: {problem or data}", next_step=again)

    def _items(self, shard_url: str) -> list[_Item]:
        """The run of a shard, listed again where this object has not listed it (it came by pickle)."""
        if not self._runs:
            self.shards()
        by_text = self._runs.get(shard_url) or next((run for url, run in self._runs.items() if clean_key(url) == shard_url), None)
        if by_text is None:
            raise SourceError(f"{shard_url} is no longer in {self.url!r}.", next_step="The folder has changed: scan it again.")
        return by_text

    def _wants_sidecar(self, item: _Item) -> bool:
        return item.sidecar is not None and not (self.caption_column and item.caption)

    def _folders(self) -> dict[str, list[_Item]]:
        """Sorted rows of each folder, folders sorted."""
        entries = self.place.entries(self.note)
        by_name = {entry.name: entry for entry in entries}
        self._note_linked_folders(entries)
        captions = self._captions(by_name)
        names = {entry.name for entry in entries if is_image_name(entry.name)} | captions.keys()
        folders: dict[str, list[_Item]] = {}
        for name in sorted(names):
            sidecar = by_name.get(posixpath.splitext(name)[0] + ".txt")
            if sidecar is not None and not self.place.link_problem(sidecar):
                sidecar = self.place.followed(sidecar)
            if sidecar is not None and (sidecar.kind != "file" or sidecar.size > MAX_TEXT_BYTES):
                self.note(f"{clean_key(sidecar.name)} is not read: no file inside the source, or over {MAX_TEXT_BYTES:,} bytes")
                sidecar = None
            entry = by_name.get(name)
            if entry is not None and not self.place.link_problem(entry):
                entry = self.place.followed(entry)
            item = _Item(name=name, entry=entry, sidecar=sidecar, caption=captions.get(name))
            folders.setdefault(posixpath.dirname(name), []).append(item)
        return dict(sorted(folders.items()))

    def _captions(self, by_name: dict[str, Entry]) -> dict[str, str | None]:
        """Caption by name relative to the root; a metadata file deeper in the tree goes before one above it."""
        captions: dict[str, str | None] = {}
        found = [entry for entry in by_name.values() if is_metadata_name(entry.name) and entry.kind != "directory"]
        for entry in sorted(found, key=lambda entry: (-entry.name.count("/"), entry.name)):
            if problem := self.place.link_problem(entry):
                self.note(f"{clean_key(entry.name)} is not read: {problem}")
                continue
            folder = posixpath.dirname(entry.name)
            read = read_metadata(self.place, entry, caption_column=self.caption_column, note=self.note)
            outside = [name for name in read if not is_inside(name)]
            if outside:
                some = f"{count_noun(len(outside), 'name')} outside of its folder left out, the first {clean_key(outside[0])!r}"
                self.note(f"{entry.name}: {some}")
            for name, caption in read.items():
                if is_inside(name):
                    captions.setdefault(posixpath.normpath(f"{folder}/{name}" if folder else name), caption)
        return captions

    def _note_linked_folders(self, entries: list[Entry]) -> None:
        if not self.place.is_local:
            return
        for entry in entries:
            if entry.kind == "link" and not is_image_name(entry.name) and self.place.followed(entry).kind == "directory":
                self.note(f"the linked folder {clean_key(entry.name)} is not followed")


def cut_runs(items: list[_Item]) -> Iterator[list[_Item]]:
    """Sorted rows of one folder cut before each name whose hash is a multiple of 4,096, and at 16,384 rows."""
    run: list[_Item] = []
    for item in items:
        name = posixpath.basename(item.name).encode("utf-8", "surrogateescape")
        is_cut = int.from_bytes(blake2b(name, digest_size=8).digest(), "big") % _CUT_EVERY == 0
        if run and (is_cut or len(run) == _MAX_RUN):
            yield run
            run = []
        run.append(item)
    if run:
        yield run


def set_image(sample: Sample, data: bytes | Exception) -> None:
    """Puts fetched bytes into the sample, or the reason why there are none."""
    if isinstance(data, (ConnectionError, TimeoutError)):
        raise data
    if isinstance(data, FileNotFoundError):
        sample.status, sample.error_message = "missing", "gone since the folder was listed"
    elif isinstance(data, ObjectError):
        sample.status, sample.error_message, sample.is_unfetched = "missing", data.message, True
    elif isinstance(data, Exception):
        sample.status, sample.error_message = "unreadable", f"cannot be read: {getattr(data, 'strerror', None) or data}"
    else:
        sample.data = data


def _problem(place: Place, item: _Item) -> str | None:
    """Why the row has no image to read."""
    entry = item.entry
    if entry is None:
        return "listed in the metadata file, but not there"
    return entry_problem(place, entry)


def entry_problem(place: Place, entry: Entry) -> str | None:
    """Why something named like an image must not or cannot be read as one; None where it is a file."""
    if entry.kind == "directory":
        return "a directory, not a file"
    if entry.kind == "other":
        return "a device, pipe or socket, not a file"
    if problem := place.link_problem(entry):
        return problem
    size = place.followed(entry).size
    return f"{size:,} bytes are over the limit of {MAX_IMAGE_BYTES:,}" if size > MAX_IMAGE_BYTES else None


def _files(entries: Iterable[Entry | None]) -> list[tuple[str, int]]:
    return [(entry.path, entry.size) for entry in entries if entry is not None]


def _digest(run: list[_Item]) -> str:
    digest = blake2b(digest_size=16)
    for item in run:
        parts = [(entry.name, entry.size, entry.etag, entry.kind) if entry else None for entry in (item.entry, item.sidecar)]
        digest.update(repr((item.name, item.caption, parts)).encode())  # repr keeps undecodable names as escapes
    return digest.hexdigest()
