from __future__ import annotations

import importlib
import json
import math
import re
from pathlib import Path

import pytest

from scanner.plan.cost import StageCost
from scanner.plan.job import Job, Machine
from scanner.plan.model import find_model
from scanner.plan.rates import shipped_rates
from scanner.plan.stages import STAGES

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
RATES = list(shipped_rates())
MEASURED = [rate for rate in RATES if rate.status == "measured"]


def number_in(file: str, key: str) -> float:
    found = json.loads((RESULTS / file).read_text("utf-8"))
    for step in key.split("."):
        found = found[step]
    return found


@pytest.mark.parametrize("rate", MEASURED, ids=lambda rate: rate.name)
def test_a_measured_rate_is_the_number_of_its_file(rate):
    assert number_in(rate.file, rate.key) == rate.value
    assert rate.hardware
    assert rate.date.startswith("20")
    assert rate.source.split(",")[0].startswith("benchmarks/")
    assert (ROOT / rate.source.split(",")[0]).is_file()


@pytest.mark.parametrize("rate", [rate for rate in MEASURED if rate.cores], ids=lambda rate: rate.name)
def test_a_measured_rate_was_taken_on_the_cores_that_it_names(rate):
    result = json.loads((RESULTS / rate.file).read_text("utf-8"))
    assert result["cores"] == rate.cores
    assert rate.hardware.startswith(f"{rate.cores} cores")
    assert {"fp32": "avx2", "bf16": "avx512-bf16"}[result["precision"]] == rate.cpu
    if rate.image_bytes:
        assert rate.image_bytes == round(result["median_kb"] * 1024)


def test_some_rates_are_measured_and_some_are_not():
    assert {"encode_small", "encode_vit_b_32", "prepare_small", "prepare_vit_b_32"} <= {rate.name for rate in MEASURED}
    assert {rate.status for rate in RATES} == {"measured", "assumed"}


@pytest.mark.parametrize("rate", RATES, ids=lambda rate: rate.name)
def test_every_rate_says_what_it_is(rate):
    assert math.isfinite(rate.value)
    assert rate.value > 0
    assert rate.unit
    assert len(rate.source) > 10
    stages = {cost.stage for cost in every_stage()} | {"extract"}
    assert rate.stage in stages
    assert not rate.source.startswith("/")
    if rate.status == "assumed":
        assert not rate.file, "an assumed rate claims no benchmark"


def every_stage() -> list[StageCost]:
    rates = shipped_rates()
    machine = Machine.of(rates, gpus=1, gpu="h100", cores=8, memory_bytes=10**11)
    job = Job(images=10**6, model=find_model("ViT-B-32"), machine=machine, rates=rates, search="cells")
    return [cost for stage in STAGES if (cost := stage(job))]


CONSTANT = re.compile(r"([A-Z_]+)(?:\[(\w+)\])? of (scanner/\S+)\.py")


@pytest.mark.parametrize("rate", [rate for rate in RATES if CONSTANT.match(rate.source)], ids=lambda rate: rate.name)
def test_a_rate_that_a_module_has_too_is_the_same_there(rate):
    name, key, module = CONSTANT.match(rate.source).groups()
    found = getattr(importlib.import_module(module.replace("/", ".")), name)
    assert rate.value == (found[key] if key else found)


def test_the_number_of_cells_is_that_of_the_search():
    from scanner.search.cells import choose_num_cells

    for images in (10**4, 10**6, 10**8):
        machine = Machine.of(shipped_rates(), gpus=1, gpu=None, cores=1, memory_bytes=10**12)
        job = Job(images=images, model=find_model("ViT-B-32"), machine=machine, rates=shipped_rates(), search="join")
        assert job.num_cells == choose_num_cells(images, 64)


def test_what_a_user_gives_replaces_a_rate_and_says_so():
    rates = shipped_rates().given(storage=5e8, row_images=None)
    assert rates["storage"].value == 5e8
    assert rates["storage"].origin() == "given: the command line"
    assert rates["row_images"].status == "measured"
    assert shipped_rates()["storage"].status == "assumed"


def test_a_scaled_rate_is_assumed_and_names_what_it_comes_from():
    rates = shipped_rates()
    scaled = rates["encode_small"].scaled(1.0, name="encode", unit="images/s", rule="twice the cores")
    assert scaled.status == "assumed"
    assert scaled.origin() == (
        "assumed: twice the cores; from benchmarks/results/embed-small-cpu-fp32.json (2 cores with AVX2, fp32)"
    )
    assert "file" not in scaled.to_dict()
