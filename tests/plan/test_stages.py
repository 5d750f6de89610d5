"""Every stage against numbers that were worked out by hand from the round rates of conftest.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scanner.core.schemas import TABLES
from scanner.plan import stages
from scanner.plan.job import Job, Machine
from scanner.plan.model import find_model
from scanner.plan.pass_rates import encoder_rates, preparation_rate
from scanner.plan.plan import Plan
from scanner.plan.rates import shipped_rates
from scanner.plan.row_sizes import row_size

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def seconds(cost):
    return {resource: work.seconds for resource, work in cost.work.items()}


def test_embedding_on_gpus_goes_by_flops(make_job):
    # 1e15 peak x .5 / 100 GFLOPs = 5,000 images/s a GPU.
    cost = stages.embed(make_job(gpus=2))
    assert cost.work["gpus"].seconds == pytest.approx(10**6 / 10_000)
    # 2 x 500 bytes of vector and 8 of id, and 100 of the row in images.
    assert cost.tables == {"embeddings": pytest.approx(1008e6)}
    assert cost.work["storage"].seconds == pytest.approx(1108e6 / 1e9)
    assert cost.memory_bytes == 4e9
    assert (cost.bound_by, cost.duration_s) == ("gpus", pytest.approx(100))


def test_embedding_on_gpus_has_a_ceiling_for_tiny_models(make_job, rates):
    job = make_job(gpus=2, rates=rates.given(gpu_images_most=3000))
    assert stages.embed(job).work["gpus"].seconds == pytest.approx(10**6 / 6000)


def test_reading_and_decoding(make_job):
    cost = stages.read_and_decode(make_job())
    assert cost.work["storage"].seconds == pytest.approx(100)
    assert cost.tables == {"images": pytest.approx(1e8)}
    assert cost.memory_bytes == pytest.approx(4e8)


def test_copies_and_groups(make_job):
    assert seconds(stages.collapse(make_job())) == pytest.approx({"one core": 1, "storage": 1})
    # A fifth are copies; groups of three have two each: 100,000 groups with 300,000 images.
    cost = stages.groups(make_job())
    assert cost.work["one core"].seconds == pytest.approx(0.1)
    assert cost.work["storage"].seconds == pytest.approx(300_000 * 1000 / 1e9)
    assert cost.tables == {"groups": pytest.approx(300_000 * 25.125)}


def test_the_exact_join(make_job):
    job = make_job()
    assert job.num_compared == 10**6 * (10**6 - 1) / 2
    # 60 products of 1e-11 s and 4e-10 s: 1e-9 s a pair, on four cores.
    cost = stages.join(job)
    assert cost.work["cores"].seconds == pytest.approx(125, rel=1e-5)
    assert cost.scratch_bytes == 0
    assert cost.tables["pairs"] == pytest.approx(200_000 * 20.125)
    assert stages.scratch_sort(job) is None
    # Of the vectors 1 GB, of the bounds 8 x 60, of the copies 50, 2 GB in fp32 if there is room, and 3 GB of processes.
    assert cost.memory_bytes == pytest.approx(1e9 + 480e6 + 50e6 + 2e9 + 3e9)
    # On a GPU all 500 numbers: 2 x 500 FLOPs a pair at 5e14 a second.
    assert stages.join(make_job(gpus=1)).work["gpus"].seconds == pytest.approx(1, rel=1e-5)


def test_a_join_of_narrow_vectors_takes_all_their_numbers(make_job, model):
    from dataclasses import replace

    cost = stages.join(make_job(model=replace(model, dim=10)))
    assert cost.work["cores"].seconds == pytest.approx(5e11 * 5e-10 / 4, rel=1e-5)


def test_cores_with_bf16_join_in_bf16(rates, model):
    rates = rates.given(join_product_avx512_bf16=1e-11 / 3)
    machine = Machine.of(rates, gpus=0, gpu=None, cores=4, cpu="avx512-bf16", memory_bytes=10**11)
    cost = stages.join(Job(images=10**6, model=model, machine=machine, rates=rates, search="join"))
    assert cost.work["cores"].seconds == pytest.approx(5e11 * (60 * 1e-11 / 3 + 4e-10) / 4, rel=1e-5)


def test_cells(make_job):
    job = make_job(search="cells")
    assert (job.num_cells, job.sample_rows, job.guests_a_row) == (1000, 100_000, 1)
    # 10 x 1e5 rows x 1000 cells x 60 numbers at 4e11, then a million rows once.
    assert stages.fit(job).work["cores"].seconds == pytest.approx(2 * 60 * 1000 * 1e5 * 10 / 4e11)
    assert stages.assign(job).work["cores"].seconds == pytest.approx(2 * 60 * 1000 * 1e6 / 4e11)
    assert stages.assign(job).work["storage"].seconds == pytest.approx(1)
    assert "storage" not in stages.assign(make_job()).work, "the exact join holds the vectors"
    # A cell has 1,000 rows of its own and as many guests: half its square and its square, a thousand times, doubled by skew.
    assert job.num_compared == pytest.approx(1000 * 1.5 * 1000**2 * 2)
    cost = stages.join(job)
    assert cost.work["cores"].seconds == pytest.approx(3e9 * 1e-9 / 4)
    # 500 numbers of two bytes, and 60 of a bound twice.
    assert cost.work["storage"].seconds == pytest.approx(1e6 * 1240 / 1e9)
    assert cost.scratch_bytes == pytest.approx(1e6 * 1240 + 8e6)


def test_the_scratch_sort_writes_twice_and_reads_in_between(make_job):
    cost = stages.scratch_sort(make_job(search="cells"))
    assert cost.scratch_bytes == pytest.approx(1.24e9)
    assert cost.work["storage"].seconds == pytest.approx(1 + 3 * 1.24)


def test_gpus_embed_and_compare_all_pairs_and_have_no_part_in_cells(make_job):
    cells, join = make_job(search="cells", gpus=1), make_job(gpus=1)
    on_cores = make_job(search="cells")
    for stage in (stages.fit, stages.assign, stages.join, stages.audit):
        assert seconds(stage(cells)) == pytest.approx(seconds(stage(on_cores)))
    assert "gpus" in stages.join(join).work
    assert [cost.stage for cost in stages.costs(cells) if "gpus" in cost.work] == ["embed"]


def test_cells_are_fewer_where_their_sample_does_not_fit_into_memory(make_job):
    # 3 GB for processes; half of the other 9.36 MB holds 19,500 rows of 240 bytes, 39 for each of 500 cells.
    job = make_job(search="cells", memory_bytes=3 * 10**9 + 9_360_000)
    assert job.num_cells == 500
    assert job.sample_rows == pytest.approx(19_500)


def test_few_images_have_few_cells(make_job):
    job = make_job(search="cells", images=50)
    assert (job.num_cells, job.guests_a_row) == (1, 0)
    assert job.num_compared == 50**2 / 2


def test_the_audit(make_job):
    assert stages.audit(make_job()).work["cores"].seconds == pytest.approx(2 * 500 * 1000 * 1e6 / 4e11)
    assert stages.audit(make_job(images=10)).work["cores"].seconds == pytest.approx(2 * 500 * 10 * 10 / 4e11)


def test_verification_prepares_every_image_of_a_group_again(make_job):
    job = make_job()
    cost = stages.verify(job)
    beside = 1 / (100 * job.machine.cores)
    assert cost.work["cores"].seconds == pytest.approx(300_000 * (1 / preparation_rate(job).value + beside))
    assert cost.work["storage"].seconds == pytest.approx(30)


def test_risk_and_report(make_job):
    cost = stages.risk(make_job())
    assert seconds(cost) == pytest.approx({"cores": 0.25, "storage": 0.1})
    assert set(cost.tables) == {"group_risk", "group_captions", "prompts"}
    # group_captions: three int64 and a hash of 8 bytes, two texts of 50.
    assert cost.tables["group_captions"] == pytest.approx(300_000 * (4 * 8 + 2 * 50))
    assert seconds(stages.report(make_job())) == {"one core": 10}


def test_every_table_of_a_plan_is_one_of_a_run(make_job):
    tables = {table for search in ("join", "cells") for cost in stages.costs(make_job(search=search)) for table in cost.tables}
    assert tables <= set(TABLES)
    assert {"images", "embeddings", "neighbors", "pairs", "groups", "group_risk", "group_captions", "prompts"} == tables


def test_row_sizes_follow_the_schema(rates):
    assert row_size("embeddings", rates, dim=512).value == 8 + 1024
    assert row_size("pairs", rates).value == 8 + 8 + 4 + 1 / 8
    assert row_size("neighbors", rates).value == 8 + 8 + 8 + 4 + 4


def test_row_sizes_are_no_less_than_what_was_measured(rates):
    measured = json.loads((RESULTS / "table-sizes.json").read_text("utf-8"))
    for table in ("embeddings", "neighbors", "pairs", "groups", "group_captions", "prompts", "group_risk"):
        assert row_size(table, rates, dim=measured["dim"]).value >= measured["bytes_a_row"][table], table


@pytest.mark.parametrize(
    ("file", "name", "cpu", "size"),
    [("embed-small-cpu-fp32.json", "small", "avx2", 9112), ("embed-cpu-bf16.json", "ViT-B-32", "avx512-bf16", 198503)],
)
def test_the_pass_as_it_was_measured_comes_out_as_measured(file, name, cpu, size):
    measured = json.loads((RESULTS / file).read_text("utf-8"))
    rates = shipped_rates().given(bytes_an_image=size)
    machine = Machine.of(rates, gpus=None, gpu=None, cores=2, cpu=cpu, memory_bytes=16 * 10**9)
    job = Job(images=10**5, model=find_model(name), machine=machine, rates=rates, search="join")
    plan = Plan(job=job, stages=stages.costs(job))
    assert [cost.status for cost in plan.stages[:2]] == ["measured", "measured"]
    assert 10**5 / plan.phases[0].duration_s == pytest.approx(measured["end_to_end_images_per_s"], rel=0.05)


@pytest.mark.parametrize(
    ("name", "cpu", "cores", "rate"),
    [
        ("ViT-B-32", "avx512-bf16", 4, 2 * 80.91373001564745),
        ("ViT-L-14", "avx512-bf16", 2, 80.91373001564745 * 8.8164 / 162.02),
        ("small", "avx512-bf16", 2, 773.3137489359553),
        ("ViT-B-32", "avx2", 1, 5.3e10 / 8.8164e9),
    ],
)
def test_encoders_on_other_machines_are_scaled_and_assumed(name, cpu, cores, rate):
    rates = shipped_rates()
    machine = Machine.of(rates, gpus=None, gpu=None, cores=cores, cpu=cpu, memory_bytes=16 * 10**9)
    (found,) = encoder_rates(Job(images=1, model=find_model(name), machine=machine, rates=rates, search="join"))
    assert found.value == pytest.approx(rate, rel=1e-3)
    assert found.status == "assumed"


@pytest.mark.parametrize(("size", "a_core"), [(9112, 1106.6), (18_224, 553.3), (911, 1106.6)])
def test_preparing_goes_by_bytes_but_no_faster_than_was_measured(size, a_core):
    rates = shipped_rates().given(bytes_an_image=size)
    machine = Machine.of(rates, gpus=None, gpu=None, cores=3, memory_bytes=16 * 10**9)
    found = preparation_rate(Job(images=1, model=find_model("small"), machine=machine, rates=rates, search="join"))
    assert found.value == pytest.approx(3 * a_core, rel=1e-3)
    assert found.status == "assumed"
