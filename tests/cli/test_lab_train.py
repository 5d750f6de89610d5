"""The lab's commands from a set to a trained model and its curve, at the smallest size there is."""

from __future__ import annotations

import pyarrow.parquet as pq
from click.testing import CliRunner

from scanner.cli.main import cli


def run(*arguments):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_set_is_drawn_a_model_trained_and_its_curve_measured(tmp_path):
    drawn = run("lab", "make", "--images", 200, "--seed", 3, "--out", tmp_path / "set", "--workers", 1)
    assert "200 images" in drawn
    assert "12 pictures occur more than once, 56 times together" in drawn
    few = ("--vae-steps", 2, "--unet-steps", 2)
    trained = run("lab", "train", "--set", tmp_path / "set", "--out", tmp_path / "models", "--variant", "toy", *few, "-q")
    assert trained == ""
    model = tmp_path / "models" / "toy"
    assert (model / "model_index.json").is_file()
    told = run("lab", "curve", model, "--set", tmp_path / "set", "--out", tmp_path / "curve", "--seeds", 1, "--steps", 1, "-q")
    assert "k = 8: own" in told
    points = pq.read_table(tmp_path / "curve" / "curve.parquet").to_pylist()
    assert {point["k"] for point in points} == {0, 1, 2, 4, 8}
    assert all(0 <= point["own_low"] <= point["own_high"] <= 1 for point in points)
    assert (tmp_path / "curve" / "curve.svg").read_text().startswith("<svg")
