from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from scanner.cli.main import cli
from scanner.plan.page import plan_page
from scanner.plan.rates import shipped_rates

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


@pytest.mark.parametrize("example", re.findall(r"```sh\n(scanner plan .*?)\n```\n\n```text\n(.*?)\n```", plan_page(), flags=re.S))
def test_the_examples_are_what_the_command_prints(example):
    command, shown = example
    result = CliRunner().invoke(cli, command.split()[1:])
    assert result.exit_code == 0, result.output
    assert result.output.startswith(shown + "\n\nRates:\n")


def test_there_are_two_examples_and_every_rate():
    page = plan_page()
    assert page.count("```text") == 2
    for rate in shipped_rates():
        assert f"\n- `{rate.name}`: " in page


def help_of(command):
    return " ".join(CliRunner().invoke(cli, [command, "--help"]).output.split())


def test_the_two_plans_are_told_apart():
    assert "It is not `scanner run CONFIG --plan`" in plan_page()
    assert "scanner run CONFIG --plan" in help_of("plan")
    assert "see scanner plan" in help_of("run")
    assert "`scanner plan --images 5e9 --gpus 8 --model ViT-L-14`" in README
