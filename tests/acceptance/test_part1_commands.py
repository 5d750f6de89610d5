"""Part 1, must show 1, 7 and 8: the two commands on a fresh machine, quick answers, a wheel in an empty environment."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
HEAVY = ("torch", "torchvision", "open_clip", "faiss", "diffusers", "transformers")
MAX_CPU_S = 0.5


@pytest.fixture(scope="module")
def run(scanner, tmp_path_factory):
    """A finished run."""
    out = tmp_path_factory.mktemp("demo")
    scanner("demo", "--out", out, "--images", 400)
    return out / "run"


def cpu_seconds(arguments: list[str]) -> float:
    """User and system seconds of one call of the command, children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Where Python is told to keep nothing of what it compiles, every call compiles all of it.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-m", "scanner.cli.main", *arguments], check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(
    "arguments", [["--help"], ["scan", "--help"], ["query", "RUN", "risk/top_captions"], ["status", "RUN"], ["tables"]]
)
def test_answers_at_once(run, arguments):
    """Must show 7: no heavy import, under half a second of CPU (the least of three calls: other work only adds)."""
    arguments = [str(run) if argument == "RUN" else argument for argument in arguments]
    code = f"import sys; sys.argv = ['scanner', *{arguments!r}]\nfrom scanner.cli.main import main\n"
    code += "try: main()\nexcept SystemExit: pass\n"
    code += f"print('LOADED', [m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []", done.stdout.splitlines()[-1]
    seconds = min(cpu_seconds(arguments) for _ in range(3))
    print(f"\nscanner {' '.join(arguments)}: {seconds:.2f} s of CPU")
    assert seconds < MAX_CPU_S


def clone(place: Path) -> Path:
    """What a stranger gets: the last commit, nothing that git does not track."""
    target = place / "clone"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(target)], check=True)
    return target


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    return clone(tmp_path_factory.mktemp("fresh"))


def make(folder: Path, target: str) -> tuple[str, float]:
    environment = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH", "SCANNER_SHARED")}
    start = time.perf_counter()
    done = subprocess.run(["make", target], cwd=folder, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout, time.perf_counter() - start


def test_make_demo_in_a_fresh_clone(fresh):
    """Must show 1: set up and the main job."""
    out, seconds = make(fresh, "demo")
    print(f"\nmake demo, setting up included: {seconds:.0f} s\n{out}")
    assert "Captions to worry about first" in out
    assert (fresh / "demo-run" / "run" / "report.html").exists()
    assert "groups that mix pictures: 0" in out


def test_make_test_in_a_fresh_clone(fresh):
    """Must show 1: the tests, without shared data."""
    out, seconds = make(fresh, "test")
    print(f"\nmake test: {seconds:.0f} s: {out.splitlines()[-1]}")
    assert re.search(r"\d+ passed", out)
    assert "failed" not in out
    assert seconds < 15 * 60


def test_a_wheel_in_an_empty_environment_runs_the_demo(fresh, tmp_path):
    """Must show 8."""
    uv = fresh / ".venv" / "bin" / "uv"
    if not uv.exists():
        make(fresh, "setup")
    subprocess.run([uv, "build", "--quiet", "--wheel", "--out-dir", tmp_path / "dist", fresh], check=True)
    (wheel,) = (tmp_path / "dist").glob("trainscan-*.whl")
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv"], check=True, env=environment)
    into = {**environment, "VIRTUAL_ENV": str(tmp_path / "venv")}
    constraints = fresh / "requirements.lock"
    subprocess.run([uv, "pip", "install", "--quiet", "--constraint", constraints, f"{wheel}[cpu]"], check=True, env=into)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [tmp_path / "venv" / "bin" / "scanner", "demo", "--out", "demo-run", "--images", "400"]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert (elsewhere / "demo-run" / "run" / "report.html").exists()
    listed = subprocess.run(
        [command[0], "query", "demo-run/run"], cwd=elsewhere, capture_output=True, text=True, check=True
    ).stdout
    assert "risk/top_captions" in listed
    print(f"\n{wheel.name}: {wheel.stat().st_size / 2**10:,.0f} KiB\n{done.stdout.splitlines()[-2]}")
    top = {name.split("/")[0] for name in _names(wheel)}
    assert top == {"scanner", f"trainscan-{wheel.name.split('-')[1]}.dist-info"}, "nothing generic goes into site-packages"


def _names(wheel: Path) -> list[str]:
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()
