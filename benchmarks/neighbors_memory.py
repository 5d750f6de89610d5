"""Peak memory and time of the search under a memory setting: planted embeddings on disk, joined in cells, counts and links kept.

Each setting runs in a process of its own, as the stage runs it: cosines in float64, counts, nearest neighbours and the spanning
forest gathered. The peak is the process's resident set (VmHWM), pages of mapped files included; a sampled audit follows.

    python benchmarks/neighbors_memory.py --rows 1000000 --memory 2GB 4GB 8GB --out benchmarks/results/neighbors-memory.json
    python benchmarks/neighbors_memory.py --rows 10000000 --memory 16GB --scratch /large/disk
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

THRESHOLD = 0.95
LARGEST = 5_000


def main() -> None:
    args = parse_args()
    if args.worker:
        print(json.dumps(run(args)))
        return
    results = []
    with tempfile.TemporaryDirectory(prefix="bench-memory-", dir=args.scratch) as work:
        rows = Path(work) / "rows.npy"
        write_rows(rows, args.rows, args.background)
        for memory in args.memory:
            command = [
                sys.executable, __file__, "--worker", "--file", str(rows), "--memory", memory, "--scratch", work,
                "--search", args.search, *(["--audit"] if args.audit else []),
            ]  # fmt: skip
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results.append({"rows": args.rows, "background": args.background, **json.loads(done.stdout.splitlines()[-1])})
            print(line(results[-1]), flush=True)
    if args.out:
        about = {"threshold": THRESHOLD, "dim": 512, "cores": os.cpu_count()}
        if args.search == "cells":
            # What `scanner plan` reckons with.
            about["cells_a_row"] = 1 + results[-1]["facts"]["guests_a_row"]
        if args.out.is_file():
            results = json.loads(args.out.read_text("utf-8"))["results"] + results
        args.out.write_text(json.dumps({**about, "results": results}, indent=1) + "\n", "utf-8")


def write_rows(path: Path, n: int, background: str) -> None:
    from scanner.lab.vectors import PlantedVectors

    planted = PlantedVectors(n=n, background=background, largest=LARGEST, seed=n, cosines=(0.9, 0.999))  # type: ignore[arg-type]
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(n, 512))
    for start, chunk in planted.chunks():
        out[start : start + len(chunk)] = chunk
    out.flush()


def run(args: argparse.Namespace) -> dict[str, Any]:
    from scanner.core.config import ComputeConfig, NeighborsConfig
    from scanner.core.memory import peak_memory_bytes
    from scanner.search.counts import NeighborCounts
    from scanner.search.forest import SpanningForest
    from scanner.search.searches import within

    memory = args.memory[0]
    x = np.load(args.file, mmap_mode="r")
    start, cpu = time.perf_counter(), time.process_time()
    search = within(
        args.search, x, THRESHOLD, NeighborsConfig(threshold=THRESHOLD), ComputeConfig(memory=memory, scratch=args.scratch or "")
    )
    set_up = time.perf_counter() - start
    counts, forest = NeighborCounts(np.ones(len(x), np.int64)), SpanningForest(len(x))
    num_pairs = 0
    for block in search.blocks(lambda _: None):
        counts.add(block.left, block.right, block.similarity)
        forest.add(block.left, block.right, block.similarity)
        num_pairs += len(block)
    links = forest.links()
    wall, cpu, peak = time.perf_counter() - start, time.process_time() - cpu, peak_memory_bytes()
    result = {
        "search": args.search, "memory": memory, "wall_s": wall, "set_up_s": set_up, "cpu_s": cpu, "peak_bytes": peak,
        "num_pairs": num_pairs, "num_links": len(links), "facts": search.facts(),
    }  # fmt: skip
    if args.audit:
        result["recall"] = recall(x, counts)
    return result


def recall(x: Any, counts: Any) -> dict[str, float]:
    """Of counted neighbours, in the mean over sampled rows."""
    from scanner.search.audit import mean_recall, sampled_truth

    truth = sampled_truth(x, THRESHOLD, seed=1)
    rows, true = np.unique(truth.left, return_counts=True)
    # Two rows at the threshold within rounding may count one more than the truth has.
    found = mean_recall(np.minimum(counts.num_neighbors()[rows] / true, 1.0))
    return {"value": found.value, "low": found.low, "high": found.high, "num_rows": found.num_rows}


def line(result: dict[str, Any]) -> str:
    found = result.get("recall")
    shown = f", a row finds {found['value']:.5f} [{found['low']:.5f}, {found['high']:.5f}]" if found else ""
    return (
        f"{result['rows']:,} rows, {result['background']}, {result['search']}, {result['memory']} allowed: peak "
        f"{result['peak_bytes'] / 1e9:.2f} GB, {result['wall_s']:.1f} s wall ({result['set_up_s']:.1f} setting up), "
        f"{result['cpu_s']:.1f} s CPU, {result['num_pairs']:,} pairs, {result['num_links']:,} links, "
        f"{result['facts'].get('scratch_bytes', 0) / 1e9:.1f} GB of scratch{shown}"
    )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--background", choices=("isotropic", "clip"), default="clip")
    parser.add_argument("--memory", nargs="+", default=["2GB", "4GB", "8GB"])
    parser.add_argument("--search", choices=("cells", "join"), default="cells")
    parser.add_argument("--scratch")
    parser.add_argument("--audit", action="store_true", help="Compare sampled rows with all others at the end.")
    parser.add_argument("--out", type=Path, help="Results are added to those of this file.")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
