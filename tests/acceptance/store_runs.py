"""Runs on an object store and beside it: commands called, tables compared, processes killed amid a request."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from acceptance import formats

from scanner.core.schemas import TABLES
from scanner.core.store import Store

TIMEOUT_S = 600.0


def call(*arguments: object, env: dict[str, str] | None = None, code: int = 0) -> subprocess.CompletedProcess:
    """The command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "scanner.cli.main", *map(str, arguments)],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env={**os.environ, **(env or {})},
    )  # fmt: skip
    assert done.returncode == code, f"{arguments}: {done.returncode}: {done.stderr[-3000:]}"
    return done


def tables_of(run: str | Path, *, without: tuple[str, ...] = ()) -> dict[str, list]:
    """Every table by its key; etags are the store's own."""
    store = Store(str(run))
    found = {}
    for name in TABLES:
        if name in without or not store.manifest(name):
            continue
        rows = store.read(name).sort_by([(key, "ascending") for key in TABLES[name].key])
        found[name] = rows.drop_columns([c for c in ("etag",) if c in rows.column_names]).to_pylist()
    return found


def parts_of(s3, run: str) -> dict[str, tuple[str, str]]:
    """The parts of a run, each by its etag and the time when it was written."""
    found = s3.fs().find(run.removeprefix("s3://"), detail=True)
    return {name: (info["ETag"], str(info["LastModified"])) for name, info in found.items() if "/part-" in name}


def make_all(tars: Path, folder: Path) -> dict[str, Path]:
    """The same pictures in four forms, some of them spoilt."""
    pictures = formats.first_pictures(tars, 150)
    spoilt = {3: pictures[3].data[:200], 4: b"", 5: b"no picture at all"}
    pictures = [
        formats.Picture(name=p.name, extension=p.extension, data=spoilt.get(i, p.data), caption=p.caption)
        for i, p in enumerate(pictures)
    ]
    makers = {"folder": formats.make_folder, "tars": formats.make_tars, "hf": formats.make_hf_parquet,
              "plain": formats.make_plain_parquet}  # fmt: skip
    return {name: make(pictures, folder / name / "set") for name, make in makers.items()}


def kill_at(proxy, number: int, process: list) -> None:
    """Kills the process when half of its N-th PUT has come."""
    count = 0

    def before(method: str, path: str) -> None:
        nonlocal count
        if method == "PUT":
            count += 1
            if count == number:
                os.kill(process[0].pid, signal.SIGKILL)
                process[0].wait()

    proxy.before = before


def start(source: str, out: str, moment: str, env: dict[str, str]) -> subprocess.Popen:
    script = Path(__file__).with_name("killable.py")
    return subprocess.Popen(
        [sys.executable, script, source, out, moment], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **env},
    )  # fmt: skip
