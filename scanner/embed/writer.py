"""Files written while the next part is made."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Self


class Writer:
    """One thread that does one piece of writing after another. A context manager, which waits for what was given to it.

    One piece waits at most, so that no more than two parts are held in memory.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write")
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.wait()
            else:
                # What was made is kept, and the error that is under way is the one to tell.
                with suppress(Exception):
                    self.wait()
        finally:
            self._pool.shutdown()

    def write(self, work: Callable[[], None]) -> None:
        """Starts ``work`` once the piece before is done.

        Raises:
            Exception: what the piece before raised.
        """
        self.wait()
        self._last = self._pool.submit(work)

    def wait(self) -> None:
        """Until all is written. Raises what the last piece raised."""
        last, self._last = self._last, None
        if last is not None:
            last.result()
