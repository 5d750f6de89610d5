"""Parts shared out among processes, with CPUs in the place of GPUs."""

from __future__ import annotations

import multiprocessing
import os

import pytest
from fed import DyingSource
from pictures import draw, encoded, sample, write_tar

from scanner.core.config import RunConfig, override
from scanner.core.progress import Progress
from scanner.core.schemas import TABLES
from scanner.core.store import Store
from scanner.embed import stage as stages
from scanner.embed.part_maker import Work
from scanner.embed.processes import _share_of_cores, make_on_gpus
from scanner.embed.registry import commit_shards, read_shards, register
from scanner.embed.stage import EmbedStage
from scanner.sources.open import open_source


class Told:
    """A bar that keeps what it is told."""

    def __init__(self):
        self.num_images, self.lines = 0, []

    def advance(self, amount=1):
        self.num_images += amount

    def expect(self, total): ...

    def say(self, text):
        self.lines.append(text)


def config(folder, **changes):
    base = {
        "sources": [{"url": str(folder), "name": "set"}], "encoder.name": "pixels", "encoder.batch_size": 3, "store.part_rows": 1,
        "compute.workers": 2,
    }  # fmt: skip
    return override(RunConfig(), {**base, **changes})


def whole(store, settings, sources):
    """The pass in this process alone, and its tables."""
    EmbedStage(store, settings, sources, Progress(quiet=True)).run()
    names = ("shards", "images", "embeddings")
    return {name: store.read(name).sort_by([(key, "ascending") for key in TABLES[name].key]).to_pylist() for name in names}


def plans_of(store, settings, sources):
    rows = register(read_shards(store), sources, part_rows=settings.store.part_rows)
    commit_shards(store, rows)
    return EmbedStage(store, settings, sources, Progress(quiet=True))._plans(rows)


@pytest.fixture
def five(shards):
    for s in (3, 4):
        members = [m for i in range(4) for m in sample(f"{s}{i}", encoded(draw(100 * s + i)), f"a picture {s} {i}")]
        write_tar(shards / f"{s:05d}.tar", members)
    return shards


def test_processes_make_the_parts_that_one_makes(five, tmp_path):
    settings = config(five)
    store, sources = Store(str(tmp_path / "shared")), {"set": open_source(str(five))}
    plans, told = plans_of(store, settings, sources), Told()
    assert len(plans) == 5
    work = make_on_gpus(["0", "1"], plans, store, settings, sources, bar=told)
    assert all(store.has_part(table, getattr(plan, table)) for plan in plans for table in ("images", "embeddings"))
    assert not told.lines
    assert told.num_images == work.num_images_read == work.num_decoded == 32
    assert work.seconds_encoding > 0
    assert (sources["set"].counts.num_shards, sources["set"].counts.num_samples) == (5, 32)
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("gpu-")]
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    expected = whole(Store(str(tmp_path / "alone")), settings, {"set": open_source(str(five))})
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "shared").rglob("*.parquet") if path.parent.name != "shards"}
    assert whole(store, settings, sources) == expected
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what the processes made stands"


def test_a_process_that_dies_leaves_its_part_and_the_others_go_on(five, tmp_path):
    settings = config(five)
    store, sources = Store(str(tmp_path / "shared")), {"set": DyingSource(open_source(str(five)), "00001.tar")}
    plans, told = plans_of(store, settings, sources), Told()
    make_on_gpus(["0", "1"], plans, store, settings, sources, bar=told)
    assert [store.has_part("images", plan.images) for plan in plans] == [True, False, True, True, True]
    (line,) = told.lines
    assert "its process ended with 3" in line
    # The pass itself then makes what was left.
    assert whole(store, settings, sources) == whole(Store(str(tmp_path / "alone")), settings, {"set": open_source(str(five))})


def test_an_error_is_told_and_its_part_is_left(five, tmp_path):
    settings = config(five, **{"encoder.name": f"open_clip:local-dir:{tmp_path / 'nothing'}"})
    store, sources = Store(str(tmp_path / "shared")), {"set": open_source(str(five))}
    plans = plans_of(store, config(five), sources)
    told = Told()
    work = make_on_gpus(["0"], plans, store, settings, sources, bar=told)
    assert work == Work()
    (line,) = told.lines
    assert line.startswith("GPU 0: ")
    assert not any(store.has_part("images", plan.images) for plan in plans)


def test_cores_are_shared_out(five):
    assert _share_of_cores(config(five, **{"compute.workers": 7}), 2).compute.workers == 3
    assert _share_of_cores(config(five, **{"compute.workers": 1}), 2).compute.workers == 1
    assert _share_of_cores(config(five, **{"compute.workers": "auto"}), 1).compute.workers == os.cpu_count()


@pytest.mark.parametrize(
    ("changes", "num_parts", "expected"),
    [
        ({}, 5, ["a", "b", "c"]),
        ({}, 2, ["a", "b"]),
        ({}, 1, []),
        ({"compute.gpus": 2}, 5, ["a", "b"]),
        ({"compute.gpus": 1}, 5, []),
        ({"compute.gpus": 8}, 5, ["a", "b", "c"]),
        ({"compute.device": "cpu"}, 5, []),
        ({"encoder.name": "pixels"}, 5, []),
    ],
)
def test_a_process_a_gpu_where_there_is_work_for_it(five, tmp_path, monkeypatch, changes, num_parts, expected):
    monkeypatch.setattr(stages, "visible_gpus", lambda: ["a", "b", "c"])
    settings = config(five, **{"encoder.name": "small", **changes})
    stage = EmbedStage(Store(str(tmp_path)), settings, {"set": open_source(str(five))}, Progress(quiet=True))
    assert stage._gpus(num_parts) == expected


def test_the_pass_hands_out_parts_and_makes_what_was_left(five, tmp_path, monkeypatch):
    asked = []

    def handed_out(gpus, plans, store, settings, sources, *, bar, batch_size):
        asked.append((gpus, len(plans), batch_size))
        return Work(num_images_read=1000, num_decoded=1000)

    monkeypatch.setattr(stages, "make_on_gpus", handed_out)
    monkeypatch.setattr(EmbedStage, "_gpus", lambda self, num_parts: ["0", "1"])
    settings = config(five)
    store = Store(str(tmp_path / "run"))
    result = EmbedStage(store, settings, {"set": open_source(str(five))}, Progress(quiet=True)).run()
    assert asked == [(["0", "1"], 5, None)]
    assert (result.num_parts_made, result.num_images_read, result.num_images) == (5, 1032, 32)
