"""What rules look at: query ``export/facts`` over the run, with the columns of a user's Parquet joined to it by DuckDB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from scanner.core.errors import ConfigError
from scanner.core.remote import open_filesystem
from scanner.core.sql import connect, execute, fetch_blocks, find_query
from scanner.core.store import Store
from scanner.export.policy import ColumnKind
from scanner.sources.places import resolve

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

BLOCK_ROWS = 65_536
KEYS = ("image_id", "dataset", "key")
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
            "FLOAT", "DOUBLE")  # fmt: skip


class Facts:
    """The facts of every image of a run. A context manager.

    Args:
        joined: Parquet files or folders at any fsspec URL, with ``image_id``, or ``dataset`` and ``key``, or ``key`` alone where
            the run is of one set.

    Attributes:
        columns: what there is to choose by, and of which kind.
        notes: how many images found a row in each of ``joined``, and which columns of theirs are not taken.

    Raises:
        ConfigError: a file cannot be read, has no such columns, names an image twice, or none of the run.
        QueryError: the run lacks a table.
    """

    def __init__(self, store: Store, joined: Sequence[str] = ()) -> None:
        self._stack = ExitStack()
        self._connection = self._stack.enter_context(connect(store))
        self.notes: list[str] = []
        with self._stack.pop_all() as stack:
            execute(self._connection, f"create temp view facts_0 as {find_query('export/facts').sql}", name="export/facts")
            self.columns = self._kinds("facts_0")
            for number, url in enumerate(joined):
                self._join(number, url)
            self._view = f"facts_{len(joined)}"
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def images(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Every image by ascending id, a block at a time."""
        yield from self._rows(columns, f"from {self._view} order by image_id")

    def members(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The members of groups by ascending group and id, in blocks of whole groups."""
        import pyarrow as pa
        import pyarrow.compute as pc

        waiting: list[pa.Table] = []
        for block in self._rows(columns, f"from {self._view} where group_id is not null order by group_id, image_id"):
            last = block["group_id"][-1]
            num_whole = pc.sum(pc.not_equal(block["group_id"], last)).as_py() or 0
            if num_whole and waiting:
                # The first rows may belong to the group that waits; the last group may go on in the next block.
                yield pa.concat_tables([*waiting, block.slice(0, num_whole)])
                waiting = []
            elif num_whole:
                yield block.slice(0, num_whole)
            waiting.append(block.slice(num_whole))
        if waiting:
            yield pa.concat_tables(waiting)

    def _rows(self, columns: Sequence[str], rest: str) -> Iterator[pa.Table]:
        import pyarrow as pa

        sql = f"select {', '.join(map(_quoted, columns))} {rest}"
        for batch in fetch_blocks(self._connection, sql, rows=BLOCK_ROWS, name="export/facts"):
            if batch.num_rows:
                yield pa.Table.from_batches([batch])

    def _join(self, number: int, url: str) -> None:
        """Makes view ``facts_<number + 1>``: the one before and the columns of the file."""
        self._connection.register(f"joined_{number}", _open(url))
        kinds = self._kinds(f"joined_{number}")
        keys = self._keys(url, kinds)
        named = ", ".join(map(_quoted, keys))
        told = " and ".join(f"{_quoted(key)} is not null" for key in keys)
        count, distinct = self._pair(f"select count(*), count(distinct ({named})) from joined_{number} where {told}")
        if count != distinct:
            raise ConfigError(
                f"{url} has {count:,} rows for {distinct:,} different {' and '.join(keys)}.",
                next_step="Leave one row an image, so that it is plain which one counts.",
            )
        on = " and ".join(f"facts.{_quoted(key)} = joined.{_quoted(key)}" for key in keys)
        found, total = self._pair(
            f"select count(joined.{_quoted(keys[0])}), count(*) from facts_0 as facts left join joined_{number} as joined on {on}"
        )
        if not found and total:
            raise ConfigError(
                f"{url} has a row for none of the {total:,} images of the run.",
                next_step=f"It was joined on {' and '.join(keys)}.",
            )
        self.notes.append(f"{url}: {found:,} of {total:,} images have a row")
        # DuckDB tells no names apart by their case.
        known = {name.lower() for name in (*KEYS, *self.columns)}
        added = {name: kind for name, kind in kinds.items() if name.lower() not in known}
        twice = [name for name in kinds if name not in added and name not in keys]
        if twice:
            self.notes.append(f"{url}: {', '.join(twice)} not taken: columns of these names are there already")
        more = "".join(f", joined.{_quoted(name)}" for name in added)
        execute(
            self._connection,
            f"create temp view facts_{number + 1} as select facts.*{more} from facts_{number} as facts"
            f" left join joined_{number} as joined on {on}",
        )
        self.columns |= added

    def _keys(self, url: str, kinds: dict[str, ColumnKind]) -> tuple[str, ...]:
        if kinds.get("image_id") == "number":
            return ("image_id",)
        if kinds.get("key") == "text" and kinds.get("dataset") == "text":
            return ("dataset", "key")
        (num_datasets, _) = self._pair("select count(distinct dataset), 0 from facts_0")
        if kinds.get("key") == "text" and num_datasets <= 1:
            return ("key",)
        raise ConfigError(
            f"{url} cannot be joined: its columns are {', '.join(kinds) or 'none'}.",
            next_step="It needs image_id (a number), or dataset and key (texts) as in table images.",
        )

    def _pair(self, sql: str) -> tuple[int, int]:
        row = execute(self._connection, sql).fetchone()
        assert row is not None, "an aggregate has a row"
        return int(row[0]), int(row[1])

    def _kinds(self, view: str) -> dict[str, ColumnKind]:
        rows = execute(self._connection, f"describe select * from {view}", name="export/facts").fetchall()
        return {str(row[0]): _kind(str(row[1])) for row in rows}


def joined_identity(url: str) -> list[list[object]]:
    """Name, size and etag of each file at ``url``: what tells whether it is still the same. Raises SourceError: nothing there."""
    return [[entry.name, entry.size, entry.etag] for entry in resolve(url).entries() if entry.kind != "directory"]


def _open(url: str) -> duckdb.DuckDBPyRelation:
    """A data set that DuckDB scans; its own reader may open nothing but the run."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    fs, path = open_filesystem(url)
    try:
        found: duckdb.DuckDBPyRelation = ds.dataset(path, filesystem=fs, format="parquet")
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(
            f"{url} cannot be read as Parquet: {error}", next_step="Give a Parquet file or a folder of them."
        ) from error
    return found


def _kind(type_: str) -> ColumnKind:
    if type_ in _NUMBERS or type_.startswith("DECIMAL"):
        return "number"
    return "boolean" if type_ == "BOOLEAN" else "text" if type_ == "VARCHAR" or type_.startswith("ENUM") else "other"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
