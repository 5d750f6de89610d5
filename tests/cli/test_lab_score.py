"""``scanner lab score`` on a run whose truth is written by hand."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.cli import main as entry


@pytest.fixture
def scanner(monkeypatch, capsys):
    """Calls ``scanner`` as a shell would: exit code, output and errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["scanner", *map(str, arguments)])
        code = 0
        try:
            entry.main()
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def run(shards, tmp_path, scanner):
    assert scanner("scan", shards, "--out", tmp_path / "run", "--encoder", "pixels", "--workers", 1, "-q")[0] == 0
    return tmp_path / "run"


@pytest.fixture
def truth(tmp_path):
    """What the fixture ``shards`` planted: image 0 of each shard one file, image 1 one picture, image 2 broken, else once."""
    rows = []
    for s in range(3):
        for i in range(8):
            kind = "exact" if i == 0 or (i == 1 and s == 0) else "reencode" if i == 1 else "broken" if i == 2 else "unique"
            rows.append(
                {
                    "planted_id": i if i < 2 else 100 * s + i, "copy": s if i < 2 else 0, "key": f"{s}{i}",
                    "source_image": f"0{i}" if i < 2 else f"{s}{i}", "kind": kind, "k": 3 if i < 2 else 1,
                    "regime": "same" if i < 2 else "single", "family": None,
                    "caption": f"a picture {i}" if i < 2 else f"a picture {s} {i}",
                }
            )  # fmt: skip
    folder = tmp_path / "set"
    folder.mkdir()
    table = pa.Table.from_pylist(rows)
    pq.write_table(table.set_column(7, "family", pa.nulls(24, pa.int64())), folder / "truth.parquet")
    return folder


def test_a_run_is_scored(run, truth, scanner):
    code, said, err = scanner("lab", "score", run, "--truth", truth)
    assert (code, err) == (0, "")
    assert "pairs of one picture found               6/6 = 1.000" in said
    assert "reencode copies with their source        2/2 = 1.000" in said
    assert "rank correlation (Spearman)" in said
    code, said, _ = scanner("lab", "score", run, "--truth", truth / "truth.parquet", "--format", "json")
    score = json.loads(said)
    assert code == 0
    assert score["groups"]["pair_precision"]["num_hits"] == 6
    assert score["groups"]["by_k"]["3"]["macro_recall"]["num_items"] == 2
    assert score["ranking"]["num_prompts"] == 2
    assert score["ranking"]["num_unknown"] == 0


def test_errors_say_what_was_found_and_what_to_do(run, truth, tmp_path, scanner):
    def error(*arguments):
        code, said, err = scanner("lab", "score", *arguments)
        assert (code, said) == (2, "")
        assert "Traceback" not in err
        return err

    assert "does not exist" in error(run, "--truth", tmp_path / "nowhere")
    assert "holds no truth.parquet" in error(run, "--truth", run)
    assert "is not a run" in error(truth, "--truth", truth)
    table = pq.read_table(truth / "truth.parquet")
    other = tmp_path / "other.parquet"
    pq.write_table(table.slice(1), other)
    assert "1 of 24 keys of the run are not in the truth" in error(run, "--truth", other)
    pq.write_table(table.drop_columns(["kind"]), other)
    assert "no column kind" in error(run, "--truth", other)
    other.write_bytes(b"no parquet")
    assert "cannot be read" in error(run, "--truth", other)
    shutil.rmtree(run / "prompts")
    assert "has no table prompts" in error(run, "--truth", truth)
    shutil.rmtree(run / "groups")
    assert "has no table groups" in error(run, "--truth", truth)
    assert "--truth" in error(run)


def test_the_group_lists_its_commands(scanner):
    code, said, _ = scanner("lab", "--help")
    assert code == 0
    assert "score " in said
    code, said, _ = scanner("lab", "score", "--help")
    assert "scanner lab score demo-run/run --truth demo-run/data" in said
