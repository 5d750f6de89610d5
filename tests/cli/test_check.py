from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from gate.making import HOSTILE, build, write

from scanner.cli import main as entry

POLICY = """
rules:
  duplicates: {query: hygiene/large_groups, params: {max_images: %d}}
  takedown: {query: hygiene/leaked_images, params: {role: takedown}, required: %s}
"""


@pytest.fixture
def run(tmp_path):
    return Path(build(str(tmp_path / "run")).root)


@pytest.fixture
def call(monkeypatch, capsys):
    """``call(*arguments)`` is exit code, output and errors of ``scanner check``, as a shell would see them."""

    def run_it(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["scanner", "check", *map(str, arguments)])
        code = 0
        try:
            entry.main()
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    return run_it


@pytest.fixture
def policy(tmp_path):
    def written(max_images: int, *, required: bool = False, more: str = "") -> Path:
        path = tmp_path / "policy.yaml"
        path.write_text(POLICY % (max_images, str(required).lower()) + more)
        return path

    return written


def test_the_default_policy_answers(run, call):
    code, said, err = call(run)
    assert code == 1, "one of ten images cannot be read"
    assert "unreadable" in err
    assert "duplicate_count" in said
    assert said.splitlines()[-1].startswith("VIOLATED: pretraining on ")


def test_the_three_exit_codes(run, call, policy):
    assert call(run, "--policy", policy(3))[0] == 0
    code, said, err = call(run, "--policy", policy(2, required=True))
    assert code == 1
    assert "violates policy policy: duplicates." in err
    assert "| 0         3 " in said
    code, said, err = call(run, "--policy", policy(3, required=True))
    assert code == 2
    assert "could not tell of" in err
    assert "hygiene/leaked_images reads table" in said


def test_memory_and_threads_are_those_of_its_queries(run, call, policy, monkeypatch):
    from scanner.gate import check

    given = {}
    plain = check.connect

    def watched(store, **options):
        given.update(options)
        return plain(store, **options)

    monkeypatch.setattr(check, "connect", watched)
    assert call(run, "--policy", policy(3), "--memory", "700MB", "--threads", 1)[0] == 0
    assert given == {"memory": "700MB", "threads": 1, "scratch": ""}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["NOWHERE"], "not a run"),
        (["RUN", "--policy", "pretrainin"], "'pretraining'"),
        (["RUN", "--policy", "no/such.yaml"], "Cannot read"),
        (["RUN", "--policy", "BAD"], "'rules'"),
        (["RUN", "--waivers", "no/such.yaml"], "Cannot read"),
        (["RUN", "--policy", "GOOD", "--as-of", "soon"], "soon"),
        (["RUN", "--policy", "GOOD", "--junit", "no/such/folder/x.xml"], "Cannot write"),
        (["RUN", "--policy", "GOOD", "--limit", "-1"], "-1"),
        (["RUN", "--policy", "GOOD", "--memory", "much"], "much"),
        ([], "RUN"),
    ],
)
def test_what_cannot_be_judged_looks_neither_like_a_pass_nor_like_a_violation(arguments, said, run, call, policy, tmp_path):
    (tmp_path / "bad.yaml").write_text("rulez: {}")
    places = {"RUN": run, "NOWHERE": tmp_path / "none", "BAD": tmp_path / "bad.yaml", "GOOD": policy(3)}
    code, _, err = call(*(places.get(argument, argument) for argument in arguments))
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def test_a_mistake_of_ours_does_not_look_like_a_violation(run, call, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("scanner.pipelines.check.check", broken)
    code, _, err = call(run)
    assert code == 70
    assert "Traceback" in err


def test_a_reader_that_goes_away_does_not_make_it_pass(run, policy):
    command = [sys.executable, "-m", "scanner.cli.main", "check", str(run), "--policy", str(policy(2))]
    read, write_end = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert done.returncode == 1
    assert "violates policy" in done.stderr


def test_one_call_writes_every_form(run, call, policy, tmp_path, monkeypatch):
    write_group = [{"group_id": 0, "caption_hash": 1, "caption": HOSTILE, "num_images": 3}]
    from scanner.core.store import Store

    write(Store(str(run)), "group_captions", write_group)
    paths = {name: tmp_path / f"out.{name}" for name in ("json", "junit", "summary")}
    paths["summary"].write_text("before\n")
    options = [piece for name, path in paths.items() for piece in (f"--{name}", path)]
    step = tmp_path / "step.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    code, said, _ = call(run, "--policy", policy(2), "--format", "github", *options)
    assert code == 1
    assert "\n::error title=scanner check%3A duplicates::1 found" in said
    assert said.startswith("Policy policy on ")
    assert step.read_text().startswith("## VIOLATED")
    assert paths["summary"].read_text() == "before\n" + step.read_text()
    assert json.loads(paths["json"].read_text())["exit_code"] == 1
    assert ET.parse(paths["junit"]).getroot().get("failures") == "1"
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    code, said, _ = call(run, "--policy", policy(2), "--format", "github")
    assert said.startswith("## VIOLATED")
    code, said, _ = call(run, "--policy", policy(2), "--format", "junit")
    assert ET.fromstring(said.encode()).tag == "testsuites"
    code, said, _ = call(run, "--policy", policy(2), "--format", "json", "--limit", 0)
    (rule, _) = json.loads(said)["rules"]
    assert (rule["num_violators"], rule["violators"], rule["is_truncated"]) == (1, [], True)


def test_a_waiver_holds_until_its_day(run, call, policy, tmp_path):
    path = tmp_path / "waivers.yaml"
    path.write_text("waivers:\n- {rule: duplicates, where: {group_id: 0}, reason: our logo, expires: 2026-03-31}\n")
    arguments = (run, "--policy", policy(2), "--waivers", path, "--as-of")
    code, said, _ = call(*arguments, "2026-03-31")
    assert code == 0
    assert "our logo" in said
    assert "1 waived" in said.splitlines()[-1] or "waived" in said
    code, said, _ = call(*arguments, "2026-04-01")
    assert code == 1
    assert "EXPIRED on 2026-03-31" in said
    path.write_text("waivers:\n- {rule: duplicates, where: {grup_id: 0}, reason: our logo, expires: 2026-03-31}\n")
    code, _, err = call(*arguments, "2026-03-31")
    assert code == 2
    assert "'group_id'" in err


def test_the_command_that_is_shown_lists_the_violators(run, call, policy, monkeypatch, capsys):
    _, said, _ = call(run, "--policy", policy(2))
    import shlex

    (command,) = (line.split("as rows: ")[1] for line in said.splitlines() if "as rows: " in line)
    monkeypatch.setattr("sys.argv", [*shlex.split(command), "--format", "json"])
    entry.main()
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["group_id"], row["num_images"]) == (0, 3)


def test_check_does_not_load_what_it_does_not_need(run, policy):
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom scanner.cli.main import cli\n"
        f"assert CliRunner().invoke(cli, ['check', {str(run)!r}, '--policy', {str(policy(3))!r}]).exit_code == 0\n"
        "assert not {'torch', 'faiss', 'PIL', 'scipy'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
