from __future__ import annotations

import numpy as np
import pytest
from fed import FirstByte, LateDevice

from scanner.core.config import RunConfig, fingerprint, override
from scanner.core.progress import Progress
from scanner.core.store import Store
from scanner.core.vectors import to_matrix
from scanner.embed import runner as runners
from scanner.embed import stage as stages
from scanner.embed.feed import CPU_BATCH
from scanner.embed.stage import EmbedStage
from scanner.sources.open import open_source


def config(folder, **changes):
    base = {
        "sources": [{"url": str(folder), "name": "set"}], "encoder.name": "pixels", "store.part_rows": 1, "compute.workers": 1,
    }  # fmt: skip
    return override(RunConfig(), {**base, **changes})


def embed(folder, out, *, encoder=None, **changes):
    settings = config(folder, **changes)
    stage = EmbedStage(Store(str(out)), settings, {"set": open_source(str(folder))}, Progress(quiet=True))
    stage.maker.encoder = encoder
    return stage.run()


def part_facts(out):
    """Metadata of each part of ``embeddings``, in order."""
    store = Store(str(out))
    return [store.part_metadata("embeddings", part)[1] for part in store.manifest("embeddings").parts]


def vectors(out):
    return to_matrix(Store(str(out)).read("embeddings")["embedding"]).astype(np.float32)


@pytest.fixture
def gpu(monkeypatch):
    """A stand-in for a GPU: (encoder, devices that were made)."""
    devices = []
    room = [10**9]

    def make():
        devices.append(LateDevice(room[0]))
        return devices[-1]

    monkeypatch.setattr(runners, "CudaDevice", make)
    return FirstByte(size=(16, 16)), devices, room


def test_a_found_batch_size_is_that_of_before_on_a_cpu(shards, tmp_path):
    embed(shards, tmp_path / "auto")
    assert {facts["batch_size"] for facts in part_facts(tmp_path / "auto")} == {str(CPU_BATCH)}
    embed(shards, tmp_path / "given", **{"encoder.batch_size": CPU_BATCH})
    assert (vectors(tmp_path / "auto") == vectors(tmp_path / "given")).all()
    again = embed(shards, tmp_path / "auto", **{"encoder.batch_size": CPU_BATCH})
    assert again.num_parts_made == 0, "a run made with the number goes on with auto, and the other way about"
    assert "resized_on" not in part_facts(tmp_path / "auto")[0]


def test_what_is_hashed_does_not_depend_on_what_is_found():
    assert fingerprint(stages._hashed(RunConfig())) == fingerprint(
        stages._hashed(override(RunConfig(), {"encoder.batch_size": CPU_BATCH}))
    )
    assert stages._hashed(override(RunConfig(), {"encoder.batch_size": 8})).batch_size == 8


def test_on_a_gpu_size_and_place_are_recorded(shards, tmp_path, gpu, monkeypatch):
    encoder, devices, _ = gpu
    monkeypatch.setattr("scanner.embed.part_maker.find_batch_size", lambda runner: 5)
    result = embed(shards, tmp_path / "run", encoder=encoder)
    assert len(devices) == 1
    for facts in part_facts(tmp_path / "run"):
        assert (facts["batch_size"], facts["device"], facts["resized_on"], facts["is_compiled"]) == ("5", "cuda", "gpu", "false")
    # Seven readable images a part: batches do not span parts.
    assert encoder.sizes == [5, 2] * 3
    assert result.num_embedded == 21
    embed(shards, tmp_path / "cpu", encoder=FirstByte(size=(16, 16)), **{"compute.resize": "cpu"})
    assert part_facts(tmp_path / "cpu")[0]["resized_on"] == "cpu"
    assert np.abs(vectors(tmp_path / "cpu") - vectors(tmp_path / "run")).max() <= 2


def test_a_memory_that_runs_out_loses_no_row_and_is_recorded(shards, tmp_path, gpu):
    encoder, _, room = gpu
    room[0] = 4 * 48 * 40 * 3
    result = embed(shards, tmp_path / "run", encoder=encoder, **{"encoder.batch_size": 7})
    assert result.num_embedded == 21
    table = Store(str(tmp_path / "run")).read("embeddings")
    assert len(set(table["image_id"].to_pylist())) == 21
    assert [facts["batch_size"] for facts in part_facts(tmp_path / "run")] == ["7, 3", "3", "3"]
    assert Store(str(tmp_path / "run")).manifest("embeddings").metadata["batch_size"] == "7, 3"


def test_a_scan_that_goes_on_keeps_the_size_it_began_with(shards, tmp_path, gpu, monkeypatch):
    encoder, _, _ = gpu
    monkeypatch.setattr("scanner.embed.part_maker.find_batch_size", lambda runner: 5)
    embed(shards, tmp_path / "run", encoder=encoder)
    lost = sorted((tmp_path / "run" / "embeddings").glob("*.parquet"))[1]
    before = lost.read_bytes()
    lost.unlink()
    monkeypatch.setattr("scanner.embed.part_maker.find_batch_size", lambda runner: 3)
    assert embed(shards, tmp_path / "run", encoder=encoder).num_parts_made == 1
    assert lost.read_bytes() == before


def test_parts_are_made_while_the_one_before_is_written(shards, tmp_path, monkeypatch):
    import threading

    threads = []
    original = Store.write_part

    def noted(self, table, *arguments, **options):
        threads.append((table, threading.current_thread() is threading.main_thread()))
        return original(self, table, *arguments, **options)

    monkeypatch.setattr(Store, "write_part", noted)
    embed(shards, tmp_path / "run")
    made = [(table, is_main) for table, is_main in threads if table != "shards"]
    assert made == [("embeddings", False), ("images", False)] * 3
