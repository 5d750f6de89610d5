"""A finished run as Python sees it: ``scanner.open("run").query("risk/top_captions", limit=20).df()``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from scanner.core.errors import QueryError
from scanner.core.schemas import TABLES
from scanner.core.sql import check_reads_only, check_tables, connect, find_query, told
from scanner.core.store import Store

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

BLOCK_ROWS = 65_536


class Run:
    """The tables of a run, read-only. A context manager; without one it closes with the process.

    Args:
        url: folder of the run, local or any fsspec URL.
        other: a second run, for queries that compare two.
        memory: what DuckDB may take, such as 4GB; more is spilled to ``scratch``.
        threads: 0 for one a core.
        scratch: local folder to spill to; that of the system by default.

    Attributes:
        tables: rows of every table that the run has, by name.

    Raises:
        StoreError: there is no run at ``url`` or ``other``, or it is damaged.
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        *,
        other: str | os.PathLike[str] = "",
        memory: str = "4GB",
        threads: int = 0,
        scratch: str = "",
    ) -> None:
        store = Store.open(os.fspath(url))
        second = Store.open(os.fspath(other)) if other else None
        manifests = {table: store.manifest(table) for table in TABLES}
        self.url = store.url
        self.tables: Mapping[str, int] = MappingProxyType(
            {table: manifest.num_rows for table, manifest in manifests.items() if manifest is not None}
        )
        self._connection = connect(store, other=second, memory=memory, threads=threads, scratch=scratch)

    def query(self, name: str, /, **parameters: object) -> Result:
        """The answer to a question of the query library.

        Args:
            name: such as ``risk/top_captions``; without its area where that is unique.
            **parameters: of the query; those not given have its defaults.

        Raises:
            QueryError: there is no such query or parameter, a value is of the wrong type, or the run lacks a table it reads.
        """
        question = find_query(name)
        arguments = question.arguments(parameters)
        check_tables(self._connection, question)
        return Result(self._connection, question.sql, arguments, name=question.name)

    def sql(self, statement: str, parameters: Mapping[str, object] | None = None) -> Result:
        """The rows of one statement that reads; ``$name`` in it stands for a value of ``parameters``.

        Raises:
            QueryError: it is not one statement that reads, or DuckDB cannot run it.
        """
        return Result(self._connection, check_reads_only(statement), dict(parameters or {}), name="sql")

    def close(self) -> None:
        """After it nothing more can be asked."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Run {self.url}: {len(self.tables)} tables>"


class Result:
    """Rows of a query, in its order. Each way to fetch runs the query and gives all of them.

    Attributes:
        columns: their names.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, sql: str, arguments: Mapping[str, object], *, name: str) -> None:
        self._connection, self._sql, self._arguments, self._name = connection, sql, arguments, name
        # Bound at once, so that what is wrong is told where it was written.
        with told(name):
            self.columns: tuple[str, ...] = tuple(self._rows().columns)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Rows as tuples of Python values."""
        with told(self._name):
            return self._rows().fetchall()

    def arrow(self) -> pa.Table:
        """Rows as an Arrow table."""
        with told(self._name):
            return self._rows().to_arrow_table()

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[pa.RecordBatch]:
        """Rows as Arrow, about ``rows`` at a time: what does not fit in memory can be gone through."""
        with told(self._name):
            yield from self._rows().to_arrow_reader(rows)

    def df(self) -> pd.DataFrame:
        """Rows as a pandas DataFrame. Raises QueryError where pandas is not installed."""
        if find_spec("pandas") is None:
            raise QueryError(".df() needs pandas, which is not installed.", next_step="pip install pandas, or use .arrow().")
        with told(self._name):
            frame: pd.DataFrame = self._rows().df()
            return frame

    def _rows(self) -> duckdb.DuckDBPyRelation:
        # A cursor of its own: one result may be gone through while another is asked for.
        return self._connection.cursor().sql(self._sql, params=dict(self._arguments) if self._arguments else None)

    def __repr__(self) -> str:
        return f"<Result of {self._name}: {', '.join(self.columns)}>"
