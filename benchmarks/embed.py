"""Does the pass keep the encoder busy? Rates of encoder, preparation and the whole pass, in one run on the same cores.

The bound for a CPU that does both is 1 / (1 / encoder + 1 / preparation), each measured alone with all cores; for a GPU it is
min(encoder, preparation). Printed is how close the whole pass (read, decode, resize, encode, write tables) comes.

    python benchmarks/embed.py                                    # small, then ViT-B-32 with random weights; made photographs
    python benchmarks/embed.py --images FOLDER --encoder NAME
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import ComputeConfig, EncoderConfig, RunConfig, SourceConfig
from scanner.core.progress import Progress
from scanner.core.store import Store
from scanner.embed.stage import EmbedStage
from scanner.images.prepare import ImageLimits, ImagePreparer
from scanner.models.encoders import Encoder
from scanner.models.loading import load_encoder
from scanner.sources.open import open_source

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


ENCODERS = ("small", "ViT-B-32")
"""Measured where no --encoder is given. A model of open_clip without a tag has random weights."""
IMAGES = {"small": 2048, "cuda": 8192, "cpu": 384}
"""So many that each measurement takes seconds."""


def main() -> None:
    args = parse_args()
    logging.basicConfig(level=logging.ERROR)  # open_clip warns that random weights are random
    for name in [args.encoder] if args.encoder else ENCODERS:
        result = measure(args, name)
        print("\n".join(lines(result)), flush=True)
        short = "small-" if name == "small" else ""
        out = args.out or Path(__file__).parent / "results" / f"embed-{short}{result['device']}-{result['precision']}.json"
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=2) + "\n")


def measure(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """Everything about one encoder."""
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-embed-")))
        encoder = load_encoder(encoder_name(name, work), device=args.device, precision=args.precision)
        device = encoder.device
        num_images = args.num_images or IMAGES["small" if name == "small" else device]
        batch_size = args.batch_size or (256 if device == "cuda" else 32)
        folder = work / "images"
        num_distinct = fill(folder, num_images, from_folder=args.images)
        images = [path.read_bytes() for path in sorted(folder.iterdir())]

        preparer = stack.enter_context(ImagePreparer(encoder.preprocess, ImageLimits(), workers=args.workers))
        pixels = np.stack(prepared(preparer, images))
        measures: dict[str, Callable[[int], float]] = {
            "encoder": lambda _: encode_alone(encoder, pixels, batch_size),
            "preparation": lambda _: prepare_alone(preparer, images),
            "end_to_end": lambda turn: whole_pass(encoder, folder, work / f"run-{turn}", batch_size, args.workers),
        }
        # Taken in turns, so that a neighbour's load falls on all three alike.
        rates: dict[str, list[float]] = {key: [] for key in measures}
        for turn in range(args.turns):
            for key, take in measures.items():
                rates[key].append(len(images) / take(turn))

    encoder_rate, preparation_rate, rate = (statistics.median(values) for values in rates.values())
    shares_cores = device == "cpu"
    ratios = [ratio_of_turn(turn, shares_cores) for turn in zip(*rates.values(), strict=True)]
    return {
        "encoder": name if "/" not in name else "of the command line",
        "encoder_images_per_s": encoder_rate,
        "preparation_images_per_s": preparation_rate,
        "end_to_end_images_per_s": rate,
        "bound_images_per_s": bound(encoder_rate, preparation_rate, shares_cores=shares_cores),
        "ratio": statistics.median(ratios),
        "turns": rates,
        "ratios": ratios,
        "images": "photographs of a folder" if args.images else "synthetic images",
        "num_images": len(images),
        "num_distinct": num_distinct,
        "median_kb": statistics.median(map(len, images)) / 1024,
        "batch_size": batch_size,
        "workers": args.workers,
        "device": device,
        "precision": encoder.precision,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "versions": versions(),
    }


def lines(result: dict[str, Any]) -> list[str]:
    each = ", ".join(f"{ratio:.2f}" for ratio in result["ratios"])
    return [
        f"{result['encoder']}: {result['num_images']} images ({result['images']}, {result['num_distinct']} distinct), "
        f"{result['precision']} on {result['device']}, batches of {result['batch_size']}",
        f"encoder alone      {result['encoder_images_per_s']:9.1f} images/s",
        f"preparation alone  {result['preparation_images_per_s']:9.1f} images/s",
        f"end to end         {result['end_to_end_images_per_s']:9.1f} images/s",
        f"of the bound       {result['ratio']:9.2f} (median of {each}; bound {result['bound_images_per_s']:.1f} images/s; "
        f"load {result['load_average']:.1f})",
    ]


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of photographs; copied until there are --num-images")
    parser.add_argument("--encoder", help="as in scanner scan, or ViT-B-32 and the like for random weights")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--num-images", type=int, help="384 on a CPU (small: 2048), 8192 on a GPU")
    parser.add_argument("--batch-size", type=int, help="32 on a CPU, 256 on a GPU")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, help="by default benchmarks/results/embed-[small-]DEVICE-PRECISION.json")
    args = parser.parse_args(arguments)
    if args.out and not args.encoder:
        parser.error("--out takes one result: give --encoder too")
    return args


def bound(encoder: float, preparation: float, *, shares_cores: bool) -> float:
    """Images a second at best: both share the cores, or each has what it needs."""
    return 1 / (1 / encoder + 1 / preparation) if shares_cores else min(encoder, preparation)


def ratio_of_turn(rates: tuple[float, ...], shares_cores: bool) -> float:
    encoder, preparation, rate = rates
    return rate / bound(encoder, preparation, shares_cores=shares_cores)


def encode_alone(encoder: Encoder, pixels: NDArray[np.uint8], batch_size: int) -> float:
    """Seconds for all pixels, after a batch that is not counted."""
    encoder.encode(pixels[:batch_size])
    start = time.perf_counter()
    for first in range(0, len(pixels), batch_size):
        encoder.encode(pixels[first : first + batch_size])
    return time.perf_counter() - start


def prepare_alone(preparer: ImagePreparer, images: list[bytes]) -> float:
    """Seconds for all images, the workers being up."""
    prepared(preparer, images[:4])
    start = time.perf_counter()
    prepared(preparer, images)
    return time.perf_counter() - start


def prepared(preparer: ImagePreparer, images: list[bytes]) -> list[NDArray[np.uint8]]:
    pixels = [array for _, _, array in preparer.prepare(enumerate(images))]
    assert all(array is not None for array in pixels), "an image of the benchmark is not usable"
    return [array for array in pixels if array is not None]


def whole_pass(
    encoder: Encoder, folder: Path, run: Path, batch_size: int, workers: int, *, resize: str = "auto", image: bytes = b""
) -> float:
    """Seconds of ``scanner.embed`` over the folder. Loading the model and starting the workers come before.

    Args:
        image: what the workers start with, where the first file of the folder is no image.
    """
    config = RunConfig(
        sources=(SourceConfig(url=str(folder), name="images"),),
        encoder=EncoderConfig(name=encoder.name, batch_size=batch_size),
        compute=ComputeConfig(workers=workers, resize=resize),  # type: ignore[arg-type]
    )
    stage = EmbedStage(Store(str(run)), config, {"images": open_source(str(folder))}, Progress(quiet=True))
    stage.maker.encoder = encoder  # loaded once for all measurements
    first = image or next(folder.iterdir()).read_bytes()
    prepared(stage.maker.get_preparer(), [first] * workers)
    encoder.encode(np.zeros((batch_size, *encoder.preprocess.size, 3), np.uint8))
    result = stage.run()
    shutil.rmtree(run)
    return result.seconds


def encoder_name(name: str, folder: Path) -> str:
    """``name`` as a scan takes it. A bare model of open_clip gets random weights, which it computes as fast with as with any."""
    return name if ":" in name or name in ("small", "pixels") else f"open_clip:{name}/{random_weights(folder, name)}"


def random_weights(folder: Path, model: str) -> Path:
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = folder / f"{model.lower()}-random.safetensors"
    save_file(open_clip.create_model(model).state_dict(), path)
    return path


def fill(folder: Path, num_images: int, *, from_folder: Path | None) -> int:
    """Files in ``folder``; how many of them are distinct."""
    folder.mkdir()
    if from_folder is None:
        encoded = list(synthetic_photographs(min(num_images, 64)))
        suffixes = [".jpg"] * len(encoded)
    else:
        paths = sorted(path for path in from_folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise SystemExit(f"no images in {from_folder}")
        encoded, suffixes = [path.read_bytes() for path in paths], [path.suffix.lower() for path in paths]
    for number in range(num_images):
        which = number % len(encoded)
        (folder / f"{number:06d}{suffixes[which]}").write_bytes(encoded[which])
    return min(len(encoded), num_images)


def synthetic_photographs(count: int) -> Iterator[bytes]:
    """JPEGs of 500 x 375 and about 100 KB, the median of ImageNet: noise with the spectrum of photographs (1 / frequency)."""
    import io

    from PIL import Image

    rng = np.random.default_rng(0)
    height, width = 375, 500
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1
    for _ in range(count):
        spectrum = rng.normal(size=(3, height, width // 2 + 1)) + 1j * rng.normal(size=(3, height, width // 2 + 1))
        planes = np.fft.irfft2(spectrum / frequency, s=(height, width))
        planes = 0.9 * planes[:1] / planes[:1].std() + 0.3 * planes / planes.std()
        file = io.BytesIO()
        array = np.clip(planes * 50 + 128, 0, 255).astype(np.uint8).transpose(1, 2, 0)
        Image.fromarray(np.ascontiguousarray(array)).save(file, "JPEG", quality=90)
        yield file.getvalue()


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"python": platform.python_version()} | {name: version(name) for name in ("torch", "torchvision", "open_clip_torch")}


if __name__ == "__main__":
    main()
