"""Part 3, line 3: the search stays within the memory it is given, at a million rows and at ten."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scanner.core.amounts import parse_bytes
from scanner.core.memory import available_bytes

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "neighbors_memory.py"


def measure(tmp_path, rows, *memory):
    out = tmp_path / "memory.json"
    command = [sys.executable, BENCHMARK, "--rows", rows, "--memory", *memory, "--scratch", tmp_path, "--audit", "--out", out]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    print("\n" + done.stdout)
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text())["results"]
    assert len({(r["num_pairs"], r["num_links"]) for r in results}) == 1, "memory changes how, not what"
    for result in results:
        assert result["peak_bytes"] <= parse_bytes(result["memory"], name="memory")
        assert result["recall"]["value"] >= 0.99
    return results


def test_a_million_rows_in_two_four_and_eight_gigabytes(tmp_path):
    results = measure(tmp_path, 1_000_000, "2GB", "4GB", "8GB")
    assert results[0]["facts"]["scratch_bytes"] > 0 == results[-1]["facts"]["scratch_bytes"]


def test_ten_million_rows_in_sixteen_gigabytes(tmp_path):
    """Ten gigabytes of rows in half precision on disk, sorted once more to disk."""
    if shutil.disk_usage(tmp_path).free < 45e9 or available_bytes() < 17e9:
        pytest.skip("needs 45 GB of disk and 17 GB of memory")
    measure(tmp_path, 10_000_000, "16GB")
