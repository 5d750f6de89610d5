"""All that was written for a GPU and has never met one, measured by one command.

    PYTHONPATH=. python benchmarks/gpu.py --out benchmarks/results/gpu.json
    PYTHONPATH=. python benchmarks/gpu.py --device cpu --tiny         # the same code on a CPU: its numbers mean nothing
    PYTHONPATH=. python benchmarks/gpu.py --sections embed generate

embed     images/s of encoder, preparation and the whole pass, ViT-B-32 and ViT-L-14 with random weights; the encoder's share of
          the bf16 GEMM ceiling of the same card; whether resizing on the GPU, torch.compile and nvJPEG are worth it
join      the exact join: join_gpu.py
generate  sampling against the network's bare loop: generate.py, the toy model and one of the size of Stable Diffusion 1.x
train     images/s of the training loop in fp32 and under bf16 autocast

The JPEGs are drawn by scanner.lab, 384 pixels on the longer side, at most 10 MiB of distinct ones, repeated in tars. Without a
GPU nothing is measured and the exit code is 2; a section that fails is told, the others go on, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SECTIONS = ("embed", "join", "generate", "train")
MODELS = ("ViT-B-32", "ViT-L-14")
PUBLISHED = {"ViT-B-32": 2500, "ViT-L-14": 312}
"""Images/s of clip-retrieval on one A100
(https://github.com/rom1504/clip-retrieval/blob/main/docs/distributed_clip_inference.md)."""
MOST_BYTES = 10 * 2**20
SIDE = 384
SHARD_ROWS = 4096
TURNS = 3


def main(arguments: list[str] | None = None) -> int:
    args = parse_args(arguments)
    if args.device == "cpu":
        os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is first imported
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        print(
            "No CUDA GPU can be used here: nothing was measured.\n"
            "  Run this on a machine with one and a CUDA build of torch, or give --device cpu --tiny to try the code alone.",
            file=sys.stderr,
        )
        return 2
    result: dict[str, Any] = {"is_tiny": args.tiny, "device": args.device, "machine": machine(args.device), "failed": []}
    sections = {"embed": embed_section, "join": join_section, "generate": generate_section, "train": train_section}
    for name in args.sections:
        start = time.perf_counter()
        try:
            result[name] = sections[name](args)
        except Exception:  # time on a GPU is scarce: the others are still worth having
            traceback.print_exc()
            result["failed"].append(name)
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        if args.out:
            args.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print("\n".join(table(result)))
    return 1 if result["failed"] else 0


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="so small that it ends within a minute or two on a CPU")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--models", nargs="+", help=f"of section embed; by default {' and '.join(MODELS)}, with --tiny small")
    parser.add_argument("--num-images", type=int, help="of the whole pass; by default 32768, with --tiny 48")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--join-sizes", type=int, nargs="+", help="rows; by default those of join_gpu.py")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    if args.device == "cpu" and not args.tiny:
        parser.error("on a CPU this would take hours and say nothing: add --tiny")
    args.models = args.models or (["small"] if args.tiny else list(MODELS))
    args.num_images = args.num_images or (48 if args.tiny else 32_768)
    return args


def machine(device: str) -> dict[str, Any]:
    import join_gpu

    return {**join_gpu.machine(device), "cores": len(os.sched_getaffinity(0)), "load_average": os.getloadavg()[0]}


def embed_section(args: argparse.Namespace) -> dict[str, Any]:
    import join_gpu

    ceiling = join_gpu.ceiling([128] if args.tiny else [8192, 16384], args.device)
    best = max(run["tflops"] for run in ceiling)
    jpegs = lab_jpegs(count=12 if args.tiny else 512)
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        shards = Path(folder) / "shards"
        write_tars(shards, jpegs, num_images=args.num_images)
        found = {name: encoder_rates(name, jpegs, shards, Path(folder), args, ceiling_tflops=best) for name in args.models}
    sizes = [len(jpeg) for jpeg in jpegs]
    return {
        "ceiling": ceiling, "ceiling_tflops": best, "num_distinct": len(jpegs), "distinct_bytes": sum(sizes),
        "median_kb": float(np.median(sizes)) / 1024, "num_images": args.num_images, "workers": args.workers, "models": found,
    }  # fmt: skip


def encoder_rates(
    name: str, jpegs: list[bytes], shards: Path, work: Path, args: argparse.Namespace, *, ceiling_tflops: float
) -> dict[str, Any]:
    """Images/s of one encoder: alone, its preparation, the whole pass."""
    import embed

    from scanner.embed.feed import find_batch_size
    from scanner.embed.runner import make_runner
    from scanner.images.prepare import ImagePreparer
    from scanner.models.loading import load_encoder
    from scanner.plan.model import find_model

    is_gpu = args.device == "cuda"
    encoder = load_encoder(embed.encoder_name(name, work), device=args.device)
    runner = make_runner(encoder)
    start = time.perf_counter()
    size = 8 if args.tiny else find_batch_size(runner)
    found: dict[str, Any] = {
        "batch_size": size, "batch_size_found_in_s": time.perf_counter() - start, "precision": encoder.precision,
        "dim": encoder.dim,
    }  # fmt: skip
    with ImagePreparer(encoder.preprocess, workers=args.workers) as preparer:
        fitted = embed.prepared(preparer, jpegs)
        found["preparation_images_per_s"] = preparation_rate(preparer, jpegs, args)
    with ImagePreparer(encoder.preprocess, workers=args.workers, is_fitted_later=True) as preparer:
        whole = embed.prepared(preparer, jpegs)
        found["decoding_images_per_s"] = preparation_rate(preparer, jpegs, args)
    found["encoder_images_per_s"] = fed_rate(runner, fitted, size, args)
    gflops = find_model(name).gflops
    found["gflops_an_image"] = gflops
    found["share_of_ceiling"] = found["encoder_images_per_s"] * gflops * 1e-3 / ceiling_tflops
    if is_gpu:
        found["resize_and_encoder_images_per_s"] = fed_rate(runner, whole, size, args)
        found["nvjpeg_images_per_s"] = nvjpeg_rate(jpegs, size, args)
    print(f"{name}: {found}", flush=True)

    preparations = {"gpu": "decoding_images_per_s"} if is_gpu else {}
    for place, preparation in (preparations | {"cpu": "preparation_images_per_s"}).items():
        run = work / f"run-{name}-{place}"
        seconds = embed.whole_pass(encoder, shards, run, size, args.workers, resize=place, image=jpegs[0])
        rate = args.num_images / seconds
        alone = found["resize_and_encoder_images_per_s" if place == "gpu" else "encoder_images_per_s"]
        bound = embed.bound(alone, found[preparation], shares_cores=not is_gpu)
        found[f"end_to_end_resized_on_{place}"] = {"images_per_s": rate, "bound_images_per_s": bound, "ratio": rate / bound}
    if is_gpu:
        # Last: it stays compiled.
        compiled = make_runner(encoder, is_compiled=True)
        start = time.perf_counter()
        compiled.start(compiled.pack(list(islice(cycle(fitted), size))))()
        found["compiling_s"] = time.perf_counter() - start
        found["compiled_encoder_images_per_s"] = fed_rate(compiled, fitted, size, args)
        found["processes"] = process_rates(embed.encoder_name(name, work), shards, work, size, args)
    if name in PUBLISHED:
        end_to_end = [value["images_per_s"] for key, value in found.items() if key.startswith("end_to_end")]
        found["published_images_per_s"] = PUBLISHED[name]
        found["times_published"] = max(end_to_end) / PUBLISHED[name]
    return found


def process_rates(name: str, shards: Path, work: Path, size: int, args: argparse.Namespace) -> dict[str, float]:
    """Images/s of the pass by one process and by one for each GPU, their start included; empty where there is one GPU."""
    from scanner.core.config import RunConfig, override
    from scanner.core.progress import Progress
    from scanner.core.store import Store
    from scanner.embed.stage import EmbedStage
    from scanner.models.device import visible_gpus
    from scanner.sources.open import open_source

    num_gpus, found = len(visible_gpus()), {}
    for count in (1, num_gpus) if num_gpus > 1 else ():
        settings = {
            "sources": [{"url": str(shards), "name": "set"}], "encoder.name": name, "encoder.batch_size": size,
            "store.part_rows": SHARD_ROWS, "compute.workers": args.workers, "compute.gpus": count,
        }  # fmt: skip
        store = Store(str(work / f"gpus-{count}-{Path(name).stem}"))
        sources = {"set": open_source(str(shards))}
        result = EmbedStage(store, override(RunConfig(), settings), sources, Progress(quiet=True)).run()
        found[str(count)] = result.images_per_s
    return found


def fed_rate(runner: Any, images: list[NDArray[np.uint8]], size: int, args: argparse.Namespace) -> float:
    """Images/s of batches that lie ready in the runner's own memory, through ``Feed``; after some that do not count."""
    from scanner.embed.batches import Batch
    from scanner.embed.feed import Feed

    source = cycle(images)
    batches = [Batch(ids=list(range(size)), pixels=runner.pack(list(islice(source, size)))) for _ in range(4)]
    count = 2 if args.tiny else max(8, 16_384 // size)

    def run(num_batches: int) -> float:
        start = time.perf_counter()
        num = sum(len(ids) for ids, _ in Feed(runner, size=size).run(islice(cycle(batches), num_batches)))
        assert num == num_batches * size, (num, num_batches, size)
        return time.perf_counter() - start

    run(2)
    return count * size / float(np.median([run(count) for _ in range(TURNS)]))


def preparation_rate(preparer: Any, jpegs: list[bytes], args: argparse.Namespace) -> float:
    """Images/s of the decoding processes alone."""
    import embed

    images = list(islice(cycle(jpegs), len(jpegs) if args.tiny else max(len(jpegs), 512 * args.workers)))
    return len(images) / embed.prepare_alone(preparer, images)


def nvjpeg_rate(jpegs: list[bytes], size: int, args: argparse.Namespace) -> float | str:
    """Images/s of nvJPEG through torchvision, pixels left on the GPU; why not, where this build has none."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    encoded = [torch.frombuffer(bytearray(jpeg), dtype=torch.uint8) for jpeg in islice(cycle(jpegs), size)]
    try:
        seconds = timed(lambda: decode_jpeg(encoded, mode=ImageReadMode.RGB, device=args.device), args.device)
    except (RuntimeError, ValueError) as error:
        return f"not available: {str(error).splitlines()[0][:200]}"
    return size / seconds


def join_section(args: argparse.Namespace) -> dict[str, Any]:
    import join_gpu

    sizes = ["--sizes", *map(str, args.join_sizes)] if args.join_sizes else []
    found: dict[str, Any] = join_gpu.measure(join_gpu.parse_args(["--smoke"] if args.tiny else sizes))
    return found


def generate_section(args: argparse.Namespace) -> dict[str, Any]:
    import generate

    commands = {
        "toy": ["--model", "toy", "--batch-size", "256"],
        "sd1-random": ["--model", "sd1-random", "--batch-size", "16", "--steps", "20"],
    }
    if args.tiny:
        commands = {"toy": ["--model", "toy", "--batch-size", "2", "--batches", "1", "--steps", "1"]}
    kind = ["--device", args.device, "--dtype", "bf16" if args.device == "cuda" else "fp32"]
    return {name: generate.measure(generate.parse_args([*command, *kind])) for name, command in commands.items()}


def train_section(args: argparse.Namespace) -> dict[str, Any]:
    """The loop of `scanner lab train` on the unconditional toy: images/s, and that the loss falls alike in both precisions."""
    import torch

    from scanner.core.progress import Progress
    from scanner.lab import toy_models
    from scanner.models.training import Schedule, train

    batch, steps = (4, 2) if args.tiny else (256, 300)
    images = torch.rand((64, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(args.device) * 2 - 1
    scheduler = toy_models.pixel_scheduler()
    found: dict[str, Any] = {"batch_size": batch, "steps": steps}
    for is_bf16 in (False, True):
        torch.manual_seed(0)
        unet = toy_models.new_unconditional_unet(toy_models.Sizes()).to(args.device)
        losses: list[torch.Tensor] = []
        times: list[float] = []

        def loss(step: int, generator: torch.Generator) -> torch.Tensor:
            chosen = torch.randint(0, len(images), (batch,), generator=generator).to(args.device)
            t = torch.randint(0, scheduler.config.num_train_timesteps, (batch,), generator=generator).to(args.device)
            noise = torch.randn((batch, 3, 32, 32), generator=generator).to(args.device)
            predicted = unet(scheduler.add_noise(images[chosen], noise, t), t).sample  # noqa: B023
            value = (predicted.float() - noise).square().mean()
            losses.append(value.detach())  # noqa: B023
            times.append(time.perf_counter())  # noqa: B023
            return value

        with tempfile.TemporaryDirectory() as folder:
            schedule = Schedule(steps=steps, seed=0, learning_rate=1e-3, warmup_steps=max(1, steps // 10), checkpoint_every=steps)
            progress = Progress(quiet=True)
            train({"unet": unet}, loss, schedule, folder=Path(folder), name="train", progress=progress, is_bf16=is_bf16)
        values = torch.stack(losses).cpu()
        # Of the second half: in the first, kernels are chosen. The loop looks at each loss, so the clock is that of whole steps.
        first = len(times) // 2 if len(times) > 3 else 0
        seconds, num = times[-1] - times[first], len(times) - 1 - first
        found["bf16" if is_bf16 else "fp32"] = {
            "images_per_s": num * batch / seconds, "first_loss": float(values[0]), "last_loss": float(values[-10:].mean()),
        }  # fmt: skip
    return found


def lab_jpegs(*, count: int, most_bytes: int = MOST_BYTES) -> list[bytes]:
    """JPEGs of drawn scenes, ``SIDE`` pixels on the longer side; as many as ``most_bytes`` hold, ``count`` at most."""
    from scanner.lab.canvas import scaled
    from scanner.lab.pictures import jpeg
    from scanner.lab.scenes import draw_scene

    found: list[bytes] = []
    num_bytes = 0
    for number in range(count):
        image = draw_scene(np.random.default_rng([0, number])).image
        ratio = SIDE / max(image.size)
        data = jpeg(scaled(image, (round(image.width * ratio), round(image.height * ratio))))
        if num_bytes + len(data) > most_bytes:
            break
        found.append(data)
        num_bytes += len(data)
    return found


def write_tars(folder: Path, jpegs: Sequence[bytes], *, num_images: int, shard_rows: int = SHARD_ROWS) -> None:
    """``num_images`` samples in tars, the JPEGs again and again."""
    folder.mkdir()
    source: Iterator[bytes] = islice(cycle(jpegs), num_images)
    for shard, first in enumerate(range(0, num_images, shard_rows)):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for number in range(first, min(first + shard_rows, num_images)):
                data = next(source)
                info = tarfile.TarInfo(f"{number:09d}.jpg")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def timed(work: Callable[[], object], device: str) -> float:
    import join_gpu

    seconds: float = join_gpu.timed(work, device, turns=TURNS)
    return seconds


def table(result: dict[str, Any]) -> list[str]:
    """What was found, as Markdown."""
    rows: list[tuple[str, str]] = []
    if embedded := result.get("embed"):
        rows.append(("bf16 GEMM ceiling", f"{embedded['ceiling_tflops']:.1f} TFLOP/s"))
        for name, found in embedded["models"].items():
            share = f"{found['share_of_ceiling']:.2f} of the ceiling, {found['precision']}, batches of {found['batch_size']}"
            rows.append((f"{name}: encoder alone", f"{found['encoder_images_per_s']:,.0f} images/s ({share})"))
            for key, words in (
                ("resize_and_encoder_images_per_s", "resize on the GPU and encoder"),
                ("compiled_encoder_images_per_s", "encoder with torch.compile"),
                ("preparation_images_per_s", f"decode and resize, {embedded['workers']} processes"),
                ("decoding_images_per_s", f"decode alone, {embedded['workers']} processes"),
                ("nvjpeg_images_per_s", "nvJPEG"),
            ):
                if key in found:
                    value = found[key]
                    rows.append((f"{name}: {words}", value if isinstance(value, str) else f"{value:,.0f} images/s"))
            for place in ("gpu", "cpu"):
                if whole := found.get(f"end_to_end_resized_on_{place}"):
                    text = f"{whole['images_per_s']:,.0f} images/s ({whole['ratio']:.2f} of the bound)"
                    rows.append((f"{name}: end to end, resized on the {place.upper()}", text))
            rows += [(f"{name}: {n} GPU processes", f"{rate:,.0f} images/s") for n, rate in found.get("processes", {}).items()]
            if "times_published" in found:
                text = f"{found['times_published']:.2f} x {found['published_images_per_s']:,} images/s (one A100)"
                rows.append((f"{name}: against clip-retrieval", text))
    if joined := result.get("join"):
        for run in joined["joins"]:
            words = f"join, {run['n']:,} rows, {run['kernel']}, width {run['width']}"
            rows.append((words, f"{run['wall_s']:.3f} s, {run['share_of_ceiling']:.2f} of the ceiling"))
        rows += [(f"{run['method']}, {run['n']:,} rows", f"{run['wall_s']:.3f} s") for run in joined["peers"]]
    for name, found in result.get("generate", {}).items():
        rows.append((f"generate {name}", f"{found['images_per_s']:.2f} images/s, {found['share_of_bare']:.2f} of the bare loop"))
    if trained := result.get("train"):
        for precision in ("fp32", "bf16"):
            found = trained[precision]
            text = f"{found['images_per_s']:,.0f} images/s, loss {found['first_loss']:.3f} to {found['last_loss']:.3f}"
            rows.append((f"train in {precision}", text))
    rows += [(f"section {name}", "failed") for name in result["failed"]]
    note = ["", "Tiny: these numbers mean nothing."] if result["is_tiny"] else []
    return ["| measured | |", "| --- | --- |", *(f"| {words} | {text} |" for words, text in rows), *note]


if __name__ == "__main__":
    sys.exit(main())
