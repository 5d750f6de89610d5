"""The side-car Parquet of each shard that img2dataset wrote, put right: every row of the list stands in it, once.

img2dataset leaves out rows that it stumbled over, and is given no URL where one is refused; both are written in. Rows that
failed for a reason that may pass move to a later pass and leave the side-car. Everything here may be done twice.
"""

from __future__ import annotations

import math
import tarfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scanner.download.lists import ROW
from scanner.download.outcomes import DOWNLOAD_FAILED, LOST, is_transient

if TYPE_CHECKING:
    import pyarrow as pa

SHARD_DIGITS = 6
MAX_REASONS = 50
_REASON_LENGTH = 120


@dataclass(kw_only=True, slots=True)
class Outcome:
    """Rows of side-cars: downloaded, failed for good, failed for now, and why."""

    num_ok: int = 0
    num_failed: int = 0
    num_transient: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, other: Outcome) -> None:
        self.num_ok += other.num_ok
        self.num_failed += other.num_failed
        self.num_transient += other.num_transient
        self.reasons.update(other.reasons)


def shard_name(shard: int) -> str:
    return f"{shard:0{SHARD_DIGITS}d}"


def complete(images: Path, shard: int, listed: pa.Table, refused: dict[int, tuple[str, str]], *, shard_rows: int) -> Outcome:
    """Writes in what img2dataset left out of a shard, and says what became of its rows.

    Args:
        images: folder of the shards.
        listed: the shard's rows of the prepared list.
        refused: URL and reason of those that were not to be asked for, by row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = images / f"{shard_name(shard)}.parquet"
    table = pq.read_table(path)
    rows, lost = table.column(ROW).to_pylist(), []
    known = set(rows)
    for index, row in enumerate(listed.column(ROW).to_pylist()):
        if row not in known:
            lost.append(index)
    changed = bool(lost)
    if lost:
        table = pa.concat_tables([table, _lost_rows(images, shard, listed, lost, table.schema, shard_rows=shard_rows)])
        rows = table.column(ROW).to_pylist()
    if any(row in refused for row in rows):
        urls, messages = table.column("url").to_pylist(), table.column("error_message").to_pylist()
        for i, row in enumerate(rows):
            if row in refused:
                urls[i], messages[i] = refused[row][0], f"refused: {refused[row][1]}"
        table = _with(_with(table, "url", urls), "error_message", messages)
        changed = True
    if changed:
        _replace(table, path)
    return _outcome(table)


def transient_rows(images: Path, shard: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """int64 (m,): rows of the list that failed for a reason that may pass."""
    import pyarrow.parquet as pq

    table = pq.read_table(images / f"{shard_name(shard)}.parquet", columns=[ROW, "status", "error_message"])
    rows = table.column(ROW).to_numpy()
    which = _is_transient(table)
    return np.sort(rows[which])


def move_out(images: Path, shard: int, moved: np.ndarray[Any, np.dtype[np.int64]]) -> Outcome:
    """Takes rows out of a side-car that another pass has taken over; says what became of those that stay."""
    import pyarrow.parquet as pq

    path = images / f"{shard_name(shard)}.parquet"
    table = pq.read_table(path)
    leaves = np.isin(table.column(ROW).to_numpy(), moved) & _is_transient(table)
    if leaves.any():
        table = table.filter(~leaves)
        _replace(table, path)
    return _outcome(table)


def _lost_rows(images: Path, shard: int, listed: pa.Table, lost: list[int], schema: pa.Schema, *, shard_rows: int) -> pa.Table:
    """Rows as img2dataset would have written them: those whose image is in the tar were downloaded, the others were not."""
    import pyarrow as pa

    in_tar = _keys_in_tar(images / f"{shard_name(shard)}.tar")
    digits = math.ceil(math.log10(shard_rows))
    keys = [f"{shard * 10**digits + index:0{SHARD_DIGITS + digits}d}" for index in lost]
    some = listed.take(pa.array(lost, pa.int64()))
    is_there = [key in in_tar for key in keys]
    given = {
        "key": keys,
        "status": ["success" if there else DOWNLOAD_FAILED for there in is_there],
        "error_message": [None if there else LOST for there in is_there],
    }
    columns = []
    for field_ in schema:
        if field_.name in given:
            columns.append(pa.array(given[field_.name], field_.type))
        elif field_.name in some.column_names:
            columns.append(some.column(field_.name).combine_chunks().cast(field_.type))
        else:
            columns.append(pa.nulls(len(lost), field_.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _keys_in_tar(path: Path) -> set[str]:
    """Keys of images; none of a tar that cannot be read, which the scan will say."""
    found: set[str] = set()
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                stem, _, suffix = member.name.partition(".")
                if suffix not in ("txt", "json"):
                    found.add(stem)
    except (tarfile.TarError, OSError):
        pass
    return found


def _is_transient(table: pa.Table) -> np.ndarray[Any, np.dtype[np.bool_]]:
    pairs = zip(table.column("status").to_pylist(), table.column("error_message").to_pylist(), strict=True)
    return np.fromiter((is_transient(status, message) for status, message in pairs), np.bool_, table.num_rows)


def _outcome(table: pa.Table) -> Outcome:
    found = Outcome()
    for status, message in zip(table.column("status").to_pylist(), table.column("error_message").to_pylist(), strict=True):
        if status == "success":
            found.num_ok += 1
            continue
        found.num_transient += is_transient(status, message)
        found.num_failed += not is_transient(status, message)
        found.reasons[(message or status or "no reason given").split("\n")[0][:_REASON_LENGTH]] += 1
    found.reasons = Counter(dict(found.reasons.most_common(MAX_REASONS)))
    return found


def _with(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    import pyarrow as pa

    at = table.column_names.index(name)
    return table.set_column(at, table.schema.field(name), pa.chunked_array([pa.array(values, table.schema.field(name).type)]))


def _replace(table: pa.Table, path: Path) -> None:
    """At once: whoever reads beside it, or after a crash, sees the one or the other."""
    import pyarrow.parquet as pq

    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(table, temporary)
    temporary.replace(path)
