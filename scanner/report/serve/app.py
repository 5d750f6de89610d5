"""The live pages as a web application: which address is which page, work in threads of a bounded number, errors as pages."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, TypeVar

from scanner.report.markup import Html, element, join, plain
from scanner.report.serve.alike_page import alike, alike_to_example
from scanner.report.serve.captions_page import captions
from scanner.report.serve.extractions_page import extractions
from scanner.report.serve.group_page import group
from scanner.report.serve.groups_page import groups
from scanner.report.serve.guard import CONTENT_POLICY, App
from scanner.report.serve.images_page import image, images
from scanner.report.serve.layout import Page, Site, document
from scanner.report.serve.leaks_page import leaks
from scanner.report.serve.losses_page import outliers, shards, unusable
from scanner.report.serve.overview_page import overview
from scanner.report.serve.params import Params, RequestError
from scanner.report.serve.pictures import Kind
from scanner.report.serve.reader import Reader, View
from scanner.report.serve.settings_page import settings
from scanner.report.serve.style import MORE
from scanner.report.style import STYLE

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

T = TypeVar("T")
Show = Callable[[View, Params, Site], Page]

PAGES: dict[str, Show] = {
    "/": overview,
    "/groups": groups,
    "/group": group,
    "/captions": captions,
    "/images": images,
    "/image": image,
    "/outliers": outliers,
    "/unusable": unusable,
    "/shards": shards,
    "/extractions": extractions,
    "/leaks": leaks,
    "/settings": settings,
}
"""Every page but ``/alike``, which may take a minute and has threads of its own."""
NUM_THREADS = 8
"""Pages that are made at a time; the others wait."""
NUM_SEARCHES = 2
"""Searches by example at a time; each may take seconds, and memory for its blocks."""

_ICON = element(
    "svg",
    element("rect", x=1, y=4, width=9, height=9, rx=1.5, fill="#79a9ee"),
    element("rect", x=6, y=1, width=9, height=9, rx=1.5, fill="#2b62ad"),
    xmlns="http://www.w3.org/2000/svg",
    viewBox="0 0 16 16",
)


def build_app(reader: Reader, site: Site, *, threads: Executor, searches: Executor) -> App:
    """The application, to be put behind a ``Guard``. Pages are made in ``threads``, searches by example in ``searches``."""
    from starlette.applications import Starlette
    from starlette.datastructures import UploadFile
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    uploads = asyncio.Semaphore(NUM_SEARCHES)

    async def run(executor: Executor, make: Callable[[View], Html]) -> Html:
        return await asyncio.get_running_loop().run_in_executor(executor, reader.answer, make)

    def page(show: Show, executor: Executor) -> Callable[[Request], object]:
        async def respond(request: Request) -> Response:
            params = Params(request.query_params)
            return _html(await run(executor, lambda view: document(show(view, params, site), site, view)))

        return respond

    async def search(request: Request) -> Response:
        async with uploads, request.form(max_files=1, max_fields=4) as form:
            given = form.get("image")
            if not isinstance(given, UploadFile):
                raise RequestError(400, "No image came with the form.", next_step="Choose a file and search again.")
            data = await given.read()
            html = await run(searches, lambda view: document(alike_to_example(view, site, data), site, view))
        # The image that was given stands in the page itself: it is kept nowhere.
        return _html(html, policy=CONTENT_POLICY.replace("img-src 'self'", "img-src 'self' data:"))

    def picture(kind: Kind) -> Callable[[Request], object]:
        async def respond(request: Request) -> Response:
            id_ = Params(request.query_params).required("id")
            # Shielded: others may wait for the same picture when this client goes away.
            made = await asyncio.shield(asyncio.wrap_future(site.pictures.get(kind, id_)))
            if made.jpeg:
                return _response(made.jpeg, "image/jpeg")
            return _response(_box(made.reason).encode("utf-8", "replace"), "image/svg+xml")

        return respond

    async def style(request: Request) -> Response:
        return _response((STYLE + MORE).encode(), "text/css; charset=utf-8")

    async def icon(request: Request) -> Response:
        return _response(_ICON.encode(), "image/svg+xml")

    def failed(status: int, message: str, next_step: str) -> Response:
        told = join([element("p", message), element("p", next_step) if next_step else None])
        there = Page(title=_TITLES.get(status, "This did not work"), here="", content=element("div", told, class_="failed"))
        return _html(document(there, site, None), status=status)

    async def on_request_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)
        return failed(error.status, error.message, error.next_step)

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return failed(error.status_code, _MESSAGES.get(error.status_code, "The request cannot be answered."), "")

    async def on_failure(request: Request, error: Exception) -> Response:
        # What went wrong is told on the terminal, where nobody but the user reads.
        return failed(500, "The page could not be made. The terminal in which the server runs says why.", "")

    routes = [Route(path, page(show, threads), methods=["GET"]) for path, show in PAGES.items()]
    routes += [
        Route("/alike", page(alike, searches), methods=["GET"]),
        Route("/alike", search, methods=["POST"]),
        Route("/picture", picture("original"), methods=["GET"]),
        Route("/generated", picture("generated"), methods=["GET"]),
        Route("/style.css", style, methods=["GET"]),
        Route("/icon.svg", icon, methods=["GET"]),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            RequestError: on_request_error,
            HTTPException: on_http_error,
            Exception: on_failure,
        },
    )
    app.router.redirect_slashes = False  # it would redirect to an address without the token
    return app


_TITLES = {404: "Not here", 503: "Not now"}
_MESSAGES = {
    404: "There is no such page.",
    405: "This page is only for looking.",
    400: "The form could not be read.",
}


def _response(content: bytes, media_type: str, *, status: int = 200, policy: str = "") -> Response:
    from starlette.responses import Response

    headers = {"content-type": media_type}
    if policy:
        headers["content-security-policy"] = policy
    return Response(content, status_code=status, headers=headers)


def _html(page: Html, *, status: int = 200, policy: str = "") -> Response:
    # A lone surrogate has no bytes in UTF-8, and one in a name must not cost the page.
    return _response(page.encode("utf-8", "replace"), "text/html; charset=utf-8", status=status, policy=policy)


def _box(reason: str) -> Html:
    """In place of a picture: why there is none. Drawn by attributes alone, and every word of it escaped."""
    lines = ["no picture:", *textwrap.wrap(plain(reason, limit=120), 24)[:5]]
    texts = (
        element("text", line, x=84, y=75 + 16 * (k - (len(lines) - 1) / 2), text_anchor="middle", fill="#7b838d", font_size=12)
        for k, line in enumerate(lines)
    )
    return element(
        "svg", join(texts), xmlns="http://www.w3.org/2000/svg", width=168, height=150, viewBox="0 0 168 150",
        font_family="system-ui, sans-serif",
    )  # fmt: skip
