"""A loopback HTTP proxy that reaches only what it may: the fence around a downloader that follows any URL and redirect.

Each hop of a download comes here as a request of its own, redirects included: ``GET http://…`` to be forwarded, or ``CONNECT``
for a tunnel of TLS. The name is resolved here, the addresses are judged (``addresses``) and the connection goes to one that was
judged. What is refused is answered with a status and a reason that the downloader writes down. Sizes and times are limited here
too, for urllib limits neither.

One process, its own: ``python -m scanner.download.proxy`` reads its settings as one line of JSON, answers with its port, and ends
when its standard input does, so that none is left behind.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import os
import re
import socket
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from scanner.download.addresses import AddressPolicy

MAX_HEAD_BYTES = 65_536
MAX_SENT_BYTES = 2**20
"""That a client may send through a tunnel: requests, and no uploads."""
TLS_OVERHEAD = 1.05
BLOCK_BYTES = 65_536
RESOLVERS = 64
USER = "scanner"

_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxySettings:
    """Attributes:
    token: that a client must show, so that nobody else on this machine uses the proxy.
    timeout_s: for resolving, for connecting, and for each block.
    total_timeout_s: of a connection, however steadily it drips.
    max_bytes: of an answer.
    """

    token: str
    timeout_s: float
    total_timeout_s: float
    max_bytes: int
    allowed: tuple[tuple[str, int], ...] = ()


class Refused(Exception):
    """An answer instead of what was asked for.

    Args:
        status: of HTTP.
        reason: ends up in the status row of the image.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = re.sub(r"[^ -~]", "?", reason)[:200]


class Proxy:
    """Serves one connection a request; see the module."""

    def __init__(self, settings: ProxySettings) -> None:
        self.settings = settings
        self.policy = AddressPolicy(allowed=frozenset(settings.allowed))
        self._wanted = "Basic " + base64.b64encode(f"{USER}:{settings.token}".encode()).decode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client(reader=reader, writer=writer)
        try:
            async with asyncio.timeout(self.settings.total_timeout_s):
                await self._answer(client)
        except Refused as refused:
            client.refuse(refused)
        except TimeoutError:
            client.refuse(Refused(504, f"took longer than {self.settings.total_timeout_s:g} s"))
        except (ConnectionError, asyncio.IncompleteReadError):
            client.break_off()
        finally:
            writer.close()

    async def _answer(self, client: _Client) -> None:
        method, target, headers = _parsed(await self._head(client.reader))
        shown = next((value for name, value in headers if name.lower() == "proxy-authorization"), "")
        if not hmac.compare_digest(shown.encode(), self._wanted.encode()):
            raise Refused(407, "this proxy is not for you")
        if method == "CONNECT":
            host, port = _host_and_port(f"//{target}", None)
            server_reader, server_writer = await self._connect(host, port)
            try:
                client.has_answer = True
                client.writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await self._tunnel(client, server_reader, server_writer)
            finally:
                server_writer.close()
            return
        if method not in ("GET", "HEAD"):
            raise Refused(405, f"the method {method!r} downloads nothing")
        scheme = target.partition(":")[0].lower()
        if scheme != "http":
            raise Refused(403, f"refused: the scheme {scheme!r} is neither http nor https")
        host, port = _host_and_port(target, 80)
        server_reader, server_writer = await self._connect(host, port)
        try:
            server_writer.write(_request(method, target, host, port, headers))
            await server_writer.drain()
            await self._forward(server_reader, client)
        finally:
            server_writer.close()

    async def _head(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), self.settings.timeout_s)
        except asyncio.LimitOverrunError:
            raise Refused(431, "headers of more than 64 KiB") from None

    async def _connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to an address of the host that was judged."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            if getattr(error, "errno", None) == socket.EAI_AGAIN:
                raise Refused(503, f"temporary failure in name resolution of {host}") from None
            raise Refused(502, f"no such host: {host}") from None
        except TimeoutError:
            raise Refused(504, f"name resolution of {host} timed out") from None
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        refusals = [self.policy.refusal(host, address, port) for address in addresses]
        may = [address for address, refusal in zip(addresses, refusals, strict=True) if refusal is None]
        if not may:
            raise Refused(403, f"refused: {next((refusal for refusal in refusals if refusal), f'{host} has no address')}")
        reason = ""
        for address in may[:2]:
            try:
                async with asyncio.timeout(self.settings.timeout_s):
                    return await asyncio.open_connection(address, port, limit=MAX_HEAD_BYTES)
            except TimeoutError:
                reason = reason or f"connecting to {host} timed out"
            except OSError as error:
                reason = reason or f"connecting to {host} failed: {error.strerror or error}"
        raise Refused(504, reason)

    async def _forward(self, reader: asyncio.StreamReader, client: _Client) -> None:
        """An answer, cut off where it is larger than it may be and did not say so before."""
        most = self.settings.max_bytes
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                head = await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            raise Refused(504, f"no answer for {self.settings.timeout_s:g} s: timed out") from None
        except asyncio.LimitOverrunError:
            raise Refused(502, "the server sent headers of more than 64 KiB") from None
        except asyncio.IncompleteReadError:
            raise Refused(502, "the server closed without an answer") from None
        length = re.search(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", head, re.IGNORECASE)
        if length and int(length[1]) > most:
            raise Refused(413, f"larger than {most:,} bytes: {int(length[1]):,}")
        client.has_answer = True
        client.writer.write(head)
        await _copy(reader, client.writer, most, self.settings.timeout_s)

    async def _tunnel(self, client: _Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up = asyncio.create_task(_copy(client.reader, writer, MAX_SENT_BYTES, self.settings.total_timeout_s))
        try:
            most = int(self.settings.max_bytes * TLS_OVERHEAD) + MAX_SENT_BYTES
            await _copy(reader, client.writer, most, self.settings.timeout_s)
        finally:
            up.cancel()
            with suppress(asyncio.CancelledError, ConnectionError, TimeoutError):
                await up


@dataclass(kw_only=True)
class _Client:
    """Who asked. ``has_answer``: something of an answer was sent, after which no other can be."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    has_answer: bool = False

    def refuse(self, refused: Refused) -> None:
        if self.has_answer:
            self.break_off()
            return
        text = f"HTTP/1.1 {refused.status} {refused.reason}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        self.writer.write(text.encode("ascii"))

    def break_off(self) -> None:
        """Resets the connection. An end in order would pass for the end of an answer that did not say how long it is."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int, timeout_s: float) -> None:
    """Up to ``most`` bytes. More than that, or none for a while, breaks the connection, so that what came does not pass for the
    whole."""
    total = 0
    while True:
        async with asyncio.timeout(timeout_s):
            block = await reader.read(BLOCK_BYTES)
        if not block:
            return
        total += len(block)
        if total > most:
            raise ConnectionAbortedError
        writer.write(block)
        await writer.drain()


def _parsed(head: bytes) -> tuple[str, str, list[tuple[str, str]]]:
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise Refused(400, "no request of HTTP/1.1")
    fields = [line.partition(":") for line in lines[1:] if line]
    if any("\n" in line or "\r" in line for line in lines):
        raise Refused(400, "a line that ends twice")
    if any(not (name and colon) or name != name.strip() for name, colon, _ in fields):
        raise Refused(400, "a header that is none")
    return parts[0], parts[1], [(name, value.strip()) for name, _, value in fields]


def _host_and_port(url: str, default: int | None) -> tuple[str, int]:
    try:
        split = urlsplit(url)
        host, port = split.hostname, split.port or default
    except ValueError:
        host, port = None, None
    if not host or port is None:
        raise Refused(400, "no host and port in the request")
    return host, port


def _request(method: str, url: str, host: str, port: int, headers: list[tuple[str, str]]) -> bytes:
    """As the server of the URL is asked: the host is that of the URL, whatever the client calls it."""
    split = urlsplit(url)
    path = split.path or "/"
    shown = f"[{host}]" if ":" in host else host
    lines = [f"{method} {path}{'?' + split.query if split.query else ''} HTTP/1.1"]
    lines.append(f"Host: {shown}" if port == 80 else f"Host: {shown}:{port}")
    lines += [f"{name}: {value}" for name, value in headers if name.lower() not in _HOP_BY_HOP]
    return ("\r\n".join([*lines, "Connection: close"]) + "\r\n\r\n").encode("latin-1")


async def run(settings: ProxySettings) -> None:
    """Listens on a port of 127.0.0.1 that it prints, until standard input ends."""
    loop = asyncio.get_running_loop()
    # Every download resolves a name, most of them of hosts that answer slowly or not at all.
    loop.set_default_executor(ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolve"))
    proxy = Proxy(settings)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=MAX_HEAD_BYTES, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), lambda: ended.set() if not os.read(sys.stdin.fileno(), 4096) else None)
    async with server:
        await ended.wait()


def main() -> None:
    data = json.loads(sys.stdin.buffer.readline())
    data["allowed"] = tuple((host, port) for host, port in data["allowed"])
    asyncio.run(run(ProxySettings(**data)))


if __name__ == "__main__":
    main()
