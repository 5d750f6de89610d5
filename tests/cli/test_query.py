from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.cli import main as entry
from scanner.cli import rows, shell
from scanner.core.store import Store

THRESHOLDS = {"threshold": [0.95, 0.9], "num_groups": [1, 2], "num_grouped": [2, 5], "largest_group": [2, 3], "num_pairs": [1, 4]}


@pytest.fixture
def run(tmp_path):
    store = Store(str(tmp_path / "it's a run"))
    store.write_run({"config": {}})
    store.write_table("thresholds", pa.table(THRESHOLDS), fingerprint="a" * 64, part_rows=1)
    return tmp_path / "it's a run"


@pytest.fixture
def call(monkeypatch, capsys):
    def go(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["scanner", *map(str, arguments)])
        code = 0
        try:
            entry.main()
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


def piped(*arguments: object, stdin: str = "", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "scanner.cli.main", *map(str, arguments)],
        input=stdin.encode(), capture_output=True, check=False, env={**os.environ, **(env or {})},
    )  # fmt: skip


STATEMENT = (
    r"""select 1 as a, null as b, 'x,"y' as c, [1, 2] as d, '\xff'::blob as e, """
    r"""date '2024-01-02' as f, {'g': date '2024-01-02'} as g"""
)


def test_formats_hold_the_same(run, call):
    code, said, _ = call("sql", run, STATEMENT, "--format", "json")
    assert code == 0
    assert json.loads(said) == [
        {"a": 1, "b": None, "c": 'x,"y', "d": [1, 2], "e": "ff", "f": "2024-01-02", "g": {"g": "2024-01-02"}}
    ]
    assert said.startswith('[\n {\n  "a": 1,')
    _, said, _ = call("sql", run, STATEMENT, "--format", "csv")
    assert list(csv.reader(io.StringIO(said)))[1][:4] == ["1", "", 'x,"y', "[1, 2]"]
    assert call("sql", run, "select 1 as a where false", "--format", "json")[1] == "[]\n"
    assert call("sql", run, "select 1 as a where false", "--format", "csv")[1] == "a\n"


def test_parquet_is_piped(run):
    done = piped("sql", run, "select i, 'c' || i as t from range(200000) r(i) order by i", "--format", "parquet", "--threads", 1)
    assert done.returncode == 0, done.stderr
    table = pq.read_table(io.BytesIO(done.stdout))
    assert table["i"].to_pylist() == list(range(200_000))
    assert table["t"][199_999].as_py() == "c199999"
    done = piped("sql", run, "select 1 as a where false", "--format", "parquet")
    assert pq.read_table(io.BytesIO(done.stdout)).num_rows == 0


def test_a_long_table_is_cut_and_says_so(run, call, monkeypatch):
    monkeypatch.setattr(rows, "MOST_ROWS", 3)
    monkeypatch.setattr(rows, "BLOCK_ROWS", 2)
    _, said, error = call("sql", run, "select i from range(4) r(i)")
    assert said.splitlines()[-1] == "(3 rows)"
    assert "first 3" in error
    _, said, error = call("sql", run, "select i from range(3) r(i)")
    assert (said.splitlines()[-1], error) == ("(3 rows)", "")
    assert call("sql", run, "select i from range(5) r(i)", "--format", "csv")[1].split() == ["i", "0", "1", "2", "3", "4"]
    assert len(json.loads(call("sql", run, "select i from range(5) r(i)", "--format", "json")[1])) == 5


@pytest.mark.parametrize("format_", ["json", "parquet"])
def test_two_columns_of_one_name_are_not_made_one(run, call, format_):
    code, _, error = call("sql", run, "select 1 as a, 2 as a", "--format", format_)
    assert code == 2
    assert "'a'" in error


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["sql", "RUN"], "--export"),
        (["sql", "RUN", "select 1", "--export", "x.duckdb"], "either"),
        (["sql", "RUN", "select 1", "--force"], "--export"),
        (["sql", "RUN", "--export", "x.duckdb", "--other", "RUN"], "--other"),
        (["sql", "RUN", "select 1", "--memory", "much"], "memory"),
        (["sql", "RUN", "select 1", "--threads", "0"], "threads"),
        (["sql", "RUN", "select 1", "--scratch", "no/such"], "scratch"),
        (["sql", "RUN", "copy thresholds to 'x.csv'"], "reads"),
        (["sql", "RUN", "select * from prompts"], "scanner scan"),
        (["query", "RUN", "extraction/verdicts"], "scanner extract"),
        (["query", "RUN", "groups/runs_compared"], "--other"),
        (["query", "RUN", "groups/runs_compared", "--other", "RUN"], "table images"),
        (["query", "RUN", "groups/runs_compared", "--other", "NONE"], "not a run"),
        (["shell", "NONE"], "not a run"),
    ],
)
def test_errors_say_what_to_do(run, call, tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    places = {"RUN": run, "NONE": tmp_path / "none"}
    code, _, error = call(*(places.get(argument, argument) for argument in arguments))
    assert code == 2
    assert told in error
    assert "Traceback" not in error
    assert [entry.name for entry in tmp_path.iterdir()] == [run.name]


def test_other_runs_tables(run, call):
    statement = "select count(*) as n from thresholds join other.thresholds using (threshold)"
    code, said, _ = call("sql", run, statement, "--other", run, "--format", "csv")
    assert (code, said) == (0, "n\n2\n")


def test_export(run, call, tmp_path):
    path = tmp_path / "risk.duckdb"
    code, said, _ = call("sql", run, "--export", path)
    assert code == 0
    assert "1 tables, 2 rows" in said
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute("select count(*) from thresholds").fetchall() == [(2,)]
    assert call("sql", run, "--export", path)[0] == 2
    assert call("sql", run, "--export", path, "--force")[0] == 0


def test_the_plain_prompt_takes_statements_from_a_pipe(run):
    done = piped("shell", run, "--plain", stdin=".tables\n\nselect count(*)\n  as n from thresholds;\nselect 2 as m\n")
    assert done.returncode == 0, done.stderr
    # Reviews are empty until somebody writes one.
    assert [line.split()[0] for line in done.stdout.splitlines()[:2]] == [b"reviews", b"thresholds"]
    assert b"thresholds               one row per swept threshold" in done.stdout
    assert [line.split() for line in done.stdout.splitlines()[2:]] == [
        [b"n"], [b"-"], [b"2"], [b"(1", b"rows)"], [b"m"], [b"-"], [b"2"], [b"(1", b"rows)"],
    ]  # fmt: skip
    done = piped("shell", run, "--plain", stdin="drop view thresholds;\nselect 1 as after;\n")
    assert done.returncode == 2
    assert b"after" not in done.stdout
    assert b"Traceback" not in done.stderr


def test_the_plain_prompt_goes_on_after_an_error_at_a_terminal(run, call, monkeypatch):
    lines = iter(["selec 1;", ".nothing", "select 41 +", "1 as n;", ".quit", "select 'never';"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    code, said, error = call("shell", run, "--plain")
    assert code == 0
    assert "42" in said
    assert "never" not in said
    assert sum(line.startswith("Error:") for line in error.splitlines()) == 2


def test_without_the_program_the_prompt_says_how_to_get_it(run, call, monkeypatch):
    monkeypatch.setattr(shell, "find_program", lambda: None)
    monkeypatch.setattr("builtins.input", lambda _: ".quit")
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    code, _, error = call("shell", run)
    assert code == 0
    assert "pip install duckdb-cli" in error


def test_the_program_is_started_with_everything_loaded_and_locked(run, tmp_path):
    """A stand-in for the DuckDB command line runs the script that it is given in DuckDB itself, statement by statement."""
    program = tmp_path / "bin" / "duckdb"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys, duckdb\n"
        "assert sys.argv[1] == '-init' and sys.argv[3] == '-cmd' and sys.argv[5] == ':memory:', sys.argv\n"
        "script = open(sys.argv[2]).read()\n"
        "lines = script.split('\\n')\n"
        "assert lines[0] == '.bail on' and lines[-2] == '.bail off'\n"
        "c = duckdb.connect()\n"
        "for s in duckdb.extract_statements('\\n'.join(lines[1:-2])): c.execute(s)\n"
        "c.execute(sys.argv[4])\n"
        "print(c.execute('select count(*), host(\\'http://A/\\') from thresholds').fetchall())\n"
        "for s in ['set threads = 1', 'copy (select 1) to \\'out.csv\\'', 'from read_text(\\'/etc/hostname\\')']:\n"
        "    try: c.execute(s); print('DONE', s)\n"
        "    except duckdb.Error: print('refused')\n"
        "sys.exit(7)\n"
    )
    program.chmod(0o755)
    done = piped("shell", run, "--threads", 1, env={"PATH": f"{program.parent}:{os.environ['PATH']}"})
    assert done.returncode == 7, done.stderr
    assert done.stdout.decode().splitlines() == ["[(2, 'a')]", "refused", "refused", "refused"]


@pytest.mark.skipif(shell.find_program() is None, reason="no DuckDB command line here")
def test_the_real_program(run, tmp_path):
    statements = (
        "select count(*) as n, host('https://A.org/') as h from thresholds;\ncopy (select 1) to 'out.csv';\nselect 42 as after;\n"
    )
    done = piped("shell", run, stdin=statements)
    assert b"a.org" in done.stdout
    assert b"42" in done.stdout
    assert b"Permission Error" in done.stderr or b"Permission" in done.stdout
    assert not Path("out.csv").exists()
