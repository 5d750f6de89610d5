"""Part 4, must show 4 to 6: replay, a killed run, two models on one run, models that are broken, a config with another model.

A quarter of an hour on two cores.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from scanner.core.store import Store
from scanner.extract.records import TABLES_OF_MODELS
from scanner.lab.toy_manifest import redraw_set
from scanner.models.generators import generator_folder
from scanner.pipelines.replay import replay

SETTINGS = {
    "risk": {"num_control": 60, "num_calibration": 2, "num_outlier": 4, "num_template": 1},
    "extract": {
        "model": "toy", "training_crop": "squash", "num_inference_steps": 10, "batch_size": 32, "max_prompts": 20,
        "max_generations": 32, "min_rate": 0.3, "max_miss": 0.1,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def scanned(tmp_path_factory, scanner) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    redraw_set(generator_folder("toy"), folder / "set", workers=os.cpu_count() or 1)
    scanner("scan", folder / "set" / "shards", "--out", folder / "run", "--encoder", "small", "-q")
    (folder / "settings.yaml").write_text(yaml.safe_dump(SETTINGS))
    return folder


@pytest.fixture(scope="module")
def extracted(scanned, scanner) -> Path:
    shutil.copytree(scanned / "run", scanned / "whole")
    answer = scanner("extract", scanned / "whole", "--config", scanned / "settings.yaml")
    print("\n" + answer.out)
    return scanned / "whole"


def _rows(run: Path, table: str) -> list[dict]:
    rows = Store(str(run)).read(table).to_pylist()
    return sorted(rows, key=lambda row: json.dumps(row, default=str, sort_keys=True))


def test_replay_reproduces_every_image_that_was_kept(extracted):
    store = Store(str(extracted))
    kept = [row for row in store.read("generations").to_pylist() if row["image_path"]]
    found = [row for row in _rows(extracted, "extractions") if row["verdict"] in ("extracted", "retrieved", "template")]
    differences = [replay(store, row["model_id"], row["prompt_id"], row["seed"]).max_difference for row in kept]
    print(f"{len(kept)} images of {len(found)} verdicts; the largest difference is {max(differences)} of 255 levels")
    assert len(found) >= 5
    assert max(differences) == 0


def test_a_killed_run_comes_to_the_same_verdicts(scanned, extracted, scanner):
    shutil.copytree(scanned / "run", scanned / "killed")
    command = [sys.executable, "-m", "scanner.cli.main", "extract", scanned / "killed", "--config", scanned / "settings.yaml"]
    num_settled = 0
    for goal in (15, 45):
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and num_settled < goal:
            time.sleep(0.5)
            num_settled = len(list((scanned / "killed" / ".extract").glob("*/prompt-*.json")))
        process.send_signal(signal.SIGKILL)
        process.wait()
        print(f"killed with {num_settled} prompts settled")
    assert 0 < num_settled < len(_rows(extracted, "extractions"))
    scanner("extract", scanned / "killed", "--config", scanned / "settings.yaml")
    for table in TABLES_OF_MODELS:
        assert _rows(scanned / "killed", table) == _rows(extracted, table), table


def test_two_models_on_one_run_keep_apart(extracted, scanned, scanner):
    before = {table: _rows(extracted, table) for table in TABLES_OF_MODELS}
    answer = scanner("extract", extracted, "--config", scanned / "settings.yaml", "--model", "toy-dedup")
    print("\n" + answer.out)
    (toy,) = {row["model_id"] for row in before["extractions"]}
    for table in ("prompt_scores", "generations", "extractions"):
        after = _rows(extracted, table)
        assert [row for row in after if row["model_id"] == toy] == before[table], table
        assert len({row["model_id"] for row in after}) == 2
    verdicts = {model: [] for model in {row["model_id"] for row in _rows(extracted, "extractions")}}
    for row in _rows(extracted, "extractions"):
        verdicts[row["model_id"]].append(row["verdict"])
    found = {model: sum(v == "extracted" for v in values) for model, values in verdicts.items()}
    print(f"extracted from toy {found.pop(toy)}, from toy-dedup {found}")
    assert list(found.values()) == [0]
    seed = next(row["seed"] for row in before["generations"])
    answer = scanner("replay", extracted, before["generations"][0]["prompt_id"], "--seed", seed, check=False)
    assert "Say which" in answer.err


def test_broken_models_are_told_before_anything_is_spent(extracted, scanned, scanner, tmp_path):
    from safetensors.torch import load_file, save_file

    def damaged(name: str) -> Path:
        return shutil.copytree(generator_folder("toy"), tmp_path / name)

    broken, lacking, pickled, nan = (damaged(name) for name in ("broken", "lacking", "pickled", "nan"))
    unet = "unet/diffusion_pytorch_model.safetensors"
    (broken / unet).write_bytes((broken / unet).read_bytes()[:1000])
    shutil.rmtree(lacking / "tokenizer")
    (pickled / unet).rename(pickled / "unet" / "diffusion_pytorch_model.bin")
    weights = load_file(nan / unet)
    next(iter(weights.values())).view(-1)[0] = float("nan")
    save_file(weights, nan / unet, metadata={"format": "pt"})
    before = sorted(path.name for path in extracted.rglob("*"))
    for folder, said in ((broken, "cannot be loaded"), (lacking, "tokenizer"), (pickled, "pickled"), (nan, "not finite")):
        answer = scanner("extract", extracted, "--config", scanned / "settings.yaml", "--model", folder, check=False)
        print(answer.err.strip().splitlines()[-1][:200])
        assert answer.code not in (0, -9)
        assert said in answer.err
        assert "Traceback" not in answer.err
    assert sorted(path.name for path in extracted.rglob("*")) == before


def test_the_settings_of_stable_diffusion_run_on_another_model(scanned, scanner):
    """With a budget, as fifty steps of two thousand controls take hours here."""
    shutil.copytree(scanned / "run", scanned / "sd")
    options = ["--config", "sd_extraction", "--model", "toy", "--crop", "squash", "--budget", "60000"]
    answer = scanner("extract", scanned / "sd", *options)
    print("\n" + answer.out)
    assert "the budget is spent" in answer.err
    assert "not reached" in answer.out
    plan = scanner("plan", "--extract", "--gpus", "8", "--gpu", "a100").out
    print(plan)
    assert "350,000 prompts" in plan
