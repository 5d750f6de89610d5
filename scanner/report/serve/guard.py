"""What every request passes before any page sees it: token, host, size, time; and what every answer carries."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from scanner.report.serve.params import RequestError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY_BYTES = 16 << 20
"""Of an image that is given as an example, and what a form puts around it."""
DRAINED_BYTES = 128 << 20
"""Of a body that is too large, read and thrown away."""
BODY_S = 30.0
"""Seconds in which a body must have come."""
REQUEST_S = 150.0
"""Seconds of a whole request; the bounds of its parts are lower and tell more."""

CONTENT_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No script at all, and nothing from anywhere but here."""
_HEADERS = {
    b"content-security-policy": CONTENT_POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"x-frame-options": b"DENY",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cache-control": b"no-store",
}


class Guard:
    """Lets through what names this server and begins with the token, which it takes off the path; the rest is told nothing.

    The token stands in the path and not in a cookie: a browser would send a cookie of 127.0.0.1 to the servers of all its ports.

    Args:
        app: what is guarded; sees paths without the token.
        token: first step of every path.
        port: where the server listens on the loopback address.
    """

    def __init__(self, app: App, *, token: str, port: int) -> None:
        self._app = app
        self._token = token.encode()
        names = ("127.0.0.1", "localhost")
        self._hosts = {f"{name}:{port}".encode() for name in names} | ({name.encode() for name in names} if port == 80 else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        rest = self._rest(scope)
        if rest is None:
            await _plain(send, 404, b"")  # the same for every reason, so that nothing can be learned from it
            return
        if not rest:
            # The links of the pages are relative to the token as a folder.
            await _plain(send, 307, b"", (b"location", b"/" + self._token + b"/"))
            return
        has_begun = False

        async def answer(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                own = {name.lower() for name, _ in message.get("headers", ())}
                more = [(name, value) for name, value in _HEADERS.items() if name not in own]
                message = {**message, "headers": [*message.get("headers", ()), *more]}
            await send(message)

        try:
            async with asyncio.timeout(REQUEST_S):
                await self._app({**scope, "path": rest, "raw_path": rest.encode()}, _bounded(scope, receive), answer)
        except TimeoutError:
            if has_begun:
                raise
            await _plain(answer, 503, b"This took too long, and may be ready in a moment: try again.")

    def _rest(self, scope: Scope) -> str | None:
        """The path after the token, empty where the token is all of it; None for a request that is none of ours."""
        hosts = [value.lower() for name, value in scope["headers"] if name == b"host"]
        # A page of another site whose name was pointed at this address says that name here.
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return None
        first, slash, rest = str(scope["path"]).removeprefix("/").partition("/")
        if not hmac.compare_digest(first.encode("utf-8", "replace"), self._token):
            return None
        sites = [value for name, value in scope["headers"] if name == b"sec-fetch-site"]
        if scope["method"] not in ("GET", "HEAD") and any(site not in (b"same-origin", b"none") for site in sites):
            return None
        return slash + rest


def _bounded(scope: Scope, receive: Receive) -> Receive:
    """``receive`` that gives up on a body which is too large or too slow."""
    declared = [int(value) for name, value in scope["headers"] if name == b"content-length" and value.isdigit()]
    is_too_large = any(length > MAX_BODY_BYTES for length in declared)
    num_bytes = 0

    async def read() -> Message:
        nonlocal num_bytes
        try:
            async with asyncio.timeout(BODY_S):
                message = await receive()
                num_bytes += len(message.get("body", b""))
                # What is not taken is still read, up to a bound: a browser that cannot send it all shows no answer.
                while (is_too_large or num_bytes > MAX_BODY_BYTES) and message.get("more_body") and num_bytes < DRAINED_BYTES:
                    num_bytes += len((message := await receive()).get("body", b""))
        except TimeoutError:
            raise RequestError(408, "The upload took too long.", next_step="Try a smaller image.") from None
        if is_too_large or num_bytes > MAX_BODY_BYTES:
            raise RequestError(413, f"More than {MAX_BODY_BYTES >> 20} MiB are not taken.", next_step="Try a smaller image.")
        return message

    return read


async def _plain(send: Send, status: int, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"connection", b"close"),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
