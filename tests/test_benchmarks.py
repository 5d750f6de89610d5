"""The benchmarks that wait for hardware run here on a CPU, tiny: their code must not be what fails on the day."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def gpu(benchmarks):
    import gpu

    return gpu


def test_without_a_gpu_nothing_is_measured(gpu, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "out.json")]) == 2
    told = capsys.readouterr()
    assert "No CUDA GPU can be used here: nothing was measured." in told.err
    assert not told.out
    assert not (tmp_path / "out.json").exists()


def test_on_a_cpu_it_is_tiny_or_not_at_all(gpu, capsys):
    with pytest.raises(SystemExit) as raised:
        gpu.main(["--device", "cpu"])
    assert raised.value.code == 2
    assert "add --tiny" in capsys.readouterr().err


def test_the_pass_and_the_training_loop_are_measured(gpu, capsys, tmp_path, one_thread):
    out = tmp_path / "out.json"
    assert gpu.main(["--device", "cpu", "--tiny", "--workers", "1", "--sections", "embed", "train", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert (result["is_tiny"], result["failed"]) == (True, [])
    found = result["embed"]["models"]["small"]
    for key in ("encoder_images_per_s", "preparation_images_per_s", "decoding_images_per_s"):
        assert found[key] > 0
    whole = found["end_to_end_resized_on_cpu"]
    alone, preparation = found["encoder_images_per_s"], found["preparation_images_per_s"]
    assert whole["bound_images_per_s"] == pytest.approx(1 / (1 / alone + 1 / preparation))
    assert whole["ratio"] == pytest.approx(whole["images_per_s"] / whole["bound_images_per_s"])
    share = alone * found["gflops_an_image"] * 1e9 / (result["embed"]["ceiling_tflops"] * 1e12)
    assert found["share_of_ceiling"] == pytest.approx(share)
    assert {"images_per_s", "first_loss", "last_loss"} == set(result["train"]["bf16"])
    told = capsys.readouterr().out
    assert "| small: encoder alone |" in told
    assert "| train in bf16 |" in told
    assert "Tiny: these numbers mean nothing." in told


def test_a_section_that_fails_leaves_the_others(gpu, capsys, monkeypatch, tmp_path):
    def fail(args):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(gpu, "join_section", fail)
    trained = {"images_per_s": 1, "first_loss": 1, "last_loss": 1}
    monkeypatch.setattr(gpu, "train_section", lambda args: {"fp32": trained, "bf16": trained})
    out = tmp_path / "out.json"
    assert gpu.main(["--device", "cpu", "--tiny", "--sections", "join", "train", "--out", str(out)]) == 1
    assert json.loads(out.read_text())["failed"] == ["join"]
    told = capsys.readouterr()
    assert "no such kernel" in told.err
    assert "| section join | failed |" in told.out
    assert "| train in fp32 |" in told.out


def test_the_other_sections_are_the_other_benchmarks(gpu, monkeypatch):
    import generate
    import join_gpu

    asked = []
    monkeypatch.setattr(generate, "measure", lambda o: asked.append((o.model, o.dtype, o.batch_size)) or {})
    monkeypatch.setattr(join_gpu, "measure", lambda options: asked.append((options.smoke, options.sizes)) or {})
    for arguments in (["--join-sizes", "1000"], ["--device", "cpu", "--tiny"]):
        args = gpu.parse_args(arguments)
        gpu.generate_section(args)
        gpu.join_section(args)
    on_gpu, on_cpu = asked[:3], asked[3:]
    assert on_gpu == [("toy", "bf16", 256), ("sd1-random", "bf16", 16), (False, [1000])]
    assert on_cpu == [("toy", "fp32", 2), (True, [1_000_000, 10_000_000])]


def test_images_are_drawn_and_few(gpu, tmp_path):
    from scanner.sources.open import open_source

    jpegs = gpu.lab_jpegs(count=6)
    assert jpegs == gpu.lab_jpegs(count=6)
    sizes = [Image.open(io.BytesIO(jpeg)).size for jpeg in jpegs]
    assert {max(size) for size in sizes} == {gpu.SIDE}
    assert len(gpu.lab_jpegs(count=6, most_bytes=sum(map(len, jpegs[:3])))) == 3
    assert gpu.MOST_BYTES == 10 * 2**20
    gpu.write_tars(tmp_path / "shards", jpegs, num_images=10, shard_rows=4)
    source = open_source(str(tmp_path / "shards"))
    assert [len(list(source.samples(shard))) for shard in source.shards()] == [4, 4, 2]


def test_a_published_rate_is_set_beside_ours(gpu):
    found = {
        "share_of_ceiling": 0.5, "precision": "bf16", "batch_size": 512, "encoder_images_per_s": 9000.0,
        "nvjpeg_images_per_s": "not available: no", "times_published": 2.0, "published_images_per_s": 2500,
        "end_to_end_resized_on_gpu": {"images_per_s": 5000.0, "ratio": 0.9}, "processes": {"1": 5000.0, "8": 39_000.0},
    }  # fmt: skip
    embedded = {"ceiling_tflops": 700.0, "workers": 16, "models": {"ViT-B-32": found}}
    text = "\n".join(gpu.table({"embed": embedded, "failed": [], "is_tiny": False}))
    assert "| ViT-B-32: against clip-retrieval | 2.00 x 2,500 images/s (one A100) |" in text
    assert "| ViT-B-32: end to end, resized on the GPU | 5,000 images/s (0.90 of the bound) |" in text
    assert "| ViT-B-32: nvJPEG | not available: no |" in text
    assert "| ViT-B-32: 8 GPU processes | 39,000 images/s |" in text
    assert gpu.PUBLISHED == {"ViT-B-32": 2500, "ViT-L-14": 312}


def test_the_pass_on_a_cpu_is_held_against_its_bound(benchmarks, tmp_path, monkeypatch, capsys, one_thread):
    import embed

    out = tmp_path / "out.json"
    arguments = ["embed.py", "--encoder", "small", "--device", "cpu", "--precision", "fp32", "--num-images", "24", "--turns", "1"]
    monkeypatch.setattr("sys.argv", [*arguments, "--workers", "1", "--out", str(out)])
    embed.main()
    result = json.loads(out.read_text())
    encoder, preparation, rate = (result[f"{key}_images_per_s"] for key in ("encoder", "preparation", "end_to_end"))
    assert result["bound_images_per_s"] == pytest.approx(1 / (1 / encoder + 1 / preparation))
    assert result["ratio"] == pytest.approx(rate / result["bound_images_per_s"])
    assert result["encoder"] == "small"
    assert "of the bound" in capsys.readouterr().out


def test_both_encoders_are_measured_where_none_is_named(benchmarks, monkeypatch, tmp_path):
    import embed

    asked = []
    monkeypatch.setattr("sys.argv", ["embed.py"])
    monkeypatch.setattr(embed, "__file__", str(tmp_path / "embed.py"))
    monkeypatch.setattr(embed, "measure", lambda args, name: asked.append(name) or {"device": "cpu", "precision": "fp32"})
    monkeypatch.setattr(embed, "lines", lambda result: [])
    embed.main()
    assert asked == ["small", "ViT-B-32"]
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"embed-small-cpu-fp32.json", "embed-cpu-fp32.json"}
    monkeypatch.setattr("sys.argv", ["embed.py", "--out", str(tmp_path / "x.json")])
    with pytest.raises(SystemExit):
        embed.main()
