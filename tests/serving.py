"""A server of the live pages inside the test's process, and a client that says what it got, down to the headers."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urlencode, urlsplit

from scanner.core.config import RunConfig
from scanner.core.store import Store
from scanner.report.serve.server import Server
from scanner.sources.base import Source


@dataclass(frozen=True)
class Answer:
    """What came back. ``headers`` by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def html(self) -> str:
        assert self.headers["content-type"] == "text/html; charset=utf-8"
        return self.body.decode()

    @property
    def page(self) -> Page:
        return Page(self.html)


class Page(HTMLParser):
    """Text, tags and attributes as a parser sees them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts, self.tags, self.attributes = [], [], []
        self.feed(html)
        self.close()

    def handle_data(self, data):
        self.texts.append(data)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.attributes if name == tag]

    def links(self, start: str = "") -> list[str]:
        return [attributes["href"] for attributes in self.all("a") if attributes["href"].startswith(start)]


class Client:
    """Asks a server at ``address``, which ends in the token and a slash."""

    def __init__(self, address: str, timeout: float = 120.0) -> None:
        parts = urlsplit(address)
        self.host, self.port, self.root, self.timeout = parts.hostname, parts.port, parts.path, timeout

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: object = None,
        root: str | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        try:
            connection.request(method, (self.root if root is None else root) + path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str, **parameters: object) -> Answer:
        return self.ask(f"{path}?{urlencode(parameters)}" if parameters else path)

    def upload(
        self, data: bytes, *, name: str = "image", filename: str = "x.png", headers: Mapping[str, str] | None = None
    ) -> Answer:
        edge = "edge-of-a-part"
        disposition = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"'
        head = f"--{edge}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n"
        body = head.encode() + data + f"\r\n--{edge}--\r\n".encode()
        given = {"Content-Type": f"multipart/form-data; boundary={edge}", **(headers or {})}
        return self.ask("alike", method="POST", headers=given, body=body)


@contextmanager
def serving(store: Store, config: RunConfig, open_sources: Callable[[], Mapping[str, Source]]) -> Iterator[Client]:
    """A server in a thread, stopped at the end."""
    with Server(store, config, open_sources) as server:
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            yield Client(server.address)
        finally:
            server.stop()
            thread.join(20)
            assert not thread.is_alive()
