"""Table ``shards``: which file of the source has which id, and which part holds its rows. Both are given once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from scanner.core.config import fingerprint
from scanner.core.schemas import arrow_schema
from scanner.core.store import Manifest, Store
from scanner.sources.base import UNFETCHED, Shard, Source

if TYPE_CHECKING:
    import pyarrow as pa

ShardStatus = Literal["current", "broken", "superseded"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardRow:
    """A row of table ``shards``."""

    shard_id: int
    dataset: str
    url: str
    size: int
    etag: str | None
    part: int
    num_rows: int | None = None
    status: ShardStatus = "current"
    error_message: str | None = None
    num_rows_estimate: int = field(default=0, compare=False)
    """What the source expects, for progress; not a column."""

    @property
    def identity(self) -> tuple[str, str, int, str | None]:
        """What makes it the same shard as on an earlier scan."""
        return (self.dataset, self.url, self.size, self.etag)

    @property
    def is_unfetched(self) -> bool:
        """Whether its store failed at it, so that it is read again: as another shard, since finished parts never change."""
        return self.status == "broken" and (self.error_message or "").startswith(UNFETCHED)

    @property
    def shard(self) -> Shard:
        return Shard(url=self.url, size=self.size, etag=self.etag, num_rows_estimate=self.num_rows_estimate)


def read_shards(store: Store) -> list[ShardRow]:
    """Rows of ``shards`` by id, none before the first scan."""
    if store.manifest("shards") is None:
        return []
    return [ShardRow(**row) for row in store.read("shards").to_pylist()]


def register(known: Iterable[ShardRow], sources: Mapping[str, Source], *, part_rows: int) -> list[ShardRow]:
    """Brings the known shards up to what the sources list now.

    A shard seen before keeps its id and part; a new or changed one gets the next id, in a part that is new too, so that
    finished parts never change, and so does one that could not be fetched; one that changed or went is ``superseded``.

    Raises:
        SourceError: a source is absent or empty.
    """
    rows = list(known)
    alive = {row.identity: row for row in rows if row.status != "superseded" and not row.is_unfetched}
    listed = [(dataset, shard) for dataset, source in sources.items() for shard in source.shards()]
    identities = {(dataset, shard.url, shard.size, shard.etag) for dataset, shard in listed}
    places = {(dataset, shard.url) for dataset, shard in listed}

    def superseded(row: ShardRow) -> ShardRow:
        reason = "changed since" if (row.dataset, row.url) in places else "no longer in the source"
        if row.identity in identities:
            reason = "read again"
        return replace(row, status="superseded", error_message=reason)

    expected = {(dataset, shard.url): shard.num_rows_estimate for dataset, shard in listed}
    rows = [
        superseded(row)
        if row.status != "superseded" and (row.identity not in identities or row.is_unfetched)
        else replace(row, num_rows_estimate=expected.get((row.dataset, row.url), 0))
        for row in rows
    ]
    next_id = max((row.shard_id for row in rows), default=-1) + 1
    part, filled = max((row.part for row in rows), default=-1) + 1, 0
    for dataset, shard in listed:
        if (dataset, shard.url, shard.size, shard.etag) in alive:
            continue
        if filled and filled + shard.num_rows_estimate > part_rows:
            part, filled = part + 1, 0
        filled += shard.num_rows_estimate
        rows.append(
            ShardRow(
                shard_id=next_id,
                dataset=dataset,
                url=shard.url,
                size=shard.size,
                etag=shard.etag,
                part=part,
                num_rows_estimate=shard.num_rows_estimate,
            )
        )
        next_id += 1
    return rows


def commit_shards(store: Store, rows: Iterable[ShardRow]) -> Manifest:
    """Writes table ``shards``; nothing if it stands so already."""
    import pyarrow as pa

    ordered = sorted(rows, key=lambda row: row.shard_id)
    schema = arrow_schema("shards")
    table: pa.Table = pa.table({name: [getattr(row, name) for row in ordered] for name in schema.names}, schema=schema)
    content = fingerprint([[getattr(row, name) for name in schema.names] for row in ordered])
    return store.write_table("shards", table, fingerprint=content, part_rows=max(len(ordered), 1))
