"""Every query of the library on a made run: wall time, CPU and peak memory, each in a process of its own, as a user calls it.

The run is made by made_run.py, and a second one of the same images for queries that compare two. Each query is
``scanner query RUN NAME --format parquet``, all of its rows written to a file: start of Python, DuckDB and writing included. The
peak is the process's resident set.

    python benchmarks/queries.py --images 10000000 --memory 2GB --work /large --out benchmarks/results/queries-10m.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scanner.core.amounts import parse_bytes
from scanner.core.sql import Query, queries

ARGUMENTS = {
    "group_id": "select group_id from group_risk order by num_images desc, group_id limit 1",
    "group_ids": "select string_agg(group_id, ',') from (from group_risk select group_id order by risk_rank limit 50)",
    "image_id": "select min(image_id) from groups",
    "image_ids": "select string_agg(image_id, ',') from (from images select image_id order by hash(image_id) limit 500)",
    "prompt_ids": "select string_agg(prompt_id, ',') from (from prompts select prompt_id order by prompt_id limit 500)",
    "generation_id": "select min(generation_id) from generations where image_path is not null",
    "text": "select split_part(min(caption), ' ', 1) from images",
    "other": "select min(right_dataset) from leaks",
    "caption": "select caption from group_captions order by num_images desc, caption_hash limit 1",
}
"""Values of parameters that have no default, by name, as SQL over the run. One that is not here is an error."""


def main() -> None:
    args = parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="bench-queries-", dir=args.work) as work:
        run, other = args.run or Path(work) / "run", args.other or Path(work) / "other"
        made: dict[str, Any] = {}
        if not run.exists():
            made["run"] = make(run, args, ["--images", str(args.images)])
        if not other.exists():
            made["other"] = make(other, args, ["--images", str(args.images), "--like", str(run), "--dropped", "20"])
        chosen = [query for name, query in queries().items() if not args.only or name in args.only]
        values = arguments(run, chosen, args)
        rows_file = Path(work) / "rows.parquet"
        for query in chosen:
            results.append(measure(query, run, other, values, rows_file, args))
            print(line(results[-1]), flush=True)
    total, cpu = (sum(result[key] for result in results) for key in ("wall_s", "cpu_s"))
    peak = max(result["peak_bytes"] for result in results)
    print(f"{len(results)} queries in {total:.1f} s wall and {cpu:.1f} s CPU, peak {peak / 1e9:.2f} GB")
    if args.out:
        about = {
            "images": args.images, "memory": args.memory, "threads": args.threads, "cores": os.cpu_count(), "note": args.note,
            "total_wall_s": total, "total_cpu_s": cpu, "peak_bytes": peak, "made": made,
        }  # fmt: skip
        args.out.write_text(json.dumps({**about, "results": results}, indent=1) + "\n", "utf-8")


def make(run: Path, args: argparse.Namespace, more: list[str]) -> Any:
    """What the generator says of itself. It runs in a process of its own: a child's peak starts at its parent's."""
    command = [
        sys.executable, str(Path(__file__).with_name("made_run.py")), "--out", str(run), "--memory", args.memory, "--threads",
        str(args.threads), "--scratch", str(run.parent), *more,
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def arguments(run: Path, chosen: list[Query], args: argparse.Namespace) -> dict[str, str]:
    """A value for every parameter without a default."""
    needed = sorted({p.name for query in chosen for p in query.parameters if p.default is None})
    unknown = [name for name in needed if name not in ARGUMENTS]
    if unknown:
        raise SystemExit(f"no value for {', '.join(unknown)}: add it to ARGUMENTS of {Path(__file__).name}")
    found = {}
    for name in needed:
        command = [
            sys.executable, "-m", "scanner.cli.main", "sql", str(run), ARGUMENTS[name], "--format", "json", "--memory",
            args.memory, "--threads", str(args.threads),
        ]  # fmt: skip
        (row,) = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        (found[name],) = map(str, row.values())
    return found


def measure(
    query: Query, run: Path, other: Path, values: dict[str, str], rows_file: Path, args: argparse.Namespace
) -> dict[str, Any]:
    """One query, start to end."""
    command = [
        sys.executable, "-m", "scanner.cli.main", "query", str(run), query.name, "--format", "parquet", "--memory", args.memory,
        "--threads", str(args.threads), "--scratch", str(rows_file.parent),
    ]  # fmt: skip
    for parameter in query.parameters:
        if parameter.default is None:
            command += ["--param", f"{parameter.name}={values[parameter.name]}"]
    if query.compares_runs:
        command += ["--other", str(other)]
    with rows_file.open("wb") as file:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=file)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{query.name} failed with exit code {process.returncode}")
    # In KiB, but on macOS in bytes.
    peak = usage.ru_maxrss << (0 if platform.system() == "Darwin" else 10)
    return {
        "query": query.name, "rows": num_rows(rows_file), "wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_bytes": peak,
    }  # fmt: skip


def num_rows(file: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(file).num_rows)


def line(result: dict[str, Any]) -> str:
    return (
        f"{result['query']:<40} {result['rows']:>12,} rows {result['wall_s']:7.1f} s wall {result['cpu_s']:7.1f} s CPU "
        f"{result['peak_bytes'] / 1e6:8,.0f} MB"
    )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000_000)
    parser.add_argument("--memory", default="2GB", help="of each query, and of the making of the run")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--work", help="where the runs are made, 5 GB at ten million images")
    parser.add_argument("--run", type=Path, help="a made run to use; made there if it is not, and kept")
    parser.add_argument("--other", type=Path, help="the second one likewise")
    parser.add_argument("--only", nargs="+", help="these queries")
    parser.add_argument("--note", default="", help="put into the results: what else the machine did")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    parse_bytes(args.memory, name="memory")
    return args


if __name__ == "__main__":
    main()
