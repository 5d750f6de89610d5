"""Part 1, must show 5: killed at any moment, a scan goes on where it was and ends with the same tables."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scanner.core.schemas import TABLES
from scanner.core.store import Store
from scanner.lab.planted import make_planted

SEED = 5
NUM_SHARDS = 14


def start(source: Path, out: Path, moment: str) -> subprocess.CompletedProcess:
    script = Path(__file__).with_name("killable.py")
    environment = {**os.environ, "SCANNER_TEST_MARK": str(out)}
    return subprocess.run(
        [sys.executable, script, source, out, moment], capture_output=True, text=True, check=False, env=environment
    )


def states(out: Path) -> dict[str, tuple[int, int]]:
    return {str(f.relative_to(out)): (f.stat().st_ino, f.stat().st_mtime_ns) for f in out.glob("*/part-*.parquet")}


def tables_of(out: Path) -> dict[str, list]:
    store = Store(str(out))
    return {
        name: store.read(name).sort_by([(key, "ascending") for key in TABLES[name].key]).to_pylist()
        for name in TABLES
        if store.manifest(name)
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    planted = make_planted(str(tmp_path_factory.mktemp("set")), num_images=50 * NUM_SHARDS, seed=SEED, shard_rows=50)
    return Path(planted.source_url)


@pytest.fixture(scope="module")
def undisturbed(source, tmp_path_factory) -> tuple[dict[str, list], dict[str, float], int]:
    """Tables, seconds a stage, and number of files written of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("undisturbed")
    done = start(source, out, "never")
    assert done.returncode == 0, done.stderr
    took = {name: float(seconds) for name, seconds in (line.split() for line in done.stdout.splitlines())}
    assert len(list((out / "images").glob("part-*"))) >= 12
    return tables_of(out), took, len(states(out))


def moments(took: dict[str, float], num_files: int) -> list[str]:
    """Ten moments: every stage at least once, the long one more often, four inside a write."""
    rng = random.Random(SEED)
    inside = [
        f"write:{rng.randint(lo, hi)}:{rng.random():.2f}"
        for lo, hi in ((3, 8), (9, 20), (21, 31), (num_files - 4, num_files + 2))
    ]
    # The pass begins with the start of its workers; the later spans fall between its parts.
    spans = [
        ("embed", 0.1, 0.6),
        ("embed", 0.7, 0.85),
        ("embed", 0.92, 0.99),
        *((name, 0.1, 0.9) for name in ("neighbors", "risk", "report")),
    ]
    return inside + [f"stage:{stage}:{rng.uniform(low, high) * took[stage]:.3f}" for stage, low, high in spans]


def test_ten_kills_change_nothing(source, undisturbed, tmp_path):
    tables, took, num_files = undisturbed
    print(f"\nundisturbed: {num_files} parts; " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in took.items()))
    for moment in moments(took, num_files):
        out = tmp_path / moment.replace(":", "-")
        killed = start(source, out, moment)
        assert killed.returncode == -signal.SIGKILL, f"{moment}: ended by itself with {killed.returncode}: {killed.stderr[-500:]}"
        finished = states(out)
        again = start(source, out, "never")
        assert again.returncode == 0, f"{moment}: {again.stderr}"
        kept = states(out)
        assert {name: kept[name] for name in finished} == finished, f"{moment}: a finished part was written again"
        assert tables_of(out) == tables, f"{moment}: the tables differ"
        # Table shards is written before and after the pass; its first part stays until `scanner clean`, killed or not.
        left = [p for p in Store(str(out)).unlisted() if not Path(p).name.startswith(".tmp-") and "/shards/" not in p]
        assert left == [], f"{moment}: {left}"
        print(f"{moment}: {len(finished)} parts were finished, {len(kept) - len(finished)} made after, tables equal")


def test_no_worker_outlives_a_killed_scan(source, undisturbed, tmp_path):
    _, took, _ = undisturbed
    assert start(source, tmp_path / "run", f"stage:embed:{took['embed'] * 0.5:.3f}").returncode == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (alive := _alive(str(tmp_path / "run"))):
        time.sleep(0.2)
    assert not alive


def _alive(mark: str) -> list[str]:
    """Command lines of processes that name ``mark``, or were started by one that did and lost their parent."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if mark in command or f"SCANNER_TEST_MARK={mark}".encode() in environment:
            found.append(command)
    return found


def test_a_rerun_says_that_nothing_was_recomputed_and_an_append_leaves_old_parts(source, scanner, tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    tars = sorted(Path(source).glob("*.tar"))
    for tar in tars[1:]:
        os.link(tar, shards / tar.name)
    out = tmp_path / "run"
    arguments = ("scan", shards, "--out", out, "--encoder", "pixels", "--part-rows", 40)
    scanner(*arguments)
    before = states(out)
    assert "Nothing was recomputed" in scanner(*arguments).out
    assert states(out) == before
    os.link(tars[0], shards / tars[0].name)
    said = scanner(*arguments).out
    assert "Nothing was recomputed" not in said
    after = states(out)
    old = {name: state for name, state in before.items() if name.startswith(("images/", "embeddings/"))}
    assert {name: after[name] for name in old} == old
    assert len([name for name in after if name.startswith("images/")]) == len(tars)
