"""The run as it stands, asked by many requests at a time: one database over the listed parts, made anew when a table changed."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from scanner.core.errors import ScannerError
from scanner.core.schemas import TABLES
from scanner.core.sql import connect, find_query, run_query
from scanner.core.store import Manifest, Store
from scanner.report.serve.params import RequestError

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")

MEMORY = "1GB"
"""What all queries together may take."""
THREADS = 2
MAX_KEPT = 64
"""Answers that are kept, of those that took ``KEPT_S`` or longer; a page of rows is at most about a megabyte."""
KEPT_S = 0.2
TIMEOUT_S = 30.0
"""Seconds of all queries of one page."""
RECHECK_S = 1.0
"""Age at which it is looked whether the run has changed."""
_ATTEMPTS = 3

_MAKERS = {
    "extractions": "`scanner extract` makes it.",
    "generations": "`scanner extract` makes it.",
    "comparisons": "`scanner leak` makes it.",
    "leaks": "`scanner leak` makes it.",
}


class _Answers:
    """Answers that took long, by query and parameters. Right as long as the parts are the same, so a database has its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[object, list[dict[str, Any]]] = OrderedDict()

    def get(self, key: object) -> list[dict[str, Any]] | None:
        with self._lock:
            rows = self._kept.get(key)
            if rows is None:
                return None
            self._kept.move_to_end(key)
            return [dict(row) for row in rows]

    def put(self, key: object, rows: list[dict[str, Any]]) -> None:
        with self._lock:
            self._kept[key] = [dict(row) for row in rows]
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Snapshot:
    connection: duckdb.DuckDBPyConnection
    manifests: Mapping[str, Manifest]
    answers: _Answers


class View:
    """One request's look at the run: every query of it sees the same parts.

    Attributes:
        store: the run.
        manifests: the committed tables.
    """

    def __init__(self, store: Store, snapshot: _Snapshot, cursor: duckdb.DuckDBPyConnection, *, timeout_s: float) -> None:
        self.store = store
        self.manifests = snapshot.manifests
        self._answers = snapshot.answers
        self._cursor = cursor
        self._timeout_s = timeout_s
        self._left_s = timeout_s
        self._is_stopped = False

    def has(self, *tables: str) -> bool:
        """Whether all these tables were committed."""
        return all(table in self.manifests for table in tables)

    def rows(self, name: str, **given: int | str) -> list[dict[str, Any]]:
        """Answer of a query of the library.

        Raises:
            RequestError: a table is not there yet (404), or the time of the page is over (503).
            QueryError: the query failed.
        """
        query = find_query(name)
        missing = [table for table in query.reads if table not in self.manifests]
        if missing:
            step = _MAKERS.get(missing[0], "The scan has not come to its end: the same `scanner scan` goes on with it.")
            raise RequestError(404, f"This run has no table {missing[0]} yet.", next_step=step)
        key = (name, tuple(sorted(given.items())))
        if (kept := self._answers.get(key)) is not None:
            return kept
        is_done, start = threading.Event(), time.monotonic()
        threading.Thread(target=self._watch, args=(is_done, self._left_s), daemon=True).start()
        try:
            cursor = run_query(self._cursor, query, given)
            names = [column[0] for column in cursor.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            if time.monotonic() - start >= KEPT_S:
                self._answers.put(key, rows)
            return rows
        except Exception as error:
            if self._is_stopped:
                raise RequestError(
                    503,
                    f"This took longer than {self._timeout_s:g} seconds and was stopped.",
                    next_step=f"Narrow it with a filter, or ask `scanner query RUN {name}`, which has no limit of time.",
                ) from error
            raise
        finally:
            is_done.set()
            self._left_s = max(0.0, self._left_s - (time.monotonic() - start))

    def row(self, name: str, **given: int | str) -> dict[str, Any] | None:
        """The one row of such a query, None where it has none."""
        rows = self.rows(name, **given)
        return rows[0] if rows else None

    def _watch(self, is_done: threading.Event, left_s: float) -> None:
        import duckdb

        if is_done.wait(left_s):
            return
        self._is_stopped = True
        # Again and again: one that comes before the query begins stops nothing.
        while not is_done.wait(0.1):
            with suppress(duckdb.Error):  # the request has just ended
                self._cursor.interrupt()


class Reader:
    """Gives views of a run. For any number of threads; memory and threads of all queries together are bounded.

    Args:
        memory: of the database, as DuckDB writes it.
        timeout_s: seconds of the queries of one view.
        recheck_s: how old a look at the tables may be.
    """

    def __init__(self, store: Store, *, memory: str = MEMORY, timeout_s: float = TIMEOUT_S, recheck_s: float = RECHECK_S) -> None:
        self.store = store
        self._memory = memory
        self._timeout_s = timeout_s
        self._recheck_s = recheck_s
        self._lock = threading.Lock()
        self._snapshot: _Snapshot | None = None
        self._looked_at = -math.inf

    def answer(self, ask: Callable[[View], T]) -> T:
        """What ``ask`` makes of a view. Asked again where the run was changed meanwhile and parts have gone.

        Raises:
            RequestError: the run cannot be read, or changes faster than it can be (503); and what ``ask`` raises.
        """
        import duckdb

        for _ in range(_ATTEMPTS):
            seen: Mapping[str, Manifest] | None = None
            try:
                with self.view() as view:
                    seen = view.manifests
                    return ask(view)
            except RequestError:
                raise
            except (ScannerError, OSError, duckdb.Error):
                # Parts are immutable, and only those that no table lists any more are ever removed.
                if seen is not None and not self._has_changed(seen):
                    raise
        raise RequestError(
            503,
            "The run cannot be read: it is being rewritten just now, or files of it are gone.",
            next_step="Try again in a moment. The same `scanner scan` mends a run.",
        )

    @contextmanager
    def view(self) -> Iterator[View]:
        """A view of the tables as they are committed now, or were ``recheck_s`` ago."""
        with self._lock:
            snapshot = self._current()
            cursor = snapshot.connection.cursor()
        with cursor:
            yield View(self.store, snapshot, cursor, timeout_s=self._timeout_s)

    def _current(self) -> _Snapshot:
        """The database over the tables as they are; called with the lock held."""
        now = time.monotonic()
        if self._snapshot is None or now - self._looked_at > self._recheck_s:
            manifests = self._manifests()
            if self._snapshot is None or manifests != self._snapshot.manifests:
                # Requests under way hold cursors of the old database, which goes with the last of them.
                connection = connect(self.store, memory=self._memory, threads=THREADS)
                self._snapshot = _Snapshot(connection=connection, manifests=manifests, answers=_Answers())
            self._looked_at = now
        return self._snapshot

    def _has_changed(self, seen: Mapping[str, Manifest]) -> bool:
        with self._lock:
            self._looked_at = -math.inf
        return self._manifests() != seen

    def _manifests(self) -> dict[str, Manifest]:
        found = {table: self.store.manifest(table) for table in TABLES}
        return {table: manifest for table, manifest in found.items() if manifest is not None}
