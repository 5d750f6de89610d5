"""The lab's commands from a set to a trained model and its curve, at the smallest size there is."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
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
    asked = ("lab", "curve", model, "--out", tmp_path / "curve", "--seeds", 1, "--captions", 1, "--steps", 1, "-q")
    told = run(*asked)
    assert "k = 8: own" in told
    assert (tmp_path / "curve" / "set" / "truth.parquet").read_bytes() == (tmp_path / "set" / "truth.parquet").read_bytes()
    points = pq.read_table(tmp_path / "curve" / "curve.parquet").to_pylist()
    assert {point["k"] for point in points} == {0, 1, 2, 4, 8}
    assert {point["model"] for point in points} == {"toy"}
    assert all(0 <= point["own_low"] <= point["own_high"] <= 1 for point in points)
    assert (tmp_path / "curve" / "curve.svg").read_text().startswith("<svg")


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    out = tmp_path_factory.mktemp("planted") / "set"
    run("lab", "make", "--images", 200, "--seed", 3, "--out", out, "--workers", 1, "-q")
    return out


def test_models_that_ship_are_had_by_name_and_stand_side_by_side(planted, tmp_path):
    few = ("--set", planted, "--out", tmp_path, "--seeds", 1, "--captions", 1, "--steps", 1, "-q")
    told = run("lab", "curve", "toy", "toy-dedup", *few)
    assert told.count("k = 8: own") == 2
    assert ["toy", "toy-dedup"] in [line.split() for line in told.splitlines()]
    assert set(pq.read_table(tmp_path / "captions.parquet")["model"].to_pylist()) == {"toy", "toy-dedup"}
    assert (tmp_path / "curve.svg").read_text().count("<polyline") == 2


def test_models_without_prompts_have_a_curve_of_their_own(planted, tmp_path):
    few = ("--set", planted, "--out", tmp_path, "--images", 4, "--steps", 1, "-q")
    assert "4 generations" in run("lab", "curve", "toy-unconditional", *few)
    points = pq.read_table(tmp_path / "curve.parquet").to_pylist()
    assert {point["model"] for point in points} == {"toy-unconditional"}
    assert "emitted" in (tmp_path / "curve.svg").read_text()


@pytest.mark.parametrize(
    ("models", "found"),
    [
        (["toy", "toy-unconditional"], "cannot"),
        (["toy"] * 5, "5 models"),
        (["toy", "toy"], "one name"),
        (["tooy"], "no model folder at tooy"),
    ],
)
def test_models_that_cannot_be_compared(planted, tmp_path, models, found):
    arguments = ["lab", "curve", *models, "--set", str(planted), "--out", str(tmp_path), "-q"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code != 0
    assert found in str(result.exception) + result.output


def test_a_set_that_is_drawn_otherwise_today_is_not_drawn_again(tmp_path):
    manifest = {"set": {"made_with": {"version": 1, "num_images": 200, "seed": 3}}}
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(manifest))
    result = CliRunner().invoke(cli, ["lab", "curve", str(tmp_path / "old"), "--out", str(tmp_path / "curve"), "-q"])
    assert result.exit_code != 0
    assert "version 1" in str(result.exception) + result.output
