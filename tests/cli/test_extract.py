"""``scanner extract`` and ``replay`` on a small planted set and the model that ships; what is broken is said before any pass."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from scanner.cli.main import cli
from scanner.core.errors import ScannerError
from scanner.core.store import Store
from scanner.lab.planted import make_planted
from scanner.models.generators import generator_folder

SETTINGS = {
    "risk": {"num_control": 60, "num_calibration": 1, "num_outlier": 0, "num_template": 1},
    "extract": {
        "model": "toy", "training_crop": "squash", "num_inference_steps": 1, "batch_size": 32, "max_prompts": 3,
        "always_confirm": 1, "max_generations": 8, "min_rate": 0.6, "max_miss": 0.1, "audit_share": 0.0,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extract")
    planted = make_planted(str(folder / "set"), num_images=300, seed=7)
    done = CliRunner().invoke(cli, ["scan", planted.source_url, "--out", str(folder / "run"), "--encoder", "pixels", "-q"])
    assert done.exit_code == 0, done.output
    (folder / "settings.yaml").write_text(yaml.safe_dump(SETTINGS))
    return folder / "run"


def _extract(run_dir, *options):
    return CliRunner().invoke(cli, ["extract", str(run_dir), "--config", str(run_dir.parent / "settings.yaml"), *options])


@pytest.fixture(scope="module")
def extracted(run_dir):
    done = _extract(run_dir)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_it_ends_with_figures(extracted, run_dir):
    assert "Controls that an image came out of" in extracted
    assert "times cheaper" in extracted
    rows = Store(str(run_dir)).read("extractions").to_pylist()
    assert {row["verdict"] for row in rows} <= {"none", "suspected", "template", "retrieved", "extracted"}
    assert all(row["num_generations"] in (0, 8) for row in rows)
    for name in ("verdicts", "by_duplicate_count", "controls_flagged", "cost", "prefilter_vs_verdict", "what_if_deduplicated"):
        done = CliRunner().invoke(cli, ["query", str(run_dir), f"extraction/{name}"])
        assert done.exit_code == 0, done.output


def test_a_second_call_knows_the_answer(extracted, run_dir):
    again = _extract(run_dir)
    assert "known before" in again.output


def test_replay_makes_the_same_image_twice(extracted, run_dir, tmp_path):
    store = Store(str(run_dir))
    row = next(row for row in store.read("generations").to_pylist() if row["seed"] == 3)
    images = []
    for i in range(2):
        out = tmp_path / f"{i}.png"
        done = CliRunner().invoke(cli, ["replay", str(run_dir), str(row["prompt_id"]), "--seed", "3", "--out", str(out)])
        assert done.exit_code == 0, (done.output, done.exception)
        images.append(np.asarray(Image.open(out)))
    assert np.array_equal(*images)
    if row["image_path"]:
        assert np.array_equal(images[0], np.asarray(Image.open(run_dir / row["image_path"])))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: shutil.rmtree(folder), "no model folder"),
        (lambda folder: shutil.rmtree(folder / "tokenizer"), "tokenizer"),
        (lambda folder: (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"no weights"), "cannot be loaded"),
        (lambda folder: _pickle(folder / "vae"), "pickled"),
        (lambda folder: _not_a_number(folder / "unet" / "diffusion_pytorch_model.safetensors"), "not finite"),
        (lambda folder: _edit(folder / "model_index.json", _class_name="FluxPipeline"), "FluxPipeline"),
    ],
    ids=["gone", "no tokenizer", "broken", "pickled", "NaN", "another pipeline"],
)
def test_what_is_wrong_with_a_model_is_said_first(run_dir, tmp_path, damage, said):
    folder = shutil.copytree(generator_folder("toy"), tmp_path / "model")
    damage(folder)
    before = sorted(path.name for path in run_dir.iterdir())
    done = _extract(run_dir, "--model", str(folder))
    assert isinstance(done.exception, ScannerError)
    assert said in str(done.exception)
    assert sorted(path.name for path in run_dir.iterdir()) == before


def test_a_model_must_be_named(run_dir):
    done = CliRunner().invoke(cli, ["extract", str(run_dir)])
    assert isinstance(done.exception, ScannerError)
    assert "--model" in str(done.exception)


def _pickle(folder):
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "diffusion_pytorch_model.bin").write_bytes(b"pickle")


def _not_a_number(file):
    from safetensors.torch import load_file, save_file

    weights = load_file(file)
    next(iter(weights.values())).view(-1)[0] = float("nan")
    save_file(weights, file, metadata={"format": "pt"})


def _edit(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
