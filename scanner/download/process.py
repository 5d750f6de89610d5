"""img2dataset as a process of its own: started behind the proxy, watched, ended with whatever it started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from scanner.core.download_config import DownloadConfig
from scanner.core.errors import SourceError
from scanner.download import worker
from scanner.download.proxy_process import fenced, proxy

LOG_FILE = "img2dataset.log"
LOOK_EVERY_S = 0.5
LEAST_STALL_S = 300.0
SHOWN_LINES = 3


def run_img2dataset(
    settings: dict[str, Any], folder: Path, config: DownloadConfig, *, max_pixels: int, look: Callable[[], int]
) -> None:
    """Runs it to its end; what it prints goes into a file of the folder.

    Args:
        settings: arguments of ``img2dataset.download``.
        look: called twice a second; returns something that grows while there is progress.

    Raises:
        SourceError: img2dataset is not there, failed, or came to a stand.
    """
    path = folder / "img2dataset.json"
    path.write_text(json.dumps(settings, indent=1), "utf-8")
    python = config.python or sys.executable
    with proxy(config) as proxy_url, (folder / LOG_FILE).open("ab") as log:
        environment = fenced(os.environ, proxy_url, max_pixels=max_pixels)
        # Ours is not to be seen by another interpreter: it may be of another version.
        environment.pop("PYTHONPATH", None)
        start = log.tell()
        try:
            process = subprocess.Popen(
                [python, str(Path(worker.__file__).resolve()), str(path)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise SourceError(f"{python} cannot be run: {error.strerror}.", next_step=_INSTALL) from error
        try:
            _watch(process, look, stall_s=max(LEAST_STALL_S, 5.0 * config.total_timeout_s))
        finally:
            _end(process)
    said = _last_lines(folder / LOG_FILE, start)
    if process.returncode == worker.NO_IMG2DATASET:
        raise SourceError(f"{python} has no img2dataset that works: {said}", next_step=_INSTALL)
    if process.returncode != 0:
        raise SourceError(
            f"img2dataset ended with {process.returncode}: {said}",
            next_step=f"Scan again: finished shards are kept. All that it printed is in {folder / LOG_FILE}.",
        )


_INSTALL = (
    "Lists of URLs are downloaded by img2dataset, best in an environment of its own with Python 3.12 or older:\n"
    '    python3.12 -m venv .venv-download && .venv-download/bin/pip install "setuptools<81" "img2dataset>=1.47"\n'
    "  then scan with --img2dataset .venv-download/bin/python."
)


def _watch(process: subprocess.Popen[bytes], look: Callable[[], int], *, stall_s: float) -> None:
    seen, last = look(), time.monotonic()
    while process.poll() is None:
        time.sleep(LOOK_EVERY_S)
        now = look()
        if now != seen:
            seen, last = now, time.monotonic()
        elif time.monotonic() - last > stall_s:
            raise SourceError(
                f"img2dataset has written nothing for {stall_s:.0f} s.", next_step="Scan again: finished shards are kept."
            )
    look()


def _end(process: subprocess.Popen[bytes]) -> None:
    """The whole group: img2dataset starts processes of its own."""
    if process.stdin is not None:
        process.stdin.close()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_lines(path: Path, start: int) -> str:
    with path.open("rb") as file:
        file.seek(start)
        lines = deque((line.decode("utf-8", "replace").strip() for line in file if line.strip()), maxlen=SHOWN_LINES)
    return " / ".join(lines) or "it printed nothing"
