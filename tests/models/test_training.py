"""The loop trains, averages, and goes on from a checkpoint as if it had never stopped."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from scanner.core.errors import TrainingError
from scanner.core.progress import Progress
from scanner.models.training import CHECKPOINT, Schedule, batch_rows, train

SCHEDULE = Schedule(steps=12, seed=3, learning_rate=0.01, warmup_steps=3, ema_decay=0.9, checkpoint_every=5)
QUIET = Progress(quiet=True)


pytestmark = pytest.mark.usefixtures("one_thread")


class Stop(Exception):
    """What a killed process is to a test."""


def _net():
    """With dropout and batch statistics, so that the global generator and buffers matter."""
    torch.manual_seed(0)
    layers = (torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.3), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    return torch.nn.Sequential(*layers)


def _loss(net, *, stop_at=None, seen=None):
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((40, 6)).astype(np.float32))
    y = x[:, :1] * 2 - x[:, 1:2]

    def loss(step, generator):
        if step == stop_at:
            raise Stop
        rows = torch.from_numpy(batch_rows(40, 16, seed=SCHEDULE.seed, step=step))
        if seen is not None:
            seen.append((step, rows.tolist()))
        noise = 0.1 * torch.randn(16, 1, generator=generator)
        return (net(x[rows]) - y[rows] - noise).square().mean()

    return loss


def _run(folder, *, schedule=SCHEDULE, stop_at=None, **options):
    net = _net()
    average = train({"net": net}, _loss(net, stop_at=stop_at), schedule, folder=folder, name="net", progress=QUIET, **options)
    return net.state_dict(), average["net"]


def _equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_resume_equals_an_uninterrupted_run_to_the_bit(tmp_path):
    whole = _run(tmp_path / "whole")
    for stop_at in (7, 11):  # two steps after the checkpoint at 5, then one after that at 10
        with pytest.raises(Stop):
            _run(tmp_path / "parts", stop_at=stop_at)
    assert torch.load(tmp_path / "parts" / CHECKPOINT, weights_only=True)["step"] == 10
    torch.manual_seed(99)  # what else the process draws does not matter
    parts = _run(tmp_path / "parts")
    assert _equal(whole[0], parts[0])
    assert _equal(whole[1], parts[1])
    assert not _equal(whole[0], whole[1])


def test_a_finished_training_is_only_read(tmp_path):
    first = _run(tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    again = _run(tmp_path, stop_at=0)  # the loss is never called
    assert _equal(first[0], again[0])
    assert _equal(first[1], again[1])
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_steps_and_random_numbers_do_not_depend_on_where_it_was_stopped(tmp_path):
    seen = []
    net = _net()
    with pytest.raises(Stop):
        train({"n": net}, _loss(net, stop_at=8, seen=seen), SCHEDULE, folder=tmp_path, name="n", progress=QUIET)
    net = _net()
    train({"n": net}, _loss(net, seen=seen), SCHEDULE, folder=tmp_path, name="n", progress=QUIET)
    assert [step for step, _ in seen] == [*range(8), *range(5, 12)]
    assert seen[5:8] == seen[8:11]


def test_it_learns_and_leaves_the_global_generator_alone(tmp_path):
    schedule = replace(SCHEDULE, steps=300, learning_rate=0.02, ema_decay=0.95, checkpoint_every=300)
    net = torch.nn.Linear(6, 1)
    loss = _loss(net)
    before = float(loss(0, torch.Generator().manual_seed(0)).detach())
    torch.manual_seed(5)
    state = torch.get_rng_state()
    average = train({"net": net}, loss, schedule, folder=tmp_path, name="net", progress=QUIET)
    assert torch.equal(torch.get_rng_state(), state)
    net.load_state_dict(average["net"])
    assert float(loss(0, torch.Generator().manual_seed(0)).detach()) < 0.05 * before
    np.testing.assert_allclose(net.weight.detach().numpy()[0], [2, -1, 0, 0, 0, 0], atol=0.1)


def test_learning_rate_warms_up_and_falls_along_a_cosine():
    schedule = Schedule(steps=110, seed=0, learning_rate=0.4, warmup_steps=10, final_share=0.1)
    rates = [schedule.rate_at(step) for step in range(111)]
    np.testing.assert_allclose(rates[:10], 0.04 * np.arange(1, 11))
    assert rates[10] == 0.4
    assert rates[60] == pytest.approx(0.4 * (0.1 + 0.9 / 2))
    assert rates[110] == pytest.approx(0.04)
    assert all(a > b for a, b in pairwise(rates[10:]))


def test_average_is_that_of_the_formula(tmp_path):
    """One weight that moves a known way: the average with its warm-up, by hand."""
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(net.weight)
    values = []

    def loss(step, generator):
        values.append(float(net.weight.detach()))
        return -net.weight.sum()

    average = train({"net": net}, loss, replace(SCHEDULE, steps=6, ema_decay=0.3), folder=tmp_path, name="", progress=QUIET)
    expected = 0.0
    for step, value in enumerate([*values[1:], float(net.weight.detach())]):
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert float(average["net"]["weight"]) == pytest.approx(expected, rel=1e-5)


def test_weight_decay_spares_biases_and_the_gradient_is_clipped(tmp_path):
    net = torch.nn.Linear(2, 1)
    with torch.no_grad():
        net.weight.fill_(1)
        net.bias.fill_(1)
    schedule = Schedule(steps=1, seed=0, learning_rate=0.1, warmup_steps=0, weight_decay=0.5)
    train(
        {"net": net},
        lambda step, generator: 0.0 * net(torch.ones(1, 2)).sum(),
        schedule,
        folder=tmp_path,
        name="",
        progress=QUIET,
    )
    assert net.weight.detach().flatten().tolist() == pytest.approx([0.95, 0.95])
    assert net.bias.item() == 1
    norms = []
    net.weight.register_post_accumulate_grad_hook(lambda p: norms.append(p.grad))
    train({"net": net}, lambda step, generator: 1e6 * net(torch.ones(1, 2)).sum(), replace(schedule, clip_norm=0.5),
          folder=tmp_path / "b", name="", progress=QUIET)  # fmt: skip
    assert float(norms[0].norm()) <= 0.5


def test_every_row_comes_equally_often_in_an_order_of_seed_and_step():
    batches = [batch_rows(10, 4, seed=1, step=step) for step in range(25)]
    assert Counter(np.concatenate(batches).tolist()) == dict.fromkeys(range(10), 10)
    assert sorted(np.concatenate(batches[:5])[:10].tolist()) == list(range(10))
    assert (batch_rows(10, 4, seed=1, step=7) == batches[7]).all()
    assert (batch_rows(10, 4, seed=2, step=7) != batches[7]).any()
    assert Counter(batch_rows(3, 8, seed=0, step=0).tolist()) in ({0: 3, 1: 3, 2: 2}, {0: 3, 1: 2, 2: 3}, {0: 2, 1: 3, 2: 3})


def test_another_schedule_other_modules_and_damage_are_refused(tmp_path):
    _run(tmp_path)
    with pytest.raises(TrainingError, match="another schedule"):
        _run(tmp_path, schedule=replace(SCHEDULE, seed=4))
    other = torch.nn.Linear(6, 1)
    with pytest.raises(TrainingError, match="other modules"):
        train({"net": other}, _loss(other), SCHEDULE, folder=tmp_path, name="net", progress=QUIET)
    data = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(data[: len(data) // 2])
    with pytest.raises(TrainingError, match="no whole checkpoint"):
        _run(tmp_path)


def test_a_loss_that_is_not_finite_ends_the_training_before_it_is_saved(tmp_path):
    net = torch.nn.Linear(1, 1)

    def loss(step, generator):
        return net.weight.sum() * (math.nan if step == 7 else 1)

    with pytest.raises(TrainingError, match="nan at step 7"):
        train({"net": net}, loss, SCHEDULE, folder=tmp_path, name="net", progress=QUIET)
    saved = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert saved["step"] == 5
    assert bool(torch.isfinite(saved["modules"]["net"]["weight"]).all())


def test_bf16_computes_the_loss_and_keeps_weights_in_fp32(tmp_path):
    net = torch.nn.Linear(4, 4)
    seen = []

    def loss(step, generator):
        out = net(torch.ones(2, 4))
        seen.append(out.dtype)
        return out.float().square().mean()

    train({"net": net}, loss, replace(SCHEDULE, steps=1), folder=tmp_path, name="net", progress=QUIET, is_bf16=True)
    assert seen == [torch.bfloat16]
    assert net.weight.dtype == torch.float32
