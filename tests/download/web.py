"""A web of one server: images, and everything that goes wrong with them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from pictures import draw, encoded

HANG_S = 30.0


def picture(number: int) -> bytes:
    return encoded(draw(number), "JPEG", quality=92)


class Web(ThreadingHTTPServer):
    """Paths: ``/ok/N``, ``/missing/N``, ``/slow/N``, ``/page/N``, ``/to?url=…``, ``/flaky/N`` (503 once), ``/big/N``,
    ``/unsized/N``, ``/drip/N``. ``requests`` counts them by path."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: Counter[str] = Counter()
        self.hosts: set[str] = set()
        self.is_mended = False
        self.guard = threading.Lock()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        kind, _, number = split.path.strip("/").partition("/")
        with self.server.guard:
            self.server.requests[split.path] += 1
            self.server.hosts.add(self.headers["Host"])
            num_before = self.server.requests[split.path] - 1
        if self.server.is_mended and kind in ("slow", "flaky", "drip"):
            kind = "ok"
        if kind == "ok" or (kind == "flaky" and num_before):
            self.answer(200, picture(int(number)), "image/jpeg")
        elif kind == "missing":
            self.answer(404, b"gone")
        elif kind == "flaky":
            self.answer(503, b"later")
        elif kind == "page":
            self.answer(200, b"<!doctype html><title>not here</title>", "text/html")
        elif kind == "to":
            self.send_response(302)
            self.send_header("Location", parse_qs(split.query)["url"][0])
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif kind == "big":
            self.answer(200, bytes(int(number)))
        elif kind == "unsized":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(bytes(int(number)))
        elif kind == "drip":
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            for _ in range(int(HANG_S / 0.2)):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.2)
        elif kind == "slow":
            time.sleep(HANG_S)

    def answer(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


@contextmanager
def web() -> Iterator[Web]:
    server = Web()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
