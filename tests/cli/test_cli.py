from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from scanner.cli import main as entry
from scanner.cli.scan import _names


def call(monkeypatch, capsys, *arguments: object) -> tuple[int, str, str]:
    """Exit code, output and errors of ``scanner`` with these arguments, as a shell would see them."""
    monkeypatch.setattr("sys.argv", ["scanner", *map(str, arguments)])
    code = 0
    try:
        entry.main()
    except SystemExit as error:
        code = int(error.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def run(shards, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    code, said, _ = call(monkeypatch, capsys, "scan", shards, "--out", out, "--encoder", "pixels", "--workers", 1)
    assert code == 0
    assert "24 images" in said
    assert "Captions to worry about first" in said
    return out


def test_a_run_answers(run, shards, monkeypatch, capsys):
    code, said, _ = call(monkeypatch, capsys, "query", run, "risk/top_captions", "--param", "limit=1", "--format", "json")
    assert code == 0
    assert [row["caption"] for row in json.loads(said)] == ["a picture 0"]
    code, said, _ = call(monkeypatch, capsys, "query", run)
    assert "risk/top_captions" in said
    code, said, _ = call(monkeypatch, capsys, "sql", run, "select count(*) as n from images", "--format", "csv")
    assert said == "n\n24\n"
    code, said, _ = call(monkeypatch, capsys, "status", run)
    assert "24 rows" in said
    code, said, _ = call(monkeypatch, capsys, "clean", run, "--dry-run")
    assert (code, said.splitlines()[-1]) == (0, "1 files would be removed")
    assert call(monkeypatch, capsys, "clean", run)[0] == 0
    assert call(monkeypatch, capsys, "clean", run)[1] == "0 files removed\n"
    (run / "report.html").unlink()
    code, said, _ = call(monkeypatch, capsys, "report", run)
    assert code == 0
    assert (run / "report.html").exists()
    code, said, _ = call(monkeypatch, capsys, "report", run, "--redact")
    assert code == 0
    assert "report-redacted.html" in said
    assert "a picture 0" in (run / "report.html").read_text()
    assert "a picture 0" not in (run / "report-redacted.html").read_text()
    shutil.rmtree(shards)
    assert call(monkeypatch, capsys, "report", run)[0] == 0, "a report needs no originals"


def test_a_terminal_is_not_written_to_by_captions(run, monkeypatch, capsys):
    _, said, _ = call(monkeypatch, capsys, "sql", run, "select chr(27) || '[31mred' as caption")
    assert "\x1b" not in said
    assert "[31mred" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scan", "no/such/place", "--out", "OUT", "--encoder", "pixels"], "no/such/place"),
        (["scan", "--out", "OUT"], "nothing to scan"),
        (["scan", "SHARDS", "--out", "OUT", "--encoder", "pixel"], "pixels"),
        (["scan", "SHARDS", "--out", "OUT", "--format", "webdatset"], "webdataset"),
        (["scan", "SHARDS", "--out", "OUT", "--encoder", "pixels", "--threshold", "7"], "threshold"),
        (["run", "demmo"], "demo"),
        (["run", "demo"], "--out"),
        (["query", "OUT", "risk/top_captions"], "not a run"),
        (["status", "OUT"], "not a run"),
        (["tables", "group"], "groups"),
        (["scna"], "scan"),
    ],
)
def test_errors_say_what_was_found_and_leave_no_traceback(arguments, said, shards, tmp_path, monkeypatch, capsys):
    places = {"OUT": tmp_path / "out", "SHARDS": shards}
    code, _, err = call(monkeypatch, capsys, *(places.get(argument, argument) for argument in arguments))
    assert code == 2
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["demo", "laion400m", "laion2b"])
def test_a_plan_prints_the_resolved_config_and_does_nothing(name, monkeypatch, capsys):
    code, said, _ = call(monkeypatch, capsys, "run", name, "--plan")
    assert code == 0
    assert "by_encoder" not in said
    assert "embed" in said


def test_every_help_has_an_example():
    for name in entry.COMMANDS:
        result = CliRunner().invoke(entry.cli, [name, "--help"])
        assert result.exit_code == 0
        assert f"scanner {name}" in result.output, name


def test_names_of_sources_are_told_apart():
    assert _names(("a/train/", "b/train", "c/train", "x/{0..3}.tar")) == ["train", "train-2", "train-3", "set"]


def test_the_search_and_its_recall_are_told_and_missing_it_has_an_exit_code(shards, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    scan = ("scan", shards, "--out", out, "--encoder", "pixels", "--workers", 1, "--memory", "4GB", "--scratch", tmp_path / "s")
    code, said, _ = call(monkeypatch, capsys, *scan)
    assert code == 0
    assert "search join: a sampled image finds 1.0000 [" in said
    run_yaml = (out / "run.yaml").read_text()
    assert "name: join" in run_yaml
    assert "recall_asked: 1.0" in run_yaml
    code, said, _ = call(monkeypatch, capsys, *scan, "--search", "cells", "--recall", 0.5)
    assert code == 0
    assert "search cells: a sampled image finds 1.0000 [" in said

    from scanner.search import searches

    def lose_all(self, *, on_tile=None):
        yield from ()

    monkeypatch.setattr(searches.CellsJoin, "blocks", lose_all)
    code, said, error = call(monkeypatch, capsys, *scan, "--search", "cells", "--recall", 0.9)
    assert code == 3
    assert "0.9 WAS ASKED FOR" in said
    assert "finds 0.0000 of its neighbours; 0.9 was asked for" in error
    assert "--search join" in error
    code, said, _ = call(monkeypatch, capsys, "query", out, "hygiene/recall_by_band", "--format", "json")
    assert json.loads(said)[0]["recall"] == 0


@pytest.mark.parametrize(
    ("flag", "value", "told"),
    [("--memory", "much", "size such as 16GB"), ("--recall", 1, "less than 1"), ("--recall", 0, "greater than 0")],
)
def test_settings_of_the_search_that_are_none_are_told(shards, tmp_path, monkeypatch, capsys, flag, value, told):
    code, _, error = call(monkeypatch, capsys, "scan", shards, "--out", tmp_path / "run", "--encoder", "pixels", flag, value)
    assert code == 2
    assert told in error
