"""The tables of a run in one file of DuckDB's, for tools that make dashboards: real tables, which need the run no more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from scanner import __version__
from scanner.core.errors import StoreError
from scanner.core.schemas import TABLES
from scanner.core.sql import limits, register_filesystem, spill_folder, told
from scanner.core.store import TEMPORARY, Store
from scanner.core.views import HARDENED, MACROS, TableView, literal, quoted, table_views

if TYPE_CHECKING:
    import duckdb

STORAGE_VERSION = "v1.2.0"
"""Of the file: DuckDB 2 writes another one unless it is told, which tools with an older DuckDB inside cannot open."""
ABOUT = "exported"
"""Table that says where the others come from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenDatabase:
    """What is in the file.

    Attributes:
        num_rows: of every table in it, by name.
        left_out: tables of the run that are not.
    """

    num_rows: Mapping[str, int]
    left_out: tuple[str, ...]
    num_bytes: int


def write_database(
    store: Store,
    path: Path,
    *,
    with_embeddings: bool = False,
    is_forced: bool = False,
    memory: str = "4GB",
    threads: int = 0,
    scratch: str = "",
) -> WrittenDatabase:
    """Copies every committed table, the macros, and what tables and columns mean into a new file; it appears whole or not at all.

    Args:
        path: local file.
        with_embeddings: table ``embeddings`` too, which is larger than all others together.
        is_forced: replace a file that is there.
        memory, threads, scratch: as for ``core.sql.connect``.

    Raises:
        StoreError: the file is there, or cannot be; the run has no tables yet.
        QueryError: DuckDB cannot write it: the disk or the memory is too small.
    """
    import duckdb

    if path.is_dir() or (path.exists() and not is_forced):
        raise StoreError(f"{path} is there already.", next_step="Name another file, or add --force to replace this one.")
    if not path.parent.is_dir():
        raise StoreError(f"There is no folder {path.parent}.", next_step="Make it first.")
    views = [
        view for view in table_views(store, store.origin()) if view.is_written and (with_embeddings or view.table != "embeddings")
    ]
    if not views:
        raise StoreError(f"{store.url} has no tables yet.", next_step="Run the scan to its end first.")
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}")
    own = limits(memory, threads)
    spill = spill_folder(scratch)
    settings = {**HARDENED, **own, "temp_directory": spill}
    try:
        with told("export"), duckdb.connect(":memory:", config=settings) as connection:
            register_filesystem(connection, store)
            connection.execute(f"attach {literal(str(temporary))} as target (storage_version {literal(STORAGE_VERSION)})")
            connection.execute("use target")
            num_rows = {view.table: _copy(connection, view) for view in views}
            connection.execute(MACROS)
            _tell_origin(connection, store, num_rows)
            # What is in memory goes into the file; nothing is left beside it.
            connection.execute("use memory")
            connection.execute("detach target")
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        num_bytes = temporary.stat().st_size
        os.replace(temporary, path)
    except OSError as error:
        raise StoreError(f"Cannot write {path}: {error}.", next_step="Name a place that can be written.") from error
    finally:
        shutil.rmtree(spill, ignore_errors=True)
        for name in (temporary, temporary.with_name(temporary.name + ".wal")):
            with suppress(FileNotFoundError):
                name.unlink()
    left_out = tuple(table for table in ("embeddings",) if not with_embeddings and store.manifest(table) is not None)
    return WrittenDatabase(num_rows=num_rows, left_out=left_out, num_bytes=num_bytes)


def _copy(connection: duckdb.DuckDBPyConnection, view: TableView) -> int:
    """One table with its comments; how many rows it has."""
    table, schema = quoted(view.table), TABLES[view.table]
    connection.execute(f"create table {table} as {view.select}")
    connection.execute(f"comment on table {table} is {literal(schema.grain)}")
    for column in schema.columns:
        connection.execute(f"comment on column {table}.{quoted(column.name)} is {literal(column.doc)}")
    (num_rows,) = connection.execute(f"select count(*) from {table}").fetchall()[0]
    return int(num_rows)


def _tell_origin(connection: duckdb.DuckDBPyConnection, store: Store, num_rows: Mapping[str, int]) -> None:
    """Table ``exported``: a row a table, with the run it comes from and when."""
    connection.execute(
        f"create table {ABOUT} (table_name varchar, grain varchar, num_rows bigint, run varchar, version varchar,"
        " exported_at varchar)"
    )
    at = datetime.now(UTC).isoformat(timespec="seconds")
    connection.executemany(
        f"insert into {ABOUT} values (?, ?, ?, ?, ?, ?)",
        [(table, TABLES[table].grain, rows, store.url, __version__, at) for table, rows in num_rows.items()],
    )
