"""An export that kills itself at a stated moment: ``killable_export.py RUN DIR MOMENT``.

MOMENT is ``never``, ``image:N`` (when the N-th image was written), ``write:N:SHARE`` (inside the N-th file, when that share of
its bytes is on the disk) or ``place:N`` (when the N-th file took its place, before anything notes it). Prints how many files
and images there were when it comes to its end.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager

from scanner.core.config import check_config, override, resolve
from scanner.core.progress import Progress
from scanner.core.store import Store
from scanner.pipelines.export import export

SHARD_SAMPLES = 300


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Counting(Progress):
    """Dies at the N-th image of the bar ``export``."""

    def __init__(self, limit: int) -> None:
        super().__init__(quiet=True)
        self.limit, self.count = limit, 0

    @contextmanager
    def bar(self, name, *, total, unit, is_estimate=False):
        with super().bar(name, total=total, unit=unit, is_estimate=is_estimate) as bar:
            if name != "export":
                yield bar
                return
            counting = self

            class Counted:
                def advance(self, amount=1):
                    counting.count += amount
                    if counting.limit and counting.count >= counting.limit:
                        die()

            yield Counted()


def main() -> None:
    run, out, moment = sys.argv[1:]
    kind, *details = moment.split(":")
    number = int(details[0]) if details else 0
    writes = places = 0
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        nonlocal writes
        if not os.path.isdir(f"/proc/self/fd/{descriptor}"):
            writes += 1
            if kind == "write" and writes == number:
                os.ftruncate(descriptor, int(os.fstat(descriptor).st_size * float(details[1])))
                die()
        real_fsync(descriptor)

    def replace(source: str, target: str) -> None:
        nonlocal places
        real_replace(source, target)
        places += 1
        if kind == "place" and places == number:
            die()

    os.fsync, os.replace = fsync, replace
    store = Store.open(run)
    config = resolve(check_config(store.read_run()["config"], where="run.yaml"))
    changes = {"export.formats": ["ids", "hf", "tars"], "export.shard_samples": SHARD_SAMPLES, "store.part_rows": 1000}
    progress = Counting(number if kind == "image" else 0)
    export(store, out, override(config, changes), progress)
    print(places, progress.count)


if __name__ == "__main__":
    main()
