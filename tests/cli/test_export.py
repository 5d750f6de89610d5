"""``scanner export`` as a shell sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from export.making import Group, make_run
from pictures import draw, encoded, sample, write_tar

from scanner.cli.main import cli
from scanner.core.errors import ScannerError


@pytest.fixture
def made(tmp_path):
    (tmp_path / "set").mkdir()
    members = [m for i in range(6) for m in sample(f"{i:03d}", encoded(draw(i, size=(20 + i, 20))), f"caption {i}")]
    write_tar(tmp_path / "set" / "00000.tar", members)
    groups = [Group(members=["002", "000", "001"]), Group(members=["003", "004"], class_="template")]
    return make_run(tmp_path / "run", {"set": str(tmp_path / "set")}, groups)


def call(made, *arguments: object):
    return CliRunner().invoke(cli, ["export", made.store.url, *map(str, arguments)])


def test_an_export_is_told_and_can_be_asked_in_sql(made, tmp_path):
    done = call(made, "--to", tmp_path / "out", "--as", "ids,tars", "--as", "hf", "--also", "template", "--shard-samples", 2)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "3 images stay" in done.output
    assert "3 go" in done.output
    assert "by resolution" in done.output
    assert sorted(path.name for path in (tmp_path / "out" / "tars").iterdir()) == ["00000.tar", "00001.tar"]
    asked = CliRunner().invoke(
        cli, ["sql", str(tmp_path / "out"), "select count(*) as n from keep where not is_kept", "--format", "json"]
    )
    assert json.loads(asked.output) == [{"n": 3}]
    counted = CliRunner().invoke(cli, ["query", str(tmp_path / "out"), "export/removed", "--format", "json"])
    assert [(row["key"], row["because_of_key"]) for row in json.loads(counted.output)] == [
        ("000", "002"), ("001", "002"), ("004", "003"),
    ], "tables of the run are there too"  # fmt: skip
    for command in ("status", "report"):
        refused = CliRunner().invoke(cli, [command, str(tmp_path / "out")])
        assert "export" in str(refused.exception)


def test_a_dry_run_needs_no_place_and_writes_nothing(made, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    done = call(made, "--dry-run", "--keep", 2)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "at 0.9 (as scanned): 1 images" in done.output
    assert "Nothing was written." in done.output
    assert sorted(tmp_path.rglob("*")) == before


def test_a_config_gives_the_policy_and_flags_win(made, tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text(
        yaml.safe_dump({"keep": {"prefer": ["num_bytes asc"], "images_a_group": 2}, "export": {"formats": ["curator"]}})
    )
    done = call(
        made, "--to", tmp_path / "out", "--config", file, "--keep", 1, "--prefer", "caption_length", "--prefer", "random 4", "-q"
    )
    assert done.exit_code == 0, (done.output, done.exception)
    assert done.output == ""
    described = yaml.safe_load((tmp_path / "out" / "export.yaml").read_text())
    assert described["keep"]["prefer"] == ["caption_length", "random 4"]
    assert described["keep"]["images_a_group"] == 1
    assert described["formats"] == ["curator"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--to"),
        (["--to", "OUT", "--prefer", "resolutoin"], "Did you mean 'resolution'"),
        (["--to", "OUT", "--prefer", "resolution dsc"], "desc"),
        (["--to", "OUT", "--require", "width"], "forms are"),
        (["--to", "OUT", "--as", "tar"], "Did you mean 'tars'"),
        (["--to", "OUT", "--also", "templates"], "Did you mean 'template'"),
        (["--to", "OUT", "--kinds", "nearly"], "Did you mean 'near'"),
        (["--to", "OUT", "--threshold", 0.5], "scanned at 0.9"),
        (["--to", "OUT", "--keep", 0], "images_a_group"),
        (["--to", "OUT", "--join", "no/such.parquet"], "no/such.parquet"),
        (["--to", "RUN"], "is a run"),
    ],
)
def test_errors_say_what_was_found(made, tmp_path, arguments, said):
    places = {"OUT": tmp_path / "out", "RUN": Path(made.store.url)}
    done = call(made, *(places.get(argument, argument) for argument in arguments))
    assert isinstance(done.exception, ScannerError | SystemExit)
    assert said in (str(done.exception) if isinstance(done.exception, ScannerError) else done.output)
    assert "Traceback" not in done.output
