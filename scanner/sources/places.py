"""Where a source lies: a URL resolved to a file system, a root, and the files that are meant."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import product
from typing import TYPE_CHECKING, Literal

from scanner.core.errors import SourceError, nearest
from scanner.core.remote import driver_hint, open_filesystem
from scanner.sources.fetching import find_all
from scanner.sources.names import is_hidden

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

EntryKind = Literal["file", "directory", "link", "other"]

_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")
_MAX_BRACE_NAMES = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One name below the root.

    Attributes:
        name: relative to the root, with ``/``.
        path: for the file system.
        size: bytes; of the target for a link.
        etag: changes when the content does; None where the file system tells nothing.
        kind: ``link`` is a symbolic link of a local disk, ``other`` a device, pipe or socket.
    """

    name: str
    path: str
    size: int
    etag: str | None
    kind: EntryKind


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A resolved URL. ``names`` lists the files it names (one file, or braces); ``pattern`` is its glob; else a folder."""

    fs: AbstractFileSystem
    root: str
    names: tuple[str, ...] | None = None
    pattern: str | None = None

    @property
    def is_local(self) -> bool:
        return is_local(self.fs)

    def path(self, name: str) -> str:
        """Path of a name below the root, for the file system.

        Raises:
            SourceError: the name leads out of the root.
        """
        if not is_inside(name):
            raise SourceError(f"{name!r} lies outside of the source.", next_step="Scan the folder above it instead.")
        return join(self.root, name)

    def entries(self, on_error: Callable[[str], None] | None = None) -> list[Entry]:
        """Everything meant by the URL, folders included, hidden names left out, sorted by name.

        ``on_error`` is told of folders that cannot be listed.

        Raises:
            SourceError: files that the URL names are absent.
        """
        if self.names is not None:
            return self._named()
        if self.pattern is not None:
            found = self.fs.glob(self.pattern, detail=True)
            return sorted((self._entry(info) for info in found.values()), key=lambda entry: entry.name)
        if self.is_local:
            listed = list(_scan_local(self.root, on_error))
        else:
            listed = [self._entry(info) for info in find_all(self.fs, self.root) if _strip(info["name"]) != self.root]
        return sorted((entry for entry in listed if not is_hidden(entry.name)), key=lambda entry: entry.name)

    def look_up(self, name: str) -> Entry | None:
        """One name below the root, None where nothing is; a ``link`` if any part of its path is one."""
        path = self.path(name)
        try:
            if not self.is_local:
                return self._entry(self.fs.info(path))
            entry = _local_entry(name, path, os.lstat(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        is_straight = os.path.realpath(path) == os.path.join(os.path.realpath(self.root), name)
        return entry if is_straight else replace(entry, kind="link")

    def files(self, is_wanted: Callable[[str], bool], on_error: Callable[[str], None] | None = None) -> list[Entry]:
        """The wanted regular files among ``entries``; links are followed, for caches keep shards as links."""
        found = (self.followed(entry) for entry in self.entries(on_error) if is_wanted(entry.name))
        return [entry for entry in found if entry.kind == "file"]

    def followed(self, entry: Entry) -> Entry:
        """The entry with the kind, size and etag of what a link points to; broken links stay links."""
        if entry.kind != "link":
            return entry
        try:
            return _local_entry(entry.name, entry.path, os.stat(entry.path))
        except OSError:
            return entry

    def link_problem(self, entry: Entry) -> str | None:
        """Why a link must not be read; None where it leads to a regular file inside the root, or is no link."""
        if entry.kind != "link":
            return None
        target = os.path.realpath(entry.path)
        root = os.path.realpath(self.root)
        if os.path.commonpath([target, root]) != root:
            return "a link to a file outside of the source"
        kind = self.followed(entry).kind
        return None if kind == "file" else "a link to nothing" if kind == "link" else "a link to something that is not a file"

    def _named(self) -> list[Entry]:
        assert self.names is not None
        folders: dict[str, dict[str, Entry]] = {}
        found, absent = [], []
        for name in self.names:
            parent = posixpath.dirname(name)
            if parent not in folders:
                if len(self.names) == 1:
                    folders[parent] = {name: self._one(name)}
                else:
                    listed = self.fs.ls(join(self.root, parent), detail=True) if self.fs.exists(join(self.root, parent)) else []
                    entries = [self._entry(info) for info in listed]
                    folders[parent] = {entry.name: entry for entry in entries}
            if name in folders[parent]:
                found.append(folders[parent][name])
            else:
                absent.append(name)
        if absent:
            some = ", ".join(absent[:3]) + (", …" if len(absent) > 3 else "")
            raise SourceError(
                f"{len(absent):,} of the {len(self.names):,} files that the braces name are absent from {self.root}: {some}",
                next_step="Name only files that exist, or give the folder to read every shard in it.",
            )
        return found

    def _one(self, name: str) -> Entry:
        path = join(self.root, name)
        if self.is_local:
            return _local_entry(name, path, os.stat(path))
        # ls, not info: some file systems word the times of the two differently, and an etag must not depend on the URL's form.
        listed = [info for info in self.fs.ls(path, detail=True) if _strip(info["name"]) == path]
        return self._entry(listed[0] if listed else self.fs.info(path))

    def _entry(self, info: dict[str, object]) -> Entry:
        path = _strip(str(info["name"]))
        name = path.removeprefix(self.root).lstrip("/")
        if self.is_local:
            return _local_entry(name, path, os.lstat(path))
        # An empty object whose name ends with a slash stands for a folder, where somebody made one by hand.
        is_folder = info.get("type") == "directory" or str(info["name"]).endswith("/")
        kind: EntryKind = "directory" if is_folder else "file"
        size = info.get("size")
        return Entry(name=name, path=path, size=size if isinstance(size, int) else 0, etag=_etag(info), kind=kind)


def resolve(url: str) -> Place:
    """The file system, root and files of a URL: a file, a folder, a glob, or names with ``{000..041}`` or ``{a,b}``.

    Raises:
        SourceError: no such place, or no driver for the protocol.
        ConfigError: the url holds credentials.
    """
    try:
        fs, path = open_filesystem(url)
    except (ImportError, ValueError) as error:
        raise SourceError(f"{url!r} cannot be opened: {error}", next_step=driver_hint(url)) from error
    path = _strip(path)
    if fs.isfile(path):
        return Place(fs=fs, root=posixpath.dirname(path), names=(posixpath.basename(path),))
    if fs.isdir(path):
        return Place(fs=fs, root=path)
    if _BRACES.search(path):
        root = posixpath.dirname(path[: path.index("{")])
        names = tuple(name.removeprefix(root).lstrip("/") for name in expand_braces(path))
        return Place(fs=fs, root=root, names=names)
    if any(sign in path for sign in "*?["):
        root = posixpath.dirname(re.split(r"[*?\[]", path, maxsplit=1)[0])
        return Place(fs=fs, root=root, pattern=path)
    raise SourceError(f"Nothing is at {url!r}.", next_step=_suggestion(fs, path))


def expand_braces(text: str) -> list[str]:
    """``a{08..10}.tar`` -> ``a08.tar a09.tar a10.tar``, ``{x,y}`` -> ``x y``; several braces multiply.

    Raises:
        SourceError: a range that runs backwards, or more than a million names.
    """
    pieces: list[Sequence[str]] = []
    position, total = 0, 1
    for match in _BRACES.finditer(text):
        first, last, words = match.groups()
        if words is not None:
            choices = words.split(",")
        elif int(last) < int(first):
            raise SourceError(f"The range {match.group()} runs backwards.", next_step=f"Write {{{last}..{first}}}.")
        elif int(last) - int(first) >= _MAX_BRACE_NAMES:
            total = _MAX_BRACE_NAMES + 1
            break
        else:
            choices = [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
        total *= len(choices)
        pieces += [(text[position : match.start()],), choices]
        position = match.end()
    if total > _MAX_BRACE_NAMES:
        raise SourceError(f"{text!r} names more than {_MAX_BRACE_NAMES:,} files.", next_step="Give the folder instead.")
    return ["".join(parts) for parts in product(*pieces, (text[position:],))]


def is_local(fs: AbstractFileSystem) -> bool:
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(fs, LocalFileSystem)


def join(root: str, name: str) -> str:
    return f"{root.rstrip('/')}/{name}" if name else root


def is_inside(name: str) -> bool:
    """A relative name that stays below its root."""
    normal = posixpath.normpath(name)
    return not name.startswith("/") and normal != ".." and not normal.startswith("../") and "\0" not in name


def _scan_local(root: str, on_error: Callable[[str], None] | None) -> Iterator[Entry]:
    """Local folders are listed here and not by fsspec, which drops folders it may not list and rounds times."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(join(root, folder)) as items:
                for item in items:
                    name = f"{folder}/{item.name}" if folder else item.name
                    entry = _local_entry(name, item.path, item.stat(follow_symlinks=False))
                    if entry.kind == "directory" and not item.name.startswith("."):
                        waiting.append(name)
                    yield entry
        except PermissionError as error:
            if on_error is None:
                raise
            on_error(f"folder {folder or '.'} cannot be listed: {error.strerror}")


def _local_entry(name: str, path: str, status: os.stat_result) -> Entry:
    mode = status.st_mode
    kind: EntryKind = (
        "file" if stat.S_ISREG(mode) else "directory" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "other"
    )
    return Entry(name=name, path=path, size=status.st_size, etag=str(status.st_mtime_ns), kind=kind)


def _etag(info: dict[str, object]) -> str | None:
    for name in ("ETag", "etag", "md5Hash", "blob_id", "checksum", "mtime", "LastModified", "last_modified", "created"):
        value = info.get(name)
        if isinstance(value, datetime):
            return value.isoformat()
        if value is not None:
            return str(value).strip('"')
    return None


def _strip(path: str) -> str:
    return path.rstrip("/") or "/"


def _suggestion(fs: AbstractFileSystem, path: str) -> str:
    parent = posixpath.dirname(path)
    try:
        siblings = [posixpath.basename(_strip(str(name))) for name in fs.ls(parent, detail=False)]
    except (OSError, ValueError):
        return f"{parent} is not there either: check the path."
    return nearest(posixpath.basename(path), siblings[:1000]) if siblings else f"{parent} is empty: check the path."
