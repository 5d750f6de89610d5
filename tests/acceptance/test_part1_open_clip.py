"""Part 1, must show 6: open_clip's path, from a photograph's bytes to its vector, and the rate at which it goes."""

from __future__ import annotations

import dataclasses
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]

REPO = Path(__file__).parents[2]
MAX_PIXEL_DIFFERENCE = 2.0  # of 255
MIN_COSINE = 0.99999
MIN_RATE_RATIO = 0.9
NUM_MUTATED = 24


@pytest.fixture(scope="module")
def photographs():
    helper = runpy.run_path(str(Path(__file__).with_name("photographs.py")))
    shared = Path(os.environ.get("SCANNER_SHARED", REPO.parent / "shared"))
    try:
        return helper["photographs"](shared=shared)
    except helper["PhotographsMissing"] as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A ViT-B-32 with random weights, in a local file."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "vit-b-32-random.safetensors"
    save_file(open_clip.create_model("ViT-B-32").state_dict(), path)
    return path


@pytest.fixture(scope="module")
def reference(photographs, weights):
    """open_clip's own: loading, transform of a PIL image, ``encode_image``. (inputs (n, 3, 224, 224), vectors (n, 512))."""
    import open_clip
    import torch
    from PIL import Image

    model, _, transform = open_clip.create_model_and_transforms("ViT-B-32", pretrained=str(weights))
    inputs = []
    for path in photographs:
        with Image.open(path) as image:
            inputs.append(transform(image))
    with torch.inference_mode():
        vectors = [model.eval().encode_image(torch.stack(inputs[i : i + 16]), normalize=True) for i in range(0, len(inputs), 16)]
    return torch.stack(inputs).numpy(), torch.cat(vectors).numpy()


@pytest.fixture(scope="module")
def encoder(weights):
    from scanner.models.loading import load_encoder

    return load_encoder(f"open_clip:ViT-B-32/{weights}", device="cpu", precision="fp32")


def prepare(paths, preprocess):
    from scanner.images.prepare import ImageLimits, ImagePreparer

    with ImagePreparer(preprocess, ImageLimits(), workers=os.cpu_count() or 1) as preparer:
        prepared = list(preparer.prepare((path, path.read_bytes()) for path in paths))
    assert [path for path, _, _ in prepared] == list(paths)
    assert {facts.status for _, facts, _ in prepared} == {"ok"}
    return np.stack([pixels for _, _, pixels in prepared])


def differences(pixels, encoder, reference):
    """Worst difference of the model's input in steps of 1/255, and the least cosine of the vectors."""
    inputs, vectors = reference
    mean, std = (
        np.array(values, np.float32)[None, :, None, None] for values in (encoder.preprocess.mean, encoder.preprocess.std)
    )
    ours = (pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255 - mean) / std
    # In steps of the true normalisation, which test_preprocessing_values holds to open_clip's.
    steps = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)[None, :, None, None] * 255
    unit = np.concatenate([encoder.encode(pixels[i : i + 16]) for i in range(0, len(pixels), 16)])
    # Whole steps are off by float32's rounding.
    return round(float((np.abs(ours - inputs) * steps).max()), 3), float((unit * vectors).sum(axis=1).min())


def assert_same(pixels, encoder, reference):
    pixel_difference, cosine = differences(pixels, encoder, reference)
    assert pixel_difference <= MAX_PIXEL_DIFFERENCE, f"pixels differ by {pixel_difference:.2f}/255"
    assert cosine >= MIN_COSINE, f"cosine {cosine:.7f}"


@pytest.fixture(scope="module")
def pixels(photographs, encoder):
    return prepare(photographs, encoder.preprocess)


def test_pixels_and_vectors_are_open_clips(photographs, pixels, encoder, reference):
    from PIL import Image

    sizes = set()
    for path in photographs:
        with Image.open(path) as image:
            sizes.add(image.size)
    assert len(photographs) >= 50
    assert len(sizes) >= 10
    assert len({round(np.log2(width / height), 1) for width, height in sizes}) >= 5, "mixed aspects"
    pixel_difference, cosine = differences(pixels, encoder, reference)
    between = reference[1] @ reference[1].T
    print(
        f"\n{len(photographs)} photographs, {len(sizes)} sizes: worst pixel difference {pixel_difference:.2f}/255, "
        f"minimum cosine {cosine:.8f} (between photographs {between[~np.eye(len(between), dtype=bool)].mean():.4f})"
    )
    assert_same(pixels, encoder, reference)


def test_preprocessing_values_are_open_clips(encoder):
    import open_clip

    published = open_clip.get_pretrained_cfg("ViT-B-32", "laion2b_s34b_b79k")
    assert encoder.preprocess.mean == tuple(published["mean"]) == open_clip.OPENAI_DATASET_MEAN
    assert encoder.preprocess.std == tuple(published["std"]) == open_clip.OPENAI_DATASET_STD
    assert encoder.preprocess.resize_mode == published["resize_mode"]
    assert encoder.preprocess.interpolation == published["interpolation"]
    assert encoder.preprocess.size == (224, 224)


IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
MUTATIONS = {
    "mean": {"mean": IMAGENET["mean"]},
    "std": {"std": IMAGENET["std"]},
    "crop: squash": {"resize_mode": "squash"},
    "crop: longest side": {"resize_mode": "longest"},
    "filter: bilinear": {"interpolation": "bilinear"},
    "crop: one pixel down": "down",
    "crop: one pixel right": "right",
    "channels: BGR": "bgr",
}


@pytest.fixture(scope="module")
def tower(weights):
    from scanner.models.open_clip import _create

    return _create("mutated", "ViT-B-32", weights, {})


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_change_on_purpose_is_noticed(mutation, photographs, pixels, tower, reference):
    """Each change must fail the comparison by its pixels and by its vectors, each alone."""
    from scanner.models.open_clip import OpenClipEncoder

    visual, preprocess = tower
    change = MUTATIONS[mutation]
    mutated = pixels[:NUM_MUTATED]
    if isinstance(change, dict):
        preprocess = dataclasses.replace(preprocess, **change)
        if not {"mean", "std"} & change.keys():
            mutated = prepare(photographs[:NUM_MUTATED], preprocess)
    else:
        shifts = {
            "down": lambda x: np.roll(x, 1, axis=1),
            "right": lambda x: np.roll(x, 1, axis=2),
            "bgr": lambda x: x[..., ::-1],
        }
        mutated = np.ascontiguousarray(shifts[change](mutated))
    encoder = OpenClipEncoder(visual, name="mutated", weights_digest="", preprocess=preprocess, device="cpu", precision="fp32")
    expected = tuple(part[:NUM_MUTATED] for part in reference)
    pixel_difference, cosine = differences(mutated, encoder, expected)
    print(f"\n{mutation}: worst pixel difference {pixel_difference:.1f}/255, minimum cosine {cosine:.6f}")
    with pytest.raises(AssertionError):
        assert_same(mutated, encoder, expected)
    assert cosine < MIN_COSINE, "the vectors alone do not tell"
    if mutation != "mean":  # ImageNet's mean is CLIP's to within 1/255 in two channels: the vectors tell
        assert pixel_difference > MAX_PIXEL_DIFFERENCE, "the pixels alone do not tell"


def test_end_to_end_rate(photographs, weights, tmp_path):
    """Images/s of encoder, preparation and the whole pass, in one run on the same cores."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number, path in enumerate(photographs):
        (folder / f"{number:03d}{path.suffix}").write_bytes(path.read_bytes())
    out = tmp_path / "rates.json"
    command = [sys.executable, str(REPO / "benchmarks" / "embed.py"), "--images", str(folder), "--out", str(out)]
    command += ["--encoder", f"open_clip:ViT-B-32/{weights}", "--num-images", str(4 * len(photographs))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(f"\n{done.stdout}")
    assert done.returncode == 0, done.stderr
    rates = json.loads(out.read_text())
    assert rates["ratio"] >= MIN_RATE_RATIO
