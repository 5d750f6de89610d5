from __future__ import annotations

import subprocess
import sys

import numpy as np

from scanner.core.memory import peak_memory_bytes


def test_a_peak_stays_and_is_of_this_process_alone():
    ballast = np.ones(200_000_000, dtype=np.uint8)
    del ballast
    mine = peak_memory_bytes()
    assert mine > 200_000_000
    code = "from scanner.core.memory import peak_memory_bytes; print(peak_memory_bytes())"
    child = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 1_000_000 < child < 150_000_000


def test_a_process_that_is_not_there_has_none():
    assert peak_memory_bytes(2**22 + 1) == 0
