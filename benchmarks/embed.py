"""Does the pass keep the encoder busy? Rates of encoder, preparation and the whole pass, in one run on the same cores.

The bound for a CPU that does both is 1 / (1 / encoder + 1 / preparation), each measured alone with all cores; for a GPU it is
min(encoder, preparation). Printed is how close the whole pass (read, decode, resize, encode, write tables) comes.

    python benchmarks/embed.py                                    # random ViT-B-32, synthetic photographs
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


def main() -> None:
    args = parse_args()
    logging.basicConfig(level=logging.ERROR)  # open_clip warns that random weights are random
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-embed-")))
        name = args.encoder or f"open_clip:ViT-B-32/{random_weights(work)}"
        encoder = load_encoder(name, device=args.device, precision=args.precision)
        device = getattr(encoder, "device", "cpu")
        num_images = args.num_images or (8192 if device == "cuda" else 384)
        batch_size = args.batch_size or (256 if device == "cuda" else 32)
        folder = work / "images"
        kind = f"photographs of {args.images}" if args.images else "synthetic images"
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
            for key, measure in measures.items():
                rates[key].append(len(images) / measure(turn))

    encoder_rate, preparation_rate, rate = (statistics.median(values) for values in rates.values())
    shares_cores = device == "cpu"
    bound = 1 / (1 / encoder_rate + 1 / preparation_rate) if shares_cores else min(encoder_rate, preparation_rate)
    ratios = [ratio_of_turn(turn, shares_cores) for turn in zip(*rates.values(), strict=True)]
    result = {
        "encoder_images_per_s": encoder_rate,
        "preparation_images_per_s": preparation_rate,
        "end_to_end_images_per_s": rate,
        "bound_images_per_s": bound,
        "ratio": statistics.median(ratios),
        "turns": rates,
        "ratios": ratios,
        "images": kind.replace(str(args.images), "a folder"),
        "num_images": len(images),
        "num_distinct": num_distinct,
        "median_kb": statistics.median(map(len, images)) / 1024,
        "batch_size": batch_size,
        "workers": args.workers,
        "device": device,
        "precision": getattr(encoder, "precision", "fp32"),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "versions": versions(),
    }
    print(f"{len(images)} images ({kind}, {num_distinct} distinct), {result['precision']} on {device}, batches of {batch_size}")
    print(f"encoder alone      {encoder_rate:9.1f} images/s")
    print(f"preparation alone  {preparation_rate:9.1f} images/s")
    print(f"end to end         {rate:9.1f} images/s")
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(
        f"of the bound       {result['ratio']:9.2f} (median of {each}; bound {bound:.1f} images/s; load {os.getloadavg()[0]:.1f})"
    )
    out = args.out or Path(__file__).parent / "results" / f"embed-{device}-{result['precision']}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of photographs; copied until there are --num-images")
    parser.add_argument("--encoder", help="as in scanner scan; by default a randomly initialised ViT-B-32")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--num-images", type=int, help="384 on a CPU, 8192 on a GPU")
    parser.add_argument("--batch-size", type=int, help="32 on a CPU, 256 on a GPU")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, help="by default benchmarks/results/embed-DEVICE-PRECISION.json")
    return parser.parse_args()


def ratio_of_turn(rates: tuple[float, ...], shares_cores: bool) -> float:
    encoder, preparation, rate = rates
    return rate * (1 / encoder + 1 / preparation) if shares_cores else rate / min(encoder, preparation)


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


def whole_pass(encoder: Encoder, folder: Path, run: Path, batch_size: int, workers: int) -> float:
    """Seconds of ``scanner.embed`` over the folder. Loading the model and starting the workers come before."""
    config = RunConfig(
        sources=(SourceConfig(url=str(folder)),),
        encoder=EncoderConfig(name=encoder.name, batch_size=batch_size),
        compute=ComputeConfig(workers=workers),
    )
    stage = EmbedStage(Store(str(run)), config, {"images": open_source(str(folder))}, Progress(quiet=True))
    stage._encoder = encoder  # loaded once for all measurements
    first = next(folder.iterdir()).read_bytes()
    prepared(stage._get_preparer(), [first] * workers)
    encoder.encode(np.zeros((batch_size, *encoder.preprocess.size, 3), np.uint8))
    result = stage.run()
    shutil.rmtree(run)
    return result.seconds


def random_weights(folder: Path) -> Path:
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = folder / "vit-b-32-random.safetensors"
    save_file(open_clip.create_model("ViT-B-32").state_dict(), path)
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
