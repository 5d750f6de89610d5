"""Part 2, must show 1: without any network the demo draws a set, scans it with `small`, scores it, and asks the models."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from scanner.core.store import Store


def test_the_demo_needs_no_network_and_scores_its_groups(tmp_path):
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rn", "true"], check=False).returncode:
        pytest.skip("needs unshare and user namespaces, to run without a network")
    command = ["unshare", "-rn", sys.executable, "-m", "scanner.cli.main", "demo", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    print("\n" + done.stdout)
    assert "encoder small" in done.stdout
    assert Store(str(tmp_path / "run")).read_run()["config"]["encoder"]["name"] == "small"
    for found in ("pairs of one picture found", "pairs found that are one picture", "crop copies with their source"):
        assert found in done.stdout
    points = pq.read_table(tmp_path / "curve" / "curve.parquet").to_pylist()
    hits = {name: sum(p["num_own"] for p in points if p["model"] == name and p["k"] >= 64) for name in ("toy", "toy-dedup")}
    assert hits["toy"] > 10 * max(1, hits["toy-dedup"])
    assert "toy-dedup" in done.stdout
    assert (tmp_path / "curve" / "curve.svg").is_file()
    assert (tmp_path / "run" / "report.html").is_file()
    assert (tmp_path / "data" / "truth.parquet").is_file()
