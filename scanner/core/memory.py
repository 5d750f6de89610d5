"""How much memory a process has taken at most, and how much it may take."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
from contextlib import suppress
from pathlib import Path

from scanner.core.amounts import parse_bytes


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


def trim() -> None:
    """Gives freed memory back to the system, which glibc keeps for the threads that freed it; nothing elsewhere."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def available_bytes() -> int:
    """Memory that could be taken now without swapping; 8 GiB where the system does not tell."""
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 8 << 30


def allowed_bytes(setting: str) -> int:
    """Bytes of a setting such as ``16GB``; of ``auto`` two thirds of what is available.

    Raises:
        ConfigError: not a size.
    """
    return available_bytes() * 2 // 3 if setting == "auto" else parse_bytes(setting, name="memory")
