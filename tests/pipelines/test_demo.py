"""The demo's set is the one that the models that ship were trained on; with another, or without diffusers, it leaves them out."""

from __future__ import annotations

import inspect

from click.testing import CliRunner

from scanner.cli.demo import demo as command
from scanner.cli.main import cli
from scanner.lab import curves
from scanner.lab.planted import VERSION, make_planted
from scanner.lab.toy_manifest import read_manifest
from scanner.models.generators import TOYS, generator_folder
from scanner.pipelines import demo


def test_the_defaults_draw_the_set_of_the_models():
    defaults = {option.name: option.default for option in command.params}
    assert (defaults["num_images"], defaults["seed"]) == (demo.NUM_IMAGES, demo.SEED)
    drawn = {name: p.default for name, p in inspect.signature(make_planted).parameters.items()}
    made_with = {
        "version": VERSION, "num_images": demo.NUM_IMAGES, "seed": demo.SEED, "as": drawn["as_"],
        "shard_rows": drawn["shard_rows"], "copied_share": demo.COPIED_SHARE,
    }  # fmt: skip
    for name in TOYS:
        assert read_manifest(generator_folder(name))["set"]["made_with"] == made_with


def test_another_set_is_scanned_and_scored_without_the_models(tmp_path):
    done = CliRunner().invoke(cli, ["demo", "--out", str(tmp_path), "--images", "300"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "pairs of one picture found" in done.output
    assert "models emit" not in done.output
    assert not (tmp_path / "curve").exists()


def test_without_diffusers_nothing_is_asked_of_the_models(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "find_spec", lambda name: None)
    assert curves.measure_shipped(tmp_path / "nothing", tmp_path) is None
