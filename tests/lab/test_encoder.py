"""The recipe of the bundled encoder, end to end at a tiny size; its losses against worked-out values."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from scanner.core.progress import Progress
from scanner.lab import calibrate as calibrate_module
from scanner.lab import encoder as module
from scanner.lab.encoder import COARSE_MIX, EncoderRecipe, copy_loss, margin_loss, text_loss, train_encoder
from scanner.lab.encoder_data import Mix, TrainingImages, load_training_images
from scanner.lab.planted import make_planted
from scanner.models.loading import load_encoder
from scanner.models.text import load_text_encoder
from scanner.models.weights import file_sha256

TINY = EncoderRecipe(
    seed=3, num_planted=300, coarse_steps=8, fine_steps=3, gap_steps=3, num_sources=24, num_calibration=200, calibration_seed=4
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate_module, "MAX_FALSE_SHARE", {"planted": 0.9, "drawings": 0.9})  # 14 steps tell little apart
        out = train_encoder(folder / "small", work=folder / "work", drawings=[], recipe=TINY, progress=Progress(quiet=True))
        yield out, folder / "work"


def unit(rows):
    x = torch.tensor(rows, dtype=torch.float32)
    return x / x.norm(dim=1, keepdim=True)


def test_training_leaves_an_open_clip_folder_that_loads_by_its_name(trained):
    out, _ = trained
    encoder = load_encoder(f"open_clip:local-dir:{out}", device="cpu", precision="fp32")
    assert encoder.dim == 256
    assert (encoder.preprocess.size, encoder.preprocess.resize_mode) == ((64, 64), "squash")
    assert encoder.preprocess.mean == encoder.preprocess.std == (0.5, 0.5, 0.5)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    assert np.allclose(np.linalg.norm(encoder.encode(pixels), axis=1), 1, atol=1e-5)
    texts = load_text_encoder(out).encode(["a red circle", "checked silk fabric, navy and pink"])
    assert texts.shape == (2, 256)
    assert abs(float(texts[0] @ texts[1])) < 0.9999


def test_the_manifest_tells_the_seeds_the_steps_and_the_files(trained):
    out, _ = trained
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["recipe"]["seed"] == 3
    assert {name: stage["steps"] for name, stage in manifest["stages"].items()} == {"coarse": 8, "fine": 3, "gap": 3}
    assert manifest["pictures"]["scene"] > 100
    assert manifest["drawings"] == []
    assert set(manifest["sha256"]) == {p.name for p in out.iterdir()} - {"manifest.json"}
    assert all(file_sha256(out / name) == digest for name, digest in manifest["sha256"].items())
    calibration = json.loads((out / "calibration.json").read_text())
    assert 0.3 <= calibration["threshold"] <= 1
    assert calibration["planted"] == {"num_images": 200, "seed": 4}


def test_a_second_call_reads_the_finished_checkpoint_and_writes_the_same_weights(trained, monkeypatch):
    out, work = trained
    monkeypatch.setattr(module._Loss, "__call__", lambda *_: pytest.fail("a step was done again"))
    again = train_encoder(out.parent / "again", work=work, drawings=[], recipe=TINY, progress=Progress(quiet=True))
    assert file_sha256(again / module.WEIGHTS) == file_sha256(out / module.WEIGHTS)


def test_batches_hold_sisters_and_the_stated_kinds(trained):
    _, work = trained
    images = load_training_images(make_planted(str(work / "planted"), num_images=300, seed=3, copied_share=0.1), [], 80)
    assert images.pixels.shape[1:] == (3, 80, 80)
    assert set(images.kind.tolist()) == {"scene", "template"}
    first, again, other = (images.batch(48, COARSE_MIX, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()
    assert len(set(first.tolist())) == 48
    templates = first[images.kind[first] == "template"]
    assert len(templates) == round(COARSE_MIX.shares["template"] * 48)
    _, sisters = np.unique(images.series[templates], return_counts=True)
    assert 2 <= sisters.max() <= 4


def test_a_batch_takes_as_many_drawings_and_sisters_as_its_mix_says():
    series = np.repeat(np.arange(10), 6)
    kind = np.array(["noto"] * 60 + ["scene"] * 40)
    images = TrainingImages(
        pixels=torch.zeros(100, 3, 8, 8, dtype=torch.uint8), captions=[""] * 100,
        series=np.concatenate([series, np.arange(10, 50)]), kind=kind,
    )  # fmt: skip
    for most in (1, 4):
        batch = images.batch(20, Mix(shares={"noto": 0.4}, sisters={"noto": most}), torch.Generator().manual_seed(0))
        drawn = batch[images.kind[batch] == "noto"]
        assert len(drawn) == 8
        assert np.unique(images.series[drawn], return_counts=True)[1].max() == most
        assert len(set(batch.tolist())) == 20


def test_copy_loss_is_small_for_copies_and_grows_with_an_edit_that_is_close():
    copies = unit([[1, 0, 0], [0, 1, 0], [1, 0.1, 0], [0.1, 1, 0]])
    far, near = unit([[0, 0, 1]]), unit([[1, 0.05, 0.05]])
    nothing = torch.eye(2, dtype=torch.bool)
    apart = copy_loss(copies, far, nothing)
    assert apart < copy_loss(copies, near, nothing)
    assert apart < copy_loss(copies[[0, 1, 3, 2]], far, nothing), "the wrong partner"
    # Two pictures at right angles, equal views, one edit at right angles to both: 1 positive against 3 of cosine 0.
    flat = unit([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]])
    expected = math.log(1 + 3 * math.exp(-1 / module.TAU)) - module.ENTROPY_WEIGHT * math.log(math.sqrt(2))
    assert copy_loss(flat, far, nothing).item() == pytest.approx(expected, abs=1e-5)


def test_pictures_that_may_be_the_same_are_not_held_against_one_another():
    views = unit([[1, 0, 0], [1, 0.01, 0], [1, 0, 0], [1, 0.01, 0]])
    far = unit([[0, 0, 1]])
    same = torch.ones(2, 2, dtype=torch.bool)
    assert copy_loss(views, far, same) < copy_loss(views, far, torch.eye(2, dtype=torch.bool)) - 1


def test_text_loss_ignores_equal_captions_of_other_pictures():
    images, texts = unit([[1, 0], [1, 0.01], [0, 1]]), unit([[1, 0], [1, 0], [0, 1]])
    tokens, scale = torch.tensor([[5, 6], [5, 6], [7, 8]]), torch.tensor(20.0)
    assert text_loss(images, texts, tokens, scale) < 1e-3
    assert text_loss(images, texts, torch.tensor([[5, 6], [5, 7], [7, 8]]), scale) > 0.3
    assert text_loss(images, texts[[2, 1, 0]], tokens, scale) > 3


def test_the_margin_loss_asks_for_cosines_not_for_an_order():
    far, nothing = unit([[0, 0, 1]]), torch.eye(2, dtype=torch.bool)
    apart = unit([[1, 0, 0], [0, 1, 0], [1, 0.05, 0], [0.05, 1, 0]])
    loose = unit([[1, 0, 0], [0, 1, 0], [1, 0.9, 0], [0.9, 1, 0]])
    assert margin_loss(apart, far, nothing) < 0.5
    # Right in order, but their own cosine of 0.74 lies 3.7 units of TAU below what is asked for.
    assert margin_loss(loose, far, nothing) > margin_loss(apart, far, nothing) + 3
    near = unit([[1, 0.2, 0]])
    assert margin_loss(apart, near, nothing) > margin_loss(apart, far, nothing) + 2
