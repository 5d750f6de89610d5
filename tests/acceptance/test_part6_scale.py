"""Part 6, line 4: 250,000 planted images scanned on this machine, beside what ``scanner plan`` said before.

Half an hour on two cores, most of it drawing; ``SCANNER_SCALE_IMAGES`` takes another number. Run it on an idle machine: the plan
knows nothing of what else runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from scanner.core.hardware import cpu_computes_bf16

NUM_IMAGES = int(os.environ.get("SCANNER_SCALE_IMAGES", "250000"))
WITHIN = 1.5
FLAT = 1.25
"""Memory of the second half of the pass over that of the first."""


class Watch:
    """Memory of a process and all it started, twice a second: proportional shares, so that what is mapped twice counts once."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.samples: list[tuple[float, int]] = []
        self._process = psutil.Process(process.pid)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                family = [self._process, *self._process.children(recursive=True)]
                total = 0
                for member in family:
                    try:
                        total += member.memory_full_info().pss
                    except psutil.Error:
                        continue
                if not self._process.is_running() or self._process.status() == psutil.STATUS_ZOMBIE:
                    return
                self.samples.append((time.time(), total))
            except psutil.Error:
                return
            time.sleep(0.5)


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_scan_takes_what_the_plan_says(tmp_path, scanner, capsys):
    made = tmp_path / "set"
    scanner("lab", "make", "--images", NUM_IMAGES, "--seed", 12, "--out", made, "-q")
    source = made / "shards"
    num_bytes = folder_bytes(source)
    truth = json.loads((made / "manifest.json").read_text("utf-8"))
    cpu = "avx512-bf16" if cpu_computes_bf16() else "avx2"
    command = ["plan", "--images", NUM_IMAGES, "--cores", os.cpu_count(), "--cpu", cpu, "--model", "small", "--json"]
    command += ["--bytes-an-image", num_bytes // NUM_IMAGES]
    plan = json.loads(scanner(*command).out)

    start = time.time()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "scanner.cli.main",
            "scan",
            str(source),
            "--out",
            str(tmp_path / "run"),
            "--encoder",
            "small",
            "-q",
        ]
    )
    watch = Watch(process)
    assert process.wait() in (0, 3)
    seconds = time.time() - start

    summary = json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))
    embed_s = summary["stages"]["embed"]["seconds"]
    tables = sum(
        folder_bytes(path) for path in (tmp_path / "run").iterdir() if path.is_dir() and (path / "_table.json").is_file()
    )
    peak = max(size for _, size in watch.samples)
    in_pass = [size for at, size in watch.samples if 0.1 * embed_s < at - start < embed_s]
    halves = max(in_pass[: len(in_pass) // 2]), max(in_pass[len(in_pass) // 2 :])
    planned, planned_tables = plan["totals"]["seconds"], plan["totals"]["table_bytes"]
    with capsys.disabled():
        print(f"\n{NUM_IMAGES:,} images of {num_bytes / 2**30:.2f} GiB ({truth.get('num_images', NUM_IMAGES):,} planted), {cpu}")
        print(f"seconds: {seconds:.0f}, planned {planned:.0f}")
        print(f"tables: {tables / 2**20:.0f} MiB, planned {planned_tables / 2**20:.0f}")
        for name, stage in summary["stages"].items():
            print(f"  {name}: {stage['seconds']:.1f} s")
        for phase in plan["phases"]:
            print(f"  planned: {phase['phase']}: {phase['seconds']:.1f} s by {phase['bound_by']}")
        print(f"memory: peak {peak / 2**30:.2f} GiB, planned {plan['totals']['memory_bytes'] / 2**30:.2f}")
        print(f"  of the pass, first half and second: {halves[0] / 2**30:.2f}, {halves[1] / 2**30:.2f} GiB")
    assert summary["num_images"] == NUM_IMAGES
    assert planned / WITHIN <= seconds <= planned * WITHIN
    assert planned_tables / WITHIN <= tables <= planned_tables * WITHIN
    assert peak <= plan["totals"]["memory_bytes"] * WITHIN
    assert halves[1] <= FLAT * halves[0]
