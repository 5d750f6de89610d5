"""All pairs above a cosine: ours against faiss, in one run on the same cores. Ratios of process CPU and of wall time.

Planted embeddings (d = 512, Zipf group sizes) on two backgrounds: isotropic, and with CLIP's common mean. Each method runs in
a process of its own, pinned to as many cores as it has threads; the time is that from the rows in memory to the pairs,
index building included. Link recall = merges that the found pairs make / merges that the true components need; precision = pairs
found that the exact join finds too.

``gemm`` is no search: as many products of bounds as the join of all pairs makes, by the same number of threads, and nothing
else. Its own gain from a second core is what the join's is held against.

    python benchmarks/neighbors.py --sizes 50000 --threads 1 2 --out benchmarks/results/neighbors.json
    python benchmarks/neighbors.py --sizes 200000 --threads 1 --methods join cells faiss-flat faiss-ivf-4 faiss-hnsw semdedup
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Found = Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]
THRESHOLD = 0.95
SAMPLED_FROM = 100_000
"""From so many rows on, a method whose cost is the square is run on a tenth of the rows as queries, and its time multiplied; from
``FEW_FROM`` on it is a hundredth, of every faiss index, whose building is timed as it is."""
FEW_FROM = 1_000_000
LONG_S = 20.0
"""What takes longer is run once: it is steadier, and there is no end to it else."""
LARGEST = {50_000: 1_000, 200_000: 4_000, 1_000_000: 5_000}


def main() -> None:
    args = parse_args()
    if args.method:
        print(json.dumps(run_method(args)))
        return
    results: list[dict[str, Any]] = []
    if args.out and args.out.is_file():
        earlier = json.loads(args.out.read_text("utf-8"))
        if earlier["machine"] != machine():
            raise SystemExit(f"{args.out} holds results of {earlier['machine']}, this is {machine()}: give another file.")
        results = earlier["results"]
    for background in args.backgrounds:
        for n in args.sizes:
            with tempfile.TemporaryDirectory(prefix="bench-neighbors-") as work:
                rows = Path(work) / "rows.npy"
                np.save(rows, vectors(n, background))
                runs = measure(args.methods, rows, args.threads, args.turns)
                for threads in args.threads:
                    about = {"n": n, "background": background, "threads": threads}
                    found = [{"method": method, **about, **medians(runs[method, threads])} for method in args.methods]
                    score(found, Path(work))
                    results += found
                    print(table(found), flush=True)
    result = {"threshold": THRESHOLD, "dim": 512, "machine": machine(), "results": results}
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def vectors(n: int, background: str) -> NDArray[np.float16]:
    from scanner.lab.vectors import PlantedVectors

    planted = PlantedVectors(n=n, background=background, largest=LARGEST.get(n, 1_000), seed=n, cosines=(0.9, 0.999))  # type: ignore[arg-type]
    return planted.rows()


def measure(methods: list[str], rows: Path, threads: list[int], turns: int) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """What each process of a method with so many threads said, turn by turn: what else the machine does hits all alike."""
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {(method, t): [] for t in threads for method in methods}
    for _ in range(turns):
        for (method, t), found in runs.items():
            if found and found[-1]["wall_s"] > LONG_S:
                continue
            command = [sys.executable, __file__, "--method", method, "--rows", str(rows), "--threads", str(t)]
            environment = {**os.environ, "OMP_NUM_THREADS": str(t), "OPENBLAS_NUM_THREADS": str(t)}
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    return runs


def medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    timed = {key: statistics.median(run[key] for run in runs) for key in ("wall_s", "cpu_s", "peak_mib")}
    return {"turns": len(runs), **runs[-1], **timed}


def run_method(args: argparse.Namespace) -> dict[str, Any]:
    threads = args.threads[0]
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:threads]))
    x: NDArray[np.float16] = np.load(args.rows)
    search, is_sampled = METHODS[args.method](x, threads)
    before = built = (time.perf_counter(), time.process_time())
    lefts, rights = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for left, right in search():
        if left is BUILT:
            built = (time.perf_counter(), time.process_time())
            continue
        lefts.append(left)
        rights.append(right)
    factor, num_pairs = (len(x) // num_queries(len(x)) if is_sampled else 1), None
    now = (time.perf_counter(), time.process_time())
    wall, cpu = (b - a + factor * (c - b) for a, b, c in zip(before, built, now, strict=True))
    left, right = np.concatenate(lefts), np.concatenate(rights)
    if not is_sampled:
        from scanner.search.forest import components

        keys = np.unique(left * len(x) + right)
        num_pairs = len(keys)
        np.save(args.rows.with_name(f"{args.method}-{threads}-pairs.npy"), keys)
        np.save(args.rows.with_name(f"{args.method}-{threads}.npy"), components(len(x), left, right))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "wall_s": wall, "cpu_s": cpu, "peak_mib": peak, "num_pairs": num_pairs,
        "is_extrapolated": is_sampled,
    }  # fmt: skip


def ours(x: NDArray[np.float16], threads: int) -> tuple[Callable[[], Found], bool]:
    import torch

    from scanner.search.join import ThresholdJoin

    torch.mm(torch.ones(8, 8), torch.ones(8, 8))

    def search() -> Found:
        for block in ThresholdJoin(x=x, threshold=THRESHOLD, threads=threads).blocks():
            yield block.left, block.right

    return search, False


def cells(recall: float) -> Callable[[NDArray[np.float16], int], tuple[Callable[[], Found], bool]]:
    def make(x: NDArray[np.float16], threads: int) -> tuple[Callable[[], Found], bool]:
        import faiss  # noqa: F401
        import torch

        from scanner.search.cells_join import CellsJoin

        torch.mm(torch.ones(8, 8), torch.ones(8, 8))

        def search() -> Found:
            join = CellsJoin(x=x, threshold=THRESHOLD, recall=recall, threads=threads)
            print(join.stats, file=sys.stderr)
            for block in join.blocks():
                yield block.left, block.right

        return search, False

    return make


def gemm(x: NDArray[np.float16], threads: int) -> tuple[Callable[[], Found], bool]:
    """The products that ``join`` makes of its bounds, and nothing else."""
    import torch

    from scanner.search import tiles
    from scanner.search.join import ThresholdJoin, tile_shape

    join = ThresholdJoin(x=x, threshold=THRESHOLD, threads=threads)
    bounds = tiles.Bounds(np.float32(THRESHOLD), join.precision)
    shape = tile_shape(join.precision)
    rows = torch.randn(shape.rows, join.stats.width).to(bounds.dtype)
    columns = torch.randn(shape.columns, join.stats.width).to(bounds.dtype)
    num_tiles = len(x) * (len(x) - 1) // 2 // (len(rows) * len(columns))

    def search() -> Found:
        for _ in tiles.in_order(range(0, num_tiles, 4), lambda _: [bounds.products(rows, columns) for _ in range(4)], threads):
            pass
        yield np.empty(0, np.int64), np.empty(0, np.int64)

    return search, False


BUILT = np.empty(0, np.int64)
"""What a search yields once its index stands."""


def num_queries(n: int) -> int:
    """Of a method that is run on some of the rows."""
    return n // (100 if n >= FEW_FROM else 10)


def semdedup(x: NDArray[np.float16], threads: int) -> tuple[Callable[[], Found], bool]:
    """k-means, and all pairs within a cell in full (Abbas et al. 2023): sqrt(n) cells, faiss's defaults."""
    import faiss
    import torch

    faiss.omp_set_num_threads(threads)
    torch.set_num_threads(threads)
    rows = unit(x)

    def search() -> Found:
        kmeans = faiss.Kmeans(rows.shape[1], int(len(rows) ** 0.5), niter=20, spherical=True, seed=0)
        kmeans.train(rows)
        cell = kmeans.index.search(rows, 1)[1][:, 0]
        order = np.argsort(cell, kind="stable")
        edges = np.searchsorted(cell[order], np.arange(kmeans.k + 1))
        for start, stop in itertools.pairwise(edges.tolist()):
            members = order[start:stop]
            inside = torch.from_numpy(rows[members])
            i, j = np.nonzero(np.triu((inside @ inside.T).numpy() >= THRESHOLD, 1))
            yield np.minimum(members[i], members[j]), np.maximum(members[i], members[j])

    return search, False


def _ranges(index: Any, queries: NDArray[np.float32], first: int, step: int = 4096) -> Found:
    radius = float(np.nextafter(np.float32(THRESHOLD), np.float32(0)))
    for start in range(0, len(queries), step):
        limits, _, found = index.range_search(queries[start : start + step], radius)
        row = np.repeat(np.arange(len(limits) - 1, dtype=np.int64) + first + start, np.diff(limits.astype(np.int64)))
        # Both ways: an index that probes few lists may find a pair from one side only.
        other = row != found
        yield np.minimum(row, found)[other], np.maximum(row, found)[other]


def faiss_flat(x: NDArray[np.float16], threads: int) -> tuple[Callable[[], Found], bool]:
    import faiss

    faiss.omp_set_num_threads(threads)
    rows, is_sampled = unit(x), len(x) >= SAMPLED_FROM

    def search() -> Found:
        index = faiss.IndexFlatIP(rows.shape[1])
        index.add(rows)
        yield BUILT, BUILT
        yield from _ranges(index, rows[: num_queries(len(rows)) if is_sampled else None], 0)

    return search, is_sampled


def ivf(num_probes: int, lists_a_root: float = 4.0) -> Callable[[NDArray[np.float16], int], tuple[Callable[[], Found], bool]]:
    def make(x: NDArray[np.float16], threads: int) -> tuple[Callable[[], Found], bool]:
        import faiss

        faiss.omp_set_num_threads(threads)
        rows, is_sampled = unit(x), len(x) >= FEW_FROM

        def search() -> Found:
            num_lists = int(lists_a_root * len(rows) ** 0.5)
            index = faiss.IndexIVFFlat(faiss.IndexFlatIP(rows.shape[1]), rows.shape[1], num_lists, faiss.METRIC_INNER_PRODUCT)
            index.cp.max_points_per_centroid = 64
            index.train(rows)
            index.add(rows)
            index.nprobe = num_probes
            yield BUILT, BUILT
            yield from _ranges(index, rows[: num_queries(len(rows)) if is_sampled else None], 0)

        return search, is_sampled

    return make


def hnsw(x: NDArray[np.float16], threads: int) -> tuple[Callable[[], Found], bool]:
    import faiss

    faiss.omp_set_num_threads(threads)
    rows = unit(x)

    def search() -> Found:
        index = faiss.IndexHNSWFlat(rows.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = 40, 64
        index.add(rows)
        for start in range(0, len(rows), 8192):
            similarity, found = index.search(rows[start : start + 8192], 64)
            row = np.repeat(np.arange(start, start + len(found), dtype=np.int64), 64)
            near = (similarity.ravel() >= THRESHOLD) & (found.ravel() != row)
            yield np.minimum(row, found.ravel())[near], np.maximum(row, found.ravel())[near]

    return search, False


METHODS: dict[str, Callable[[NDArray[np.float16], int], tuple[Callable[[], Found], bool]]] = {
    "join": ours,
    "cells": cells(0.9995),
    "cells-999": cells(0.999),
    "cells-995": cells(0.995),
    "cells-99": cells(0.99),
    "gemm": gemm,
    "semdedup": semdedup,
    "faiss-flat": faiss_flat,
    "faiss-ivf-1": ivf(1),
    "faiss-ivf-2": ivf(2),
    "faiss-ivf-3": ivf(3),
    "faiss-ivf-4": ivf(4),
    "faiss-ivf-8": ivf(8),
    "faiss-ivf-few-2": ivf(2, 1.0),
    "faiss-ivf-few-4": ivf(4, 1.0),
    "faiss-hnsw": hnsw,
}


def unit(x: NDArray[np.float16]) -> NDArray[np.float32]:
    from scanner.search.threshold import unit_rows

    return unit_rows(x)


def score(found: list[dict[str, Any]], work: Path) -> None:
    """Link recall against the exact join, and ratios to it."""
    exact = next((run for run in found if run["method"] == "join"), None)
    if exact is None:
        return
    threads = exact["threads"]
    truth, pairs = np.load(work / f"join-{threads}.npy"), np.load(work / f"join-{threads}-pairs.npy")
    needed = len(truth) - len(np.unique(truth))
    for run in found:
        labels, mine = (work / f"{run['method']}-{threads}{end}.npy" for end in ("", "-pairs"))
        if labels.is_file() and run["num_pairs"]:
            common = len(np.intersect1d(pairs, np.load(mine), assume_unique=True))
            run["link_recall"] = (len(truth) - len(np.unique(np.load(labels)))) / needed
            run["pair_recall"], run["precision"] = common / len(pairs), common / run["num_pairs"]
        run["times_join_cpu"], run["times_join_wall"] = run["cpu_s"] / exact["cpu_s"], run["wall_s"] / exact["wall_s"]


def table(found: list[dict[str, Any]]) -> str:
    first = found[0]
    against = next((run for run in found if run["method"] == "join"), first)
    lines = [f"\n{first['background']}, n = {first['n']:,}, {first['threads']} threads"]
    for run in found:
        recall = f"{run['link_recall']:.5f}" if run.get("link_recall") is not None else "-"
        lines.append(
            f"{run['method']:>12}: {run['wall_s']:8.1f} s wall, {run['cpu_s']:8.1f} s CPU, {run['peak_mib']:6.0f} MiB, "
            f"{run['num_pairs'] or 0:>11,} pairs, recall of links {recall}, of pairs {run.get('pair_recall', math.nan):.5f}, "
            f"precision {run.get('precision', math.nan):.7f}, {run['wall_s'] / against['wall_s']:6.2f} x {against['method']}"
            f"{', extrapolated' if run['is_extrapolated'] else ''}"
        )
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    from importlib.metadata import version

    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    packages = {name: version(name) for name in ("torch", "faiss-cpu", "numpy")}
    return {"cores": os.cpu_count(), "cpu": capability, "python": platform.python_version(), **packages}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50_000])
    parser.add_argument("--backgrounds", nargs="+", choices=("isotropic", "clip"), default=["isotropic", "clip"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=["join", "faiss-flat"])
    parser.add_argument("--turns", type=int, default=3, help="Medians of so many; once where it takes long.")
    parser.add_argument("--out", type=Path, help="Results are added to those of this file.")
    parser.add_argument("--method", choices=tuple(METHODS), help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
