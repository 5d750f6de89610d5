"""Progress of long work: bars with rate and time left on a terminal, plain lines elsewhere. Everything goes to stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

PLAIN_LINE_EVERY_S = 10.0


class Bar(Protocol):
    """One piece of work under way."""

    def advance(self, amount: int = 1) -> None: ...

    def expect(self, total: int) -> None:
        """A better estimate of the total."""

    def say(self, text: str) -> None:
        """A line that stays."""


class Progress:
    """Shows bars or lines; ``quiet`` shows neither."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.is_terminal = sys.stderr.isatty() and not quiet

    def say(self, text: str) -> None:
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def bar(self, name: str, *, total: int, unit: str, is_estimate: bool = False) -> Iterator[Bar]:
        """A bar named ``name`` that counts ``unit`` up to ``total``, which may be an estimate."""
        if not self.is_terminal:
            line = _Lines(name, total=total, unit=unit, quiet=self.quiet, is_estimate=is_estimate)
            yield line
            line.finish()
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as rich_progress:
            yield _RichBar(rich_progress, rich_progress.add_task(name, total=total, rate=""))


class _RichBar:
    def __init__(self, progress: RichProgress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._done, self._start = 0, time.monotonic()

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        rate = self._done / max(time.monotonic() - self._start, 1e-9)
        self._progress.update(self._task, advance=amount, rate=f"{rate:,.0f}/s")

    def expect(self, total: int) -> None:
        self._progress.update(self._task, total=max(total, self._done))

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)


class _Lines:
    """For logs: one line every ten seconds and one at the end, none for work that was done at once."""

    def __init__(self, name: str, *, total: int, unit: str, quiet: bool, is_estimate: bool) -> None:
        self._name, self._total, self._unit, self._quiet, self._is_estimate = name, total, unit, quiet, is_estimate
        self._done, self._start, self._last = 0, time.monotonic(), time.monotonic()

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        if time.monotonic() - self._last >= PLAIN_LINE_EVERY_S:
            self._last = time.monotonic()
            self._print()

    def expect(self, total: int) -> None:
        self._total = total

    def say(self, text: str) -> None:
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)

    def finish(self) -> None:
        self._total = self._done
        if self._done:
            self._print()

    def _print(self) -> None:
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = self._done / seconds
        more = self._total - self._done
        of = f" of {'about ' if self._is_estimate else ''}{self._total:,}" if more > 0 else ""
        left = f", {more / rate:,.0f} s left" if more > 0 and rate else ""
        self.say(f"{self._name}: {self._done:,}{of} {self._unit}, {rate:,.0f}/s{left}")
