from __future__ import annotations

from itertools import pairwise

import pytest

from scanner.core.errors import ConfigError
from scanner.plan import stages
from scanner.plan.cost import StageCost, Work
from scanner.plan.job import Machine
from scanner.plan.model import find_model
from scanner.plan.plan import Plan, make_plan
from scanner.plan.rates import shipped_rates


def plan_of(job):
    return Plan(job=job, stages=stages.costs(job))


@pytest.mark.parametrize("search", ["join", "cells"])
@pytest.mark.parametrize("gpus", [0, 8])
def test_more_images_never_cost_less(search, gpus, make_job):
    sizes = [10**power * digit for power in range(12) for digit in (1, 2, 5)]
    plans = [plan_of(make_job(images=n, search=search, gpus=gpus, rates=shipped_rates())) for n in sizes]
    for fewer, more in pairwise(plans):
        assert more.duration_s >= fewer.duration_s
        assert more.table_bytes > fewer.table_bytes
        for a, b in zip(fewer.stages, more.stages, strict=True):
            assert a.stage == b.stage
            assert b.duration_s >= a.duration_s, a.stage
            assert b.scratch_bytes >= a.scratch_bytes, a.stage
            assert b.memory_bytes >= a.memory_bytes, a.stage


@pytest.mark.parametrize(("resource", "rest"), [("gpus", {"cores": 10**5}), ("cores", {"gpus": 0})])
def test_more_of_a_machine_never_takes_longer(resource, rest, make_job):
    times = [plan_of(make_job(**rest, **{resource: n}, search="cells")).duration_s for n in (1, 2, 4, 64)]
    assert times == sorted(times, reverse=True)
    assert times[0] > times[-1]


def test_on_a_cpu_decoding_and_encoding_share_the_cores(make_job):
    plan = plan_of(make_job())
    decode, embed = plan.stages[:2]
    first = plan.phases[0]
    both = decode.work["cores"].seconds + embed.work["cores"].seconds
    assert first.seconds["cores"] == pytest.approx(both)
    assert first.duration_s == pytest.approx(both / first.efficiency)
    assert first.efficiency < 1


def test_on_gpus_the_slower_of_decoding_and_encoding_counts(make_job):
    plan = plan_of(make_job(gpus=1))
    first = plan.phases[0]
    assert first.duration_s * first.efficiency == pytest.approx(max(stage.duration_s for stage in plan.stages[:2]))
    assert plan.gpu_hours == pytest.approx(sum(s.work["gpus"].seconds for s in plan.stages if "gpus" in s.work) / 3600)


def test_totals_are_those_of_the_phases(make_job):
    plan = plan_of(make_job(search="cells"))
    assert plan.duration_s == pytest.approx(sum(phase.duration_s for phase in plan.phases))
    assert plan.table_bytes == pytest.approx(sum(sum(stage.tables.values()) for stage in plan.stages))
    assert plan.scratch_bytes == next(stage.scratch_bytes for stage in plan.stages if stage.stage == "join")
    decode, embed = plan.stages[:2]
    assert plan.memory_bytes == max(decode.memory_bytes + embed.memory_bytes, *(s.memory_bytes for s in plan.stages[2:]))


def test_a_stage_is_as_certain_as_the_rates_that_bind_it(rates):
    shipped = shipped_rates()
    slow = Work(seconds=2, rates=(shipped["encode_small"],))
    quick = Work(seconds=1, rates=(shipped["storage"],))
    assert StageCost(stage="a", work={"cores": slow, "storage": quick}).status == "measured"
    assert StageCost(stage="a", work={"cores": quick, "storage": slow}).status == "measured"
    assert StageCost(stage="a", work={"storage": quick}).status == "assumed"
    assert StageCost(stage="a", work={"cores": Work(seconds=1, rates=(rates["storage"],))}).status == "given"


def test_a_further_stage_joins_table_and_totals(make_job, monkeypatch):
    def extract(job):
        return StageCost(stage="extract", work={"gpus": Work(seconds=3600, rates=(job.rates["report_s"],))}, memory_bytes=1.0)

    before = plan_of(make_job(gpus=1))
    monkeypatch.setattr(stages, "STAGES", (*stages.STAGES, extract))
    after = plan_of(make_job(gpus=1))
    assert after.stages[-1].stage == "extract"
    assert after.duration_s == pytest.approx(before.duration_s + 3600)
    assert after.gpu_hours == pytest.approx(before.gpu_hours + 1)


def test_what_limits_it_and_what_twice_as_much_gives(make_job):
    plan = plan_of(make_job(gpus=1, images=10**8, cores=1000, search="cells", rates=shipped_rates()))
    assert plan.longest().bound_by == "gpus"
    assert plan.limit().startswith("The pass over the images takes ")
    assert "limited by the GPU; with twice as many the whole would take " in plan.limit()
    slow = plan_of(make_job(gpus=1, cores=1000, rates=shipped_rates().given(storage=1e6)))
    assert "limited by the storage; with twice its speed" in slow.limit()
    alone = plan_of(make_job(images=1))
    assert "limited by one core" in alone.limit()
    assert alone.limit().endswith(".")


def machine_of(**changes):
    return Machine.of(shipped_rates(), **{"gpus": None, "gpu": None, "cores": 2, "memory_bytes": 16 * 10**9, **changes})


def planned(images, *, search="auto", **changes):
    return make_plan(
        images=images, model=find_model("ViT-B-32"), machine=machine_of(**changes), rates=shipped_rates(), search=search
    )  # fmt: skip


def test_the_exact_join_is_taken_while_it_costs_little_and_fits():
    assert planned(20_000).job.search == "join"
    assert planned(10**9, gpus=8, cores=None).job.search == "cells", "it does not fit"
    exact, cells = planned(2 * 10**6, search="join"), planned(2 * 10**6, search="cells")
    quicker = planned(2 * 10**6)
    assert exact.job.least_memory_bytes < 16e9
    assert (exact.duration_s <= 1.1 * cells.duration_s) == (quicker.job.search == "join")
    memory = {"memory_bytes": 10**13}
    assert planned(10**9, search="join", **memory).duration_s > 2 * planned(10**9, **memory).duration_s
    assert planned(10**9, **memory).job.search == "cells", "it fits, and takes far longer"


def test_memory_below_the_least_is_an_error_that_says_how_much():
    with pytest.raises(ConfigError, match="all vectors and their bounds") as error:
        planned(10**7, search="join", memory_bytes=10**9)
    assert "--search cells" in error.value.next_step
    with pytest.raises(ConfigError, match="64 workers") as error:
        planned(10**7, cores=64)
    assert error.value.next_step == "Give --memory 30GB or more, or fewer --cores."
    assert planned(10**7, cores=64, memory_bytes=30 * 10**9).job.search == "cells"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gpus": -1}, "--gpus is -1"), ({"cores": 0}, "--cores is 0"), ({"gpu": "tpu", "gpus": 1}, "no rates for a GPU"),
        ({"gpus": 2, "gpu": "none"}, "--gpus is 2 and --gpu is none"),
        ({"gpus": 0, "gpu": "a100"}, "--gpus is 0 and --gpu is a100"),
    ],
)  # fmt: skip
def test_machines_that_cannot_be(changes, said):
    with pytest.raises(ConfigError, match=said):
        machine_of(**changes)


@pytest.mark.parametrize(
    ("changes", "gpus", "gpu", "cores"),
    [
        ({}, 0, "none", 2), ({"gpu": "a100"}, 1, "a100", 2), ({"gpus": 8, "cores": None}, 8, "h100", 128),
        ({"gpu": "none"}, 0, "none", 2), ({"gpus": 0}, 0, "none", 2),
    ],
)  # fmt: skip
def test_what_is_not_said_of_a_machine_is_filled_in(changes, gpus, gpu, cores):
    machine = machine_of(**changes)
    assert (machine.gpus, machine.gpu, machine.cores) == (gpus, gpu, cores)
