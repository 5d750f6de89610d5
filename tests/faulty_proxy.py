"""A proxy before an HTTP server that fails as stores do: 5xx, slow, cut and lying answers, lost ones, by chance with a seed.

No request fails more than ``MOST_IN_A_ROW`` times running, so that whoever tries again bounded times gets through.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MOST_IN_A_ROW = 3
SLOW_S = (0.05, 0.6)
FAULTS = ("busy", "broken", "slow", "reset", "cut", "short", "lost")
"""503 SlowDown; 500 InternalError; slow; closed without an answer; a body that ends early; a body that is shorter than the object
and says that it is whole; done, but the answer is lost (writes alone)."""
_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"}


class FaultyProxy:
    """What the proxy does and has done.

    Attributes:
        rates: chance of each fault, by name.
        always: a fault for each request whose method and path it is called with, or None; goes before chance.
        before: called with method and path before a request is passed on, and the half of its body that has come.
        injected: how often each fault was made.
        requests: (method, path) of all.
    """

    def __init__(self, port: int, seed: int) -> None:
        self.upstream_port, self._random = port, random.Random(seed)
        self.rates: Mapping[str, float] = {}
        self.always: Callable[[str, str], str | None] = lambda method, path: None
        self.before: Callable[[str, str], None] = lambda method, path: None
        self.injected: Counter[str] = Counter()
        self.requests: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._in_a_row: Counter[tuple[str, ...]] = Counter()
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def choose(self, method: str, path: str, range_: str) -> str | None:
        """The fault of a request."""
        with self._lock:
            self.requests.append((method, path))
            fault = self.always(method, path)
            if fault is None:
                draw, key = self._random.random(), (method, path, range_)
                for name, rate in self.rates.items():
                    draw -= rate
                    if draw < 0:
                        fault = name
                        break
                is_write = method in ("PUT", "POST", "DELETE")
                is_unfit = (fault in ("cut", "short") and method != "GET") or (fault == "lost" and not is_write)
                if fault is None or is_unfit or self._in_a_row[key] >= MOST_IN_A_ROW:
                    self._in_a_row.pop(key, None)
                    return None
                self._in_a_row[key] += fault != "slow"
            self.injected[fault] += 1
            return fault

    def pause_s(self) -> float:
        with self._lock:
            return self._random.uniform(*SLOW_S)


@contextmanager
def faulty(port: int, *, seed: int = 0) -> Iterator[FaultyProxy]:
    """A proxy before 127.0.0.1:``port``, without faults until ``rates`` are set."""
    proxy = FaultyProxy(port, seed)

    class Handler(_Handler):
        owner = proxy

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    owner: FaultyProxy
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):  # the client went away, or was killed
            self.close_connection = True

    def _pass(self) -> None:
        proxy, method = self.owner, self.command
        fault = proxy.choose(method, self.path, self.headers.get("Range", ""))
        body = self._body(method)
        if fault == "reset":
            self.close_connection = True
            return
        if fault in ("busy", "broken"):
            code, name = (503, "SlowDown") if fault == "busy" else (500, "InternalError")
            self._answer(code, [("Content-Type", "application/xml")], _error(name), len(_error(name)))
            return
        if fault == "forbidden":
            self._answer(403, [("Content-Type", "application/xml")], _error("AccessDenied"), len(_error("AccessDenied")))
            return
        if fault == "slow":
            time.sleep(proxy.pause_s())
        upstream = http.client.HTTPConnection("127.0.0.1", proxy.upstream_port, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            if method in ("PUT", "POST"):
                headers["Content-Length"] = str(len(body))
            upstream.request(method, self.path, body=body or None, headers=headers)
            response = upstream.getresponse()
            data = response.read()
        finally:
            upstream.close()
        if fault == "lost":
            self.close_connection = True
            return
        kept = [(k, v) for k, v in response.getheaders() if k.lower() not in {*_HOP, "content-length"}]
        length = int(response.headers.get("Content-Length", len(data))) if method == "HEAD" else len(data)
        if fault == "short" and response.status in (200, 206):
            data = data[: len(data) // 2]
            length = len(data)
        if fault == "cut" and response.status in (200, 206):
            data = data[: len(data) // 2]
            self.close_connection = True
        self._answer(response.status, kept, data, length)

    def _body(self, method: str) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            self.owner.before(method, self.path)
            return b"".join(pieces)
        size = int(self.headers.get("Content-Length") or 0)
        half = self.rfile.read(size // 2)
        self.owner.before(method, self.path)
        return half + self.rfile.read(size - size // 2)

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, length: int) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
            self.wfile.flush()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def _error(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected {code}</Message></Error>".encode()
