"""The exact join on a GPU against the ceiling of its bf16 products and against unfused peers, in one run on one card.

Needs torch (2.11 or later, built for CUDA), triton, numpy and this checkout; faiss only where it can be imported. Rows are
planted as ``scanner.lab.vectors`` plants them (Zipf group sizes, d = 512), but drawn on the device: 10 million take minutes on
the host.

    PYTHONPATH=. python benchmarks/join_gpu.py --out benchmarks/results/join-gpu.json
    PYTHONPATH=. python benchmarks/join_gpu.py --smoke      # tiny, on the CPU, in Triton's interpreter: times mean nothing

Share of the ceiling = 2 d operations for each pair compared (half the matrix), over the wall time from rows on the host to pairs
on the host, over the rate of the fastest large square torch.matmul. With bounds of a prefix fewer operations are done, and it may
pass 1.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.95
TIE = 1e-6
PROJECTED = 160_000_000
"""Images of Stable Diffusion's training set that Carlini et al. 2023 compared with one another (section 4)."""
TOP = 64


def main() -> None:
    args = parse_args()
    result = measure(args)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Ceiling, correctness, joins of every size, peers; printed as they come."""
    if args.smoke:
        os.environ.setdefault("TRITON_INTERPRET", "1")
        args.sizes, args.peer_size, args.check_size, args.dim, args.squares = [300, 500], 200, 200, 128, [128]
    import torch

    device = "cpu" if args.smoke else "cuda"
    torch.manual_seed(args.seed)
    result: dict[str, Any] = {
        "threshold": THRESHOLD, "dim": args.dim, "background": args.background, "seed": args.seed, "is_smoke": args.smoke,
        "machine": machine(device),
    }  # fmt: skip
    result["ceiling"] = ceiling(args.squares, device)
    best = max(run["tflops"] for run in result["ceiling"])
    print(f"bf16 torch.matmul: {best:.1f} TFLOP/s at best", flush=True)
    x = planted_rows(max(args.sizes), args.dim, args.background, args.seed, device)
    result["check"] = check(x[: args.check_size], device)
    print(f"pairs of {args.check_size:,} rows against an fp32 product: {result['check']}", flush=True)
    result["joins"] = []
    variants = [(kernel, width) for kernel in kernels(device) for width in (args.dim, None)]
    for n in sorted(args.sizes):
        runs = [join(x[:n], kernel, width, device, args.device_memory, best) for kernel, width in variants]
        result["joins"] += runs
        for run in runs:
            print(line(run), flush=True)
        # Larger sets take minutes: with the faster kernel only.
        faster = min(runs, key=lambda run: run["wall_s"])["kernel"]
        variants = [(faster, width) for width in (args.dim, None)]
    result["peers"] = peers(x[: args.peer_size], device, best)
    for run in result["peers"]:
        print(line(run), flush=True)
    fastest = min((run for run in result["joins"] if run["n"] == max(args.sizes)), key=lambda run: run["wall_s"])
    days = fastest["wall_s"] * (PROJECTED / fastest["n"]) ** 2 / 86_400
    result["projection"] = {"n": PROJECTED, "from_n": fastest["n"], "gpu_days": days, "is_extrapolated": True}
    print(f"extrapolated to {PROJECTED:,} rows: {days:.2f} days of this card")
    return result


def ceiling(squares: list[int], device: str) -> list[dict[str, Any]]:
    """Rates of large square products in bf16, the median of some calls each."""
    import torch

    found = []
    for n in squares:
        a, b = (torch.randn((n, n), device=device).bfloat16() for _ in range(2))
        out = torch.empty_like(a)
        seconds = timed(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), device, turns=10)  # type: ignore[misc]
        found.append({"n": n, "ms": 1e3 * seconds, "tflops": 2e-12 * n**3 / seconds})
    return found


def planted_rows(n: int, d: int, background: str, seed: int, device: str) -> NDArray[np.float16]:
    """float16 (n, d) on the host, by the recipe of ``PlantedVectors`` with torch's generator."""
    import torch

    from scanner.lab.vectors import MEAN_SHARES, PlantedVectors

    start = time.perf_counter()
    group = PlantedVectors(n=n, d=d, seed=seed, cosines=(0.9, 0.999)).group
    generator = torch.Generator(device).manual_seed(seed)

    def unit(rows: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(rows)

    def normal(m: int) -> torch.Tensor:
        return torch.randn((m, d), device=device, generator=generator)

    def uniform(m: int, low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand((m, 1), device=device, generator=generator)

    mean = unit(normal(1))[0]

    def unrelated(m: int) -> torch.Tensor:
        noise = unit(normal(m))
        if background == "isotropic":
            return noise
        share = uniform(m, *MEAN_SHARES)
        return share.sqrt() * mean + (1 - share).sqrt() * unit(noise - (noise @ mean)[:, None] * mean)

    centres = torch.cat([unrelated(min(65_536, int(group.max()) + 1 - i)).half() for i in range(0, int(group.max()) + 1, 65_536)])
    out = np.empty((n, d), np.float16)
    for first in range(0, n, 262_144):
        of = torch.from_numpy(group[first : first + 262_144]).to(device)
        rows = unrelated(len(of))
        member = torch.nonzero(of >= 0)[:, 0]
        centre = unit(centres[of[member]].float())
        noise = normal(len(member))
        noise = unit(noise - (noise * centre).sum(dim=1, keepdim=True) * centre)
        cosine = uniform(len(member), 0.9, 0.999)
        rows[member] = cosine * centre + (1 - cosine * cosine).sqrt() * noise
        out[first : first + len(of)] = rows.half().cpu().numpy()
    print(f"{n:,} rows of {d} drawn in {time.perf_counter() - start:.1f} s, {int(group.max()) + 1:,} groups", flush=True)
    return out


def check(x: NDArray[np.float16], device: str) -> dict[str, int]:
    """Pairs of each kernel that an fp32 product (TF32 off, torch's default) does not have, or has alone, ties apart."""
    import torch

    from scanner.search.threshold import unit_rows

    rows = torch.from_numpy(unit_rows(x)).to(device)
    must, may = [], []
    for first in range(0, len(x), 8192):
        products = rows[first : first + 8192] @ rows.T
        for found, cut in ((must, THRESHOLD + TIE), (may, THRESHOLD - TIE)):
            i, j = torch.nonzero(products >= cut, as_tuple=True)
            above = i + first < j
            found.append(((i[above] + first) * len(x) + j[above]).cpu().numpy())
    needed, allowed = np.concatenate(must), np.concatenate(may)
    out = {"num_pairs": len(needed), "num_ties": len(allowed) - len(needed)}
    for kernel in kernels(device):
        blocks = list(make_join(x, kernel, x.shape[1], device, None).blocks())
        keys = np.concatenate([block.left * len(x) + block.right for block in blocks] or [np.empty(0, np.int64)])
        out[f"{kernel}_missing"] = len(np.setdiff1d(needed, keys))
        out[f"{kernel}_too_many"] = len(np.setdiff1d(keys, allowed)) + len(keys) - len(np.unique(keys))
    return out


def kernels(device: str) -> list[str]:
    import torch

    return ["grid", "persistent"] if device == "cpu" or torch.cuda.get_device_capability() >= (9, 0) else ["grid"]


def make_join(x: NDArray[np.float16], kernel: str, width: int | None, device: str, memory: int | None) -> Any:
    from scanner.search.gpu_join import GpuThresholdJoin

    return GpuThresholdJoin(
        x=x, threshold=THRESHOLD, width=width, device=device, kernel=kernel, device_memory_bytes=memory  # type: ignore[arg-type]
    )  # fmt: skip


def join(
    x: NDArray[np.float16], kernel: str, width: int | None, device: str, memory: int | None, ceiling_tflops: float
) -> dict[str, Any]:
    """One join from rows on the host to pairs on the host, after the tiles for its width were chosen."""
    import torch

    from scanner.search import gpu_join, join_kernel

    start = time.perf_counter()
    run = make_join(x, kernel, width, device, memory)
    pilot = time.perf_counter() - start
    rows, columns = gpu_join.PANEL_ROWS, gpu_join.PANEL_COLUMNS
    warm = gpu_join.GpuThresholdJoin(
        x=x[:rows], y=x[rows : rows + columns], threshold=THRESHOLD, width=run.stats.width, device=device,
        kernel=kernel,  # type: ignore[arg-type]
    )  # fmt: skip
    for _ in warm.blocks():
        pass
    tuned = time.perf_counter() - start - pilot
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    for _ in run.blocks():
        pass
    wall = time.perf_counter() - start
    tuner = join_kernel._tuned_persistent if kernel == "persistent" else join_kernel._tuned_grid
    tflops = 2e-12 * x.shape[1] * run.stats.num_compared / wall
    return {
        "method": "join", "n": len(x), "kernel": kernel, "width": run.stats.width, "is_width_from_pilot": width is None,
        "wall_s": wall, "pilot_s": pilot, "tuning_s": tuned, "tflops": tflops, "share_of_ceiling": tflops / ceiling_tflops,
        "num_pairs": run.stats.num_pairs, "num_candidates": run.stats.num_candidates, "num_repeats": run.stats.num_repeats,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None,
        "tile": str(getattr(tuner, "best_config", None)),
    }  # fmt: skip


def peers(x: NDArray[np.float16], device: str, ceiling_tflops: float) -> list[dict[str, Any]]:
    """Ours and what writes its products to memory, on the same rows, which lie on the device beforehand for the peers."""
    import torch

    rows = torch.nn.functional.normalize(torch.from_numpy(x).to(device).float()).bfloat16()
    step = 8192

    def top() -> None:
        for first in range(0, len(rows), step):
            torch.topk(rows[first : first + step] @ rows.T, min(TOP, len(rows)), dim=1)

    def above() -> None:
        for first in range(0, len(rows), step):
            torch.nonzero(rows[first : first + step] @ rows[first:].T >= THRESHOLD)

    methods: dict[str, Callable[[], None]] = {f"torch matmul + topk {TOP}": top, "torch matmul + nonzero, half": above}
    if (faiss_search := faiss_gpu(rows, device)) is not None:
        methods[f"faiss GpuIndexFlatIP, k = {TOP}"] = faiss_search
    # The kernel for any GPU, so that the ratio is of one method.
    found = [join(x, "grid", x.shape[1], device, None, ceiling_tflops)]
    for name, method in methods.items():
        wall = timed(method, device, turns=2)
        found.append({"method": name, "n": len(x), "wall_s": wall, "times_join_wall": wall / found[0]["wall_s"]})
    return found


def faiss_gpu(rows: Any, device: str) -> Callable[[], None] | None:
    """A search by faiss in f16, its index filled beforehand; None where faiss or its GPU half cannot be imported."""
    try:
        import faiss
    except ImportError:
        return None
    if device == "cpu" or not hasattr(faiss, "StandardGpuResources"):
        return None
    config = faiss.GpuIndexFlatConfig()
    config.useFloat16 = True
    index = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), rows.shape[1], config)
    queries = rows.float().cpu().numpy()
    index.add(queries)

    def search() -> None:
        for first in range(0, len(queries), 65_536):
            index.search(queries[first : first + 65_536], TOP)

    return search


def timed(work: Callable[[], object], device: str, *, turns: int) -> float:
    """Median seconds of a call, after one that does not count."""
    import torch

    found = []
    for _ in range(turns + 1):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return statistics.median(found[1:])


def line(run: dict[str, Any]) -> str:
    text = f"{run['n']:>11,} rows  {run['method']:<30} {run['wall_s']:9.3f} s"
    if run["method"] != "join":
        return f"{text}  {run['times_join_wall']:.2f} x the join"
    return (
        f"{text}  {run['kernel']:<10} width {run['width']:>4}  {run['tflops']:7.1f} TFLOP/s = {run['share_of_ceiling']:.2f} of "
        f"the ceiling, {run['num_pairs']:,} pairs of {run['num_candidates']:,} candidates, {run['num_repeats']} repeats"
    )


def machine(device: str) -> dict[str, Any]:
    import torch
    import triton

    found: dict[str, Any] = {"torch": torch.__version__, "triton": triton.__version__, "cuda": torch.version.cuda}
    if device == "cuda":
        card = torch.cuda.get_device_properties(0)
        found |= {"gpu": card.name, "memory_gib": card.total_memory / 2**30, "multiprocessors": card.multi_processor_count}
    return found


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--background", choices=("isotropic", "clip"), default="clip")
    parser.add_argument("--peer-size", type=int, default=200_000)
    parser.add_argument("--check-size", type=int, default=50_000)
    parser.add_argument("--squares", type=int, nargs="+", default=[8192, 16384])
    parser.add_argument("--device-memory", type=int, help="bytes; less than all rows need makes them stream from the host")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--out", type=Path)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
