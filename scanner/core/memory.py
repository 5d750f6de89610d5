"""How much memory a process has taken at most."""

from __future__ import annotations

import os
import platform
import resource
from contextlib import suppress
from pathlib import Path


def peak_memory_bytes(pid: int | None = None) -> int:
    """Highest resident memory of a process so far, this one by default; 0 where the system does not tell.

    On Linux from /proc: ``getrusage`` would count what the process was forked from as its own.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{pid or os.getpid()}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    if pid is not None:
        return 0
    # In KiB, but on macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (0 if platform.system() == "Darwin" else 10)
