"""The join of the GPU, run in Triton's interpreter, against the full product in float64 and the join of the CPU."""

from __future__ import annotations

import logging
import threading
from itertools import pairwise

import numpy as np
import pytest
from search.oracle import TIE, check_against_oracle, collect, planted

pytest.importorskip("triton")

from scanner.core.errors import ConfigError
from scanner.lab.vectors import PlantedVectors
from scanner.search import device_blocks, gpu_join, join_kernel
from scanner.search.device_blocks import plan_memory, steps
from scanner.search.gpu_join import GpuThresholdJoin, Panel, gpu_join_available
from scanner.search.join import ThresholdJoin
from scanner.search.threshold import unit_rows

DEVICE = "cpu" if join_kernel.is_interpreted() else "cuda"


def run(x, threshold, **options):
    return GpuThresholdJoin(x=x, threshold=threshold, device=DEVICE, **options)


@pytest.fixture(params=[None, (110, 64, 130)], ids=["whole", "blocks-of-110"])
def sizes(request, monkeypatch):
    """Rows of a block, and rows and columns of a launch; None leaves all of it to one."""
    if request.param is not None:
        small_blocks(monkeypatch, *request.param)
    return request.param


def small_blocks(monkeypatch, block_rows, panel_rows, panel_columns, capacity=4096):
    plan = device_blocks.MemoryPlan(block_rows=block_rows, num_slots=3, capacity=capacity, chunk_rows=37, num_bytes=0)
    monkeypatch.setattr(gpu_join, "plan_memory", lambda *_, **__: plan)
    monkeypatch.setattr(gpu_join, "PANEL_ROWS", panel_rows)
    monkeypatch.setattr(gpu_join, "PANEL_COLUMNS", panel_columns)


@pytest.mark.parametrize(("d", "threshold", "width"), [(24, 0.8, None), (100, 0.8, 16), (300, 0.95, 64)])
def test_finds_what_the_full_product_and_the_cpu_find(sizes, d, threshold, width):
    x = planted(301, d)
    done = []
    join = run(x, threshold, width=width)
    found = collect(join.blocks(on_tile=done.append))
    must = check_against_oracle(x, threshold, found)
    assert len(must) > 100
    assert found.keys() == collect(ThresholdJoin(x=x, threshold=threshold).blocks()).keys()
    assert sum(done) == join.stats.num_compared == 301 * 300 // 2
    assert join.stats.num_pairs == len(found) <= join.stats.num_candidates
    assert join.stats.num_repeats == 0


def test_the_kernel_for_hopper_finds_the_same(monkeypatch):
    if gpu_join._missing(DEVICE, "persistent"):
        pytest.skip("the GPU is older")
    small_blocks(monkeypatch, 100, 60, 130)
    x = planted(301, 100).astype(np.float16)
    found = [collect(run(x, 0.8, kernel=kernel).blocks()) for kernel in ("grid", "persistent")]
    assert found[0] == found[1]
    assert len(found[0]) > 100


def test_the_pilot_takes_a_prefix_only_where_it_settles_nearly_all():
    """Rows of few directions are settled by a prefix; of rows without any preferred one a prefix says little."""
    flat = np.random.default_rng(1).standard_normal((2000, 512)).astype(np.float32)
    steep = flat / np.sqrt(np.arange(1, 513, dtype=np.float32))
    assert run(steep, 0.95).stats.width < 256
    assert run(PlantedVectors(n=2000, background="clip").rows(), 0.95).stats.width == 512


def test_two_sets_and_their_union_give_the_same_pairs(sizes):
    x = planted(360, 40, seed=8)
    left, right = x[:130], x[130:].astype(np.float16)
    x[130:] = right
    join = run(left, 0.8, y=right)
    blocks = list(join.blocks())
    found = {pair for block in blocks for pair in zip(block.left.tolist(), block.right.tolist(), strict=True)}
    assert sum(map(len, blocks)) == len(found) > 20
    assert join.stats.num_compared == 130 * 230
    assert found == {(i, j - 130) for i, j in collect(run(x, 0.8).blocks()) if i < 130 <= j}


def test_a_memory_mapped_file_is_read_in_blocks(tmp_path, monkeypatch):
    x = planted(301, 48).astype(np.float16)
    np.save(tmp_path / "rows.npy", x)
    whole = collect(run(x, 0.85).blocks())
    small_blocks(monkeypatch, 64, 64, 64)
    assert collect(run(np.load(tmp_path / "rows.npy", mmap_mode="r"), 0.85).blocks()) == whole
    check_against_oracle(x, 0.85, whole)


def test_copies_that_overflow_the_buffer_are_all_found(monkeypatch):
    """A group that fills whole launches: each is split until its candidates fit, and blocks stay as small as the buffer."""
    small_blocks(monkeypatch, 200, 128, 256, capacity=2500)
    x = planted(260, 16, seed=2)
    x[60:240] = x[60]
    join = run(x, 0.9)
    blocks = list(join.blocks())
    found = collect(blocks)
    check_against_oracle(x, 0.9, found)
    assert len(found) > 180 * 179 // 2 - 1
    assert join.stats.num_repeats > 3
    assert max(map(len, blocks)) <= 2500
    assert join.stats.num_compared == 260 * 259 // 2


def test_rows_at_the_threshold_and_rows_without_direction(monkeypatch):
    """Adversarial: cosines of threshold +- 1e-5, which bf16 cannot tell apart; zero, NaN and infinite rows; equal ones."""
    rng = np.random.default_rng(5)
    threshold, d, m = 0.95, 512, 100
    base = unit_rows(rng.standard_normal((m, d)))
    noise = rng.standard_normal((m, d))
    noise -= (noise * base).sum(axis=1, keepdims=True) * base
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    cosine = threshold + np.where(np.arange(m) % 2, 1e-5, -1e-5)[:, None]
    x = np.concatenate([base, cosine * base + np.sqrt(1 - cosine**2) * noise]).astype(np.float32)
    for width in (None, 64):
        join = run(x, threshold, width=width)
        assert collect(join.blocks()).keys() == {(i, i + m) for i in range(1, m, 2)}
        assert join.stats.num_candidates >= m
    x[0], x[1], x[2], x[3:5], x[6] = 0, np.nan, np.inf, x[3], 3e38
    found = collect(run(x, threshold).blocks())
    assert abs(found[3, 4] - 1) < TIE
    assert not {0, 1, 2, 6} & {row for pair in found for row in pair}
    small_blocks(monkeypatch, 64, 64, 64)
    assert collect(run(x, threshold).blocks()) == found
    # Where the cut is below 0 rows of zeros are candidates too, and are still no pairs.
    few = np.zeros((5, 8), np.float32)
    few[3:, 0] = 1
    for width in (None, 4):
        assert collect(run(few, 0.001, width=width).blocks()).keys() == {(3, 4)}


def test_blocks_come_sorted_and_in_one_order(sizes):
    x = planted(301, 24)
    first, second = ([(b.left.tolist(), b.right.tolist()) for b in run(x, 0.8).blocks()] for _ in range(2))
    assert first == second
    for left, right in first:
        pairs = list(zip(left, right, strict=True))
        assert pairs == sorted(pairs)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_sets_of_no_pairs_or_one(n):
    done = []
    found = collect(run(np.ones((n, 8), np.float16), 0.9).blocks(on_tile=done.append))
    assert len(found) == sum(done) == n * (n - 1) // 2
    assert not list(run(np.ones((n, 8), np.float16), 0.9, y=np.ones((0, 8), np.float16)).blocks())


def test_a_stopped_consumer_leaves_no_thread_behind(monkeypatch):
    small_blocks(monkeypatch, 64, 64, 64)
    blocks = run(planted(400, 32), 0.7).blocks()
    next(blocks)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("join-copy")]
    blocks.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("join-copy")]


@pytest.mark.parametrize("shift", [-40, -3, 0, 5, 29, 30, 31, 70])
def test_a_panel_knows_its_pairs_and_its_parts_add_up(shift):
    for is_square in (False, True):
        panel = Panel(row=100, num_rows=30, column=100 + shift, num_columns=45, is_square=is_square)
        pairs = {(i, j) for i in range(100, 130) for j in range(100 + shift, 145 + shift) if i < j or not is_square}
        assert panel.num_pairs == len(pairs)
        assert (panel.shift is None) == (not is_square or shift >= 30)
        for parts in (2, 5, 10**6):
            inside = [
                (p.row + i, p.column + j) for p in panel.split(parts) for i in range(p.num_rows) for j in range(p.num_columns)
            ]
            assert [pair for pair in inside if pair in pairs] == list(dict.fromkeys(pair for pair in inside if pair in pairs))
            assert pairs <= set(inside)
            assert sum(p.num_pairs for p in panel.split(parts)) == len(pairs)
            assert all(p.num_rows * p.num_columns < 30 * 45 for p in panel.split(parts))
    for shape in ((1, 2), (2, 1), (7, 1)):
        thin = Panel(row=0, num_rows=shape[0], column=0, num_columns=shape[1], is_square=False)
        assert len(thin.split(2)) > 1


@pytest.mark.parametrize(("left", "right"), [(1, None), (2, None), (5, None), (6, None), (1, 1), (3, 4), (4, 1)])
def test_steps_need_one_new_block_at_most(left, right):
    order = steps(left, right)
    assert len(set(order)) == len(order) == (left * right if right else left * (left + 1) // 2)
    assert all(len(set(after) - set(before)) <= 1 for before, after in pairwise(order))


@pytest.mark.parametrize("sizes_of_sets", [[10_000_000], [160_000_000], [1000, 50_000_000], [3_000_000, 2_000_000], [500]])
@pytest.mark.parametrize("budget", [2**26, 2**32, 64 * 2**30])
def test_plans_keep_to_their_budget(sizes_of_sets, budget):
    plan = plan_memory(sizes_of_sets, 512, item_bytes=2, bound_numbers=512, budget=budget)
    assert plan.num_bytes <= budget
    num_blocks = sum(-(-n // plan.block_rows) for n in sizes_of_sets)
    assert plan.num_slots == 3 or num_blocks <= plan.num_slots
    # Nothing is copied twice that could stay.
    row = 512 * 2 + 512 * 2 + 4
    assert num_blocks == len(sizes_of_sets) or sum(sizes_of_sets) * row > 0.5 * budget


def test_too_little_memory_and_what_else_cannot_be_is_refused(caplog):
    x = planted(500, 16)
    with caplog.at_level(logging.INFO, logger="scanner"):
        run(x, 0.9)
    assert "bf16 bounds of" in caplog.text
    with pytest.raises(ConfigError, match="bytes of its memory"):
        run(x, 0.9, device_memory_bytes=100_000)
    with pytest.raises(ConfigError, match="numbers"):
        run(x, 0.9, y=planted(10, 8))
    for threshold in (0.0, 1.01, float("nan")):
        with pytest.raises(ConfigError, match="threshold"):
            run(x, threshold)


def test_without_a_gpu_or_triton_it_says_what_is_missing(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not gpu_join_available()
    with pytest.raises(ConfigError, match=r"no CUDA GPU[\s\S]*on the CPU"):
        GpuThresholdJoin(x=np.eye(2, dtype=np.float32), threshold=0.9)
    monkeypatch.setattr(join_kernel, "is_interpreted", lambda: False)
    with pytest.raises(ConfigError, match="interpreter"):
        GpuThresholdJoin(x=np.eye(2, dtype=np.float32), threshold=0.9, device="cpu")
    monkeypatch.setattr(gpu_join, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="triton is not installed"):
        GpuThresholdJoin(x=np.eye(2, dtype=np.float32), threshold=0.9, device="cpu")
