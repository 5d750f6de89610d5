"""The samples that stay, in order, whole, from where they came; each is what the scan saw, or the export ends with an error."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from scanner.core.errors import BrokenShardError, ConfigError, SourceError
from scanner.core.ids import row_of, shard_of
from scanner.core.sql import connect, fetch_blocks, find_query
from scanner.core.store import Store
from scanner.sources.base import Member, Shard, Source, WholeSample
from scanner.sources.names import count_noun

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_ROWS = 16_384
OpenSources = Callable[[], Mapping[str, Source]]
"""Opens the sources of a run, by the names that column ``dataset`` carries."""
AGAIN = "Run the same scan again, which takes in what has changed, and export that into another folder."


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleRow:
    """A row of query ``export/samples``."""

    image_id: int
    dataset: str
    shard: str
    source_key: str
    key: str
    caption: str | None
    url: str | None
    sha256: bytes | None
    num_bytes: int | None
    width: int | None
    height: int | None
    sample_weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedSample:
    """A sample as it leaves. ``key`` is the one it gets, ``image`` the member that is its image."""

    row: SampleRow
    key: str
    members: tuple[Member, ...]
    image: Member
    left_out: tuple[str, ...]


def query_rows(run: Store, out: Store, name: str, given: Mapping[str, object] | None = None) -> Iterator[pa.RecordBatch]:
    """Rows of a query over the tables of the run and ``keep`` of the export, ``BLOCK_ROWS`` at a time whatever DuckDB hands over:
    the same rows are the same blocks, and files that are made of them the same bytes."""
    query = find_query(name)
    with connect(out, beside=run) as connection:
        yield from _even(fetch_blocks(connection, query.sql, query.arguments(given or {}), rows=BLOCK_ROWS, name=name))


def _even(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of ``BLOCK_ROWS``, but for the last."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    num_waiting = 0
    for batch in batches:
        while batch.num_rows:
            piece = batch.slice(0, BLOCK_ROWS - num_waiting)
            batch = batch.slice(piece.num_rows)
            waiting.append(piece)
            num_waiting += piece.num_rows
            if num_waiting == BLOCK_ROWS:
                yield pa.concat_batches(waiting)
                waiting, num_waiting = [], 0
    if waiting:
        yield pa.concat_batches(waiting)


def sample_rows(run: Store, out: Store) -> Iterator[SampleRow]:
    """What stays, by ascending id."""
    for batch in query_rows(run, out, "export/samples"):
        for row in batch.to_pylist():
            yield SampleRow(**row)


class SampleReader:
    """Reads samples again from the sources of a run, which are opened and looked at when the first is wanted.

    Args:
        shard_ids: all shards that samples will be read from.

    Attributes:
        notes: what should be known of what was read.
    """

    def __init__(self, run: Store, open_sources: OpenSources, shard_ids: Sequence[int]) -> None:
        self._open_sources = open_sources
        self._sources: Mapping[str, Source] | None = None
        self._shards = {row["shard_id"]: row for row in run.read("shards").to_pylist()}
        self._shard_ids = shard_ids
        self.notes: list[str] = []

    def _check(self) -> None:
        """That the shards are as the scan saw them, by path, size and etag.

        Raises:
            ConfigError: their source is not in the config, or holds no images.
            SourceError: they are gone or have changed; says how many and which first.
        """
        listed: dict[str, set[tuple[str, int, str | None]]] = {}
        changed = []
        for shard_id in self._shard_ids:
            row = self._shards[shard_id]
            dataset = row["dataset"]
            if dataset not in listed:
                source = self._source(dataset)
                listed[dataset] = {(shard.url, shard.size, shard.etag) for shard in source.shards()}
            if (row["url"], row["size"], row["etag"]) not in listed[dataset]:
                changed.append(f"{dataset}/{row['url']}")
        if changed:
            raise SourceError(
                f"{count_noun(len(changed), 'shard')} of the source changed or went since the scan, the first {changed[0]}.",
                next_step=AGAIN,
            )

    def read(self, rows: Iterable[SampleRow]) -> Iterator[ExportedSample]:
        """The sample of each row, in order; every shard is gone through once.

        Raises:
            ConfigError: a source holds no images.
            SourceError: a shard has changed, which is seen before anything is read; a sample is gone or is not what the scan saw.
        """
        if self._sources is None:
            self._sources = self._open_sources()
            self._check()
        for shard_id, group in groupby(rows, key=lambda row: shard_of(row.image_id)):
            shard = self._shards[shard_id]
            source = self._source(shard["dataset"])
            place = Shard(url=shard["url"], size=shard["size"], etag=shard["etag"], num_rows_estimate=shard["num_rows"] or 0)
            asked: deque[SampleRow] = deque()
            try:
                for number, whole in source.whole(place, _numbers(group, asked)):
                    row = asked.popleft()
                    if number != row_of(row.image_id):
                        raise _gone(row)
                    yield self._exported(row, whole)
            except BrokenShardError as error:
                if shard["status"] != "broken":
                    raise
                if asked:
                    raise _gone(asked[0]) from error
            if asked:
                raise _gone(asked[0])

    def _source(self, dataset: str) -> Source:
        assert self._sources is not None, "opened before anything is read"
        if dataset not in self._sources:
            raise ConfigError(f"The run has no source {dataset!r}.", next_step="Its run.yaml names the sources.")
        source = self._sources[dataset]
        if source.embedding_dim is not None:
            raise ConfigError(
                f"{dataset} holds embeddings and no images.", next_step="Export ids, datacomp or curator, or scan the images."
            )
        if source.format == "folder":
            note = f"{dataset} is a folder: images, captions and paths leave; other columns of metadata files do not"
            self.notes = [*dict.fromkeys([*self.notes, note])]
        return source

    def _exported(self, row: SampleRow, whole: WholeSample) -> ExportedSample:
        sample = whole.sample
        if sample.is_unfetched:
            raise SourceError(f"{row.source_key!r}: {sample.error_message}", next_step="Run the same export again.")
        digest = hashlib.sha256(sample.data).digest() if sample.data is not None else None
        # img2dataset records the digest of the file as downloaded; where that is what the scan took down, it is compared.
        is_claimed = row.sha256 is not None and row.sha256 == sample.sha256 and row.num_bytes == len(sample.data or b"")
        is_same = digest is not None and (digest == row.sha256 or is_claimed)
        if not is_same or sample.key != row.source_key or sample.caption != row.caption:
            raise _gone(row)
        image = next(member for member in whole.members if member.data == sample.data)
        # As the source writes it, which need not be text, unless it had to be changed.
        key = whole.name if row.key == row.source_key else row.key
        return ExportedSample(row=row, key=key, members=whole.members, image=image, left_out=whole.left_out)


def _numbers(rows: Iterable[SampleRow], asked: deque[SampleRow]) -> Iterator[int]:
    """The numbers of rows in their shard; each row that was drawn waits in ``asked``."""
    for row in rows:
        asked.append(row)
        yield row_of(row.image_id)


def _gone(row: SampleRow) -> SourceError:
    return SourceError(f"{row.source_key!r} of {row.dataset}/{row.shard} is not what the scan saw, or is gone.", next_step=AGAIN)
