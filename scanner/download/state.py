"""What a folder of downloads was made of, and how far it is: ``download.json``.

A pass is a set of prepared lists. The first ones are the user's; each later one holds what failed before for a reason that may
pass. A pass is finished when img2dataset has written all its shards, and settled when its transient failures have moved on to a
later pass: a row stands in one side-car file at any time, the last one that tried it.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scanner.core.errors import SourceError

VERSION = 1
STATE_FILE = "download.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class ListFile:
    """A prepared list of at most a million rows. Its shards are numbered from ``first_shard``, one a row group."""

    name: str
    num_rows: int
    first_shard: int

    def shards(self, shard_rows: int) -> range:
        return range(self.first_shard, self.first_shard - (-self.num_rows // shard_rows))


@dataclass(kw_only=True, slots=True)
class Pass:
    """Attributes:
    files: prepared lists.
    is_retry: of what failed in earlier passes.
    is_finished, is_settled: see the module.
    num_ok, num_failed, num_transient: rows of its side-cars: downloaded, failed for good, failed for now.
    reasons: of those that failed, how often, the most frequent ones.
    """

    files: list[ListFile]
    is_retry: bool = False
    is_finished: bool = False
    is_settled: bool = False
    num_ok: int = 0
    num_failed: int = 0
    num_transient: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        return sum(file.num_rows for file in self.files)


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenIn:
    """A file of the user's list, as it was when it was read."""

    name: str
    size: int
    etag: str


@dataclass(kw_only=True)
class State:
    """Attributes:
    url: of the user's list.
    image_size: of the images.
    shard_rows: of each shard.
    columns: of the prepared lists beside row, URL and caption: name and type.
    has_captions: whether the list has a column of them.
    """

    url: str
    image_size: int
    shard_rows: int
    columns: dict[str, str]
    has_captions: bool
    lists: list[TakenIn] = field(default_factory=list)
    passes: list[Pass] = field(default_factory=list)

    @property
    def num_rows(self) -> int:
        """Of the user's list, as far as it was taken in."""
        return sum(a_pass.num_rows for a_pass in self.passes if not a_pass.is_retry)

    @property
    def num_shards(self) -> int:
        return sum(len(file.shards(self.shard_rows)) for a_pass in self.passes for file in a_pass.files)

    def reasons(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for a_pass in self.passes:
            found.update(a_pass.reasons)
        return found

    def save(self, folder: Path) -> None:
        """Replaces the file at once, so that a reader sees the old state or the new one."""
        temporary = folder / f".{STATE_FILE}.tmp"
        with temporary.open("w", encoding="utf-8") as file:
            json.dump({"version": VERSION, **asdict(self)}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / STATE_FILE)

    @classmethod
    def load(cls, folder: Path) -> State | None:
        """The state of a folder, None where nothing was downloaded yet.

        Raises:
            SourceError: it is damaged, or of another version.
        """
        path = folder / STATE_FILE
        if not path.is_file():
            return None
        try:
            data: dict[str, Any] = json.loads(path.read_text("utf-8"))
            if data.pop("version") != VERSION:
                raise ValueError("another version")
            data["lists"] = [TakenIn(**item) for item in data["lists"]]
            data["passes"] = [Pass(**{**item, "files": [ListFile(**file) for file in item["files"]]}) for item in data["passes"]]
            return cls(**data)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SourceError(
                f"{path} cannot be used: {error}.", next_step="Download into another folder, with --images DIR."
            ) from error
