"""A scan that kills itself at a stated moment: ``killable.py SOURCE RUN MOMENT``.

MOMENT is ``never``, ``stage:NAME:SECONDS`` (so long after that stage began) or ``write:N:SHARE`` (inside the N-th file written,
when that share of its bytes is on the disk). Prints how long each stage took when it comes to its end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager

from scanner.core.config import RunConfig, override
from scanner.core.progress import Progress
from scanner.core.store import Store
from scanner.pipelines.scan import scan

PART_ROWS = 40
"""Fewer than the rows of a shard, so that each shard is a part."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Watching(Progress):
    """Knows when each stage begins, from the bar it opens."""

    def __init__(self, stage: str | None, seconds: float) -> None:
        super().__init__(quiet=True)
        self.stage, self.after, self.took = stage, seconds, {}

    @contextmanager
    def bar(self, name, *, total, unit, is_estimate=False):
        if name == self.stage:
            threading.Timer(self.after, die).start()
        start = time.perf_counter()
        with super().bar(name, total=total, unit=unit, is_estimate=is_estimate) as bar:
            yield bar
        self.took[name] = time.perf_counter() - start


def main() -> None:
    source, out, moment = sys.argv[1:]
    kind, *details = moment.split(":")
    progress = Watching(details[0], float(details[1])) if kind == "stage" else Watching(None, 0)
    if kind == "write":
        number, share, real, count = int(details[0]), float(details[1]), os.fsync, 0

        def fsync(descriptor: int) -> None:
            nonlocal count
            if os.fstat(descriptor).st_size and not os.path.isdir(f"/proc/self/fd/{descriptor}"):
                count += 1
                if count == number:
                    os.ftruncate(descriptor, int(os.fstat(descriptor).st_size * share))
                    die()
            real(descriptor)

        os.fsync = fsync
    changes = {
        "sources": [{"url": source, "name": "set"}],
        "encoder.name": "pixels",
        "encoder.batch_size": 32,
        "store.part_rows": PART_ROWS,
    }
    scan(Store(out), override(RunConfig(), changes), progress)
    for name, seconds in progress.took.items():
        print(name, seconds)


if __name__ == "__main__":
    main()
