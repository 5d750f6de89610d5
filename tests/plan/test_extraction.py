from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from scanner.cli.main import cli


def _plan(*options: str) -> dict:
    done = CliRunner().invoke(cli, ["plan", "--extract", "--json", *options])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_the_sum_is_that_of_its_steps_and_scales_with_prompts():
    one, two = _plan("--prompts", "100000"), _plan("--prompts", "200000")
    for made in (one, two):
        assert made["total_passes"] == pytest.approx(sum(made["passes"].values()))
    assert two["passes"]["controls"] == one["passes"]["controls"]
    assert two["full_passes"] == 2 * one["full_passes"] == 200_000 * 500 * 100
    assert one["full_passes"] / one["total_passes"] > 50


def test_devices_and_rates_of_the_user():
    slow = _plan("--gpus", "1", "--gpu", "a100", "--passes-a-second", "10")
    fast = _plan("--gpus", "4", "--gpu", "a100", "--passes-a-second", "10")
    assert slow["seconds"] == pytest.approx(4 * fast["seconds"])
    assert (slow["rate"]["status"], slow["rate"]["value"]) == ("given", 10)
    assert slow["seconds"] == pytest.approx(slow["total_passes"] / 10)


def test_what_is_missing_or_wrong_is_said():
    assert "--extract" in str(CliRunner().invoke(cli, ["plan"]).exception)
    assert "above 0" in str(CliRunner().invoke(cli, ["plan", "--extract", "--passes-a-second", "0"]).exception)
    text = CliRunner().invoke(cli, ["plan", "--extract"]).output
    assert "assumed" in text
    assert "350,000 prompts" in text
