"""Starts the proxy in a process of its own, and says to others how to go through it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from scanner.core.download_config import DownloadConfig, host_and_port
from scanner.core.errors import ScannerError
from scanner.download.proxy import USER

MAX_PIXELS_VARIABLE = "OPENCV_IO_MAX_IMAGE_PIXELS"


@contextmanager
def proxy(config: DownloadConfig) -> Iterator[str]:
    """The URL of a proxy that runs as long as the block does.

    Raises:
        ScannerError: it does not start.
    """
    token = secrets.token_urlsafe(24)
    settings = {
        "token": token,
        "timeout_s": config.timeout_s,
        "total_timeout_s": config.total_timeout_s,
        "max_bytes": config.max_image_mb * 2**20,
        "allowed": [host_and_port(address) for address in config.allow_addresses],
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "scanner.download.proxy"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        start_new_session=True,  # an interrupt is for the scan, which ends the proxy last
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(settings).encode() + b"\n")
        process.stdin.flush()
        port = process.stdout.readline().strip()
        if not port.isdigit():
            raise ScannerError("The proxy that downloads go through did not start.", next_step="What it printed is above.")
        yield f"http://{USER}:{token}@127.0.0.1:{port.decode()}"
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def fenced(environment: Mapping[str, str], proxy_url: str, *, max_pixels: int) -> dict[str, str]:
    """An environment in which urllib takes the proxy for every scheme it knows, nothing calls home, and decoders have a limit."""
    kept = {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
    # ftp too: urllib follows a redirect to it, and without a proxy would go there itself.
    ways = {f"{scheme}_proxy": proxy_url for scheme in ("http", "https", "ftp", "all")}
    return {
        **kept,
        **ways,
        **{name.upper(): value for name, value in ways.items()},
        "no_proxy": "",
        "NO_PROXY": "",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "WANDB_MODE": "disabled",
        "WANDB_DISABLED": "true",
        "WANDB_ERROR_REPORTING": "false",
        "HF_HUB_OFFLINE": "1",
        MAX_PIXELS_VARIABLE: str(max_pixels),
    }
