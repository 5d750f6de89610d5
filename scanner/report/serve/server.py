"""The server of the live pages: on the loopback address alone, under a token that is made anew each time."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self

from scanner.core.config import RunConfig
from scanner.core.errors import ConfigError
from scanner.core.store import Store
from scanner.report.serve.app import NUM_SEARCHES, NUM_THREADS, build_app
from scanner.report.serve.examples import Examples
from scanner.report.serve.guard import Guard
from scanner.report.serve.layout import Site
from scanner.report.serve.pictures import Pictures
from scanner.report.serve.reader import Reader
from scanner.sources.base import Source

if TYPE_CHECKING:
    import uvicorn

HOST = "127.0.0.1"
"""Never another: a run is as confidential as its set, and HTTP hides nothing on a network."""
MAX_CONNECTIONS = 512
MAX_HEADER_BYTES = 32 << 10
_TOKEN_BYTES = 32


class Server:
    """Serves one run. A context manager: what it holds goes with it.

    Args:
        store: an existing run.
        config: that of the run.
        open_sources: gives the sources at hand, by dataset.
        port: 0 takes a free one.

    Attributes:
        address: of the overview, with the token.

    Raises:
        ConfigError: the packages of extra ``report`` are not there, or the port is taken.
    """

    def __init__(
        self, store: Store, config: RunConfig, open_sources: Callable[[], Mapping[str, Source]], *, port: int = 0
    ) -> None:
        _check_packages()
        self._stack = ExitStack()
        self._socket = self._stack.enter_context(_listen(port))
        self.port: int = self._socket.getsockname()[1]
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        self.address = f"http://{HOST}:{self.port}/{token}/"
        self._arguments = (store, config, open_sources, token)
        self._server: uvicorn.Server | None = None

    def __enter__(self) -> Self:
        import uvicorn

        store, config, open_sources, token = self._arguments
        reader = Reader(store)
        title = config.report.title or ", ".join(source.dataset for source in config.sources) or "Scan"
        site = Site(
            title=title,
            config=config,
            pictures=self._stack.enter_context(Pictures(reader, open_sources, config.images)),
            examples=self._stack.enter_context(Examples(config)),
        )
        app = build_app(reader, site, threads=self._threads(NUM_THREADS), searches=self._threads(NUM_SEARCHES))
        settings = uvicorn.Config(
            Guard(app, token=token, port=self.port),
            http="h11",
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,  # its lines would hold the token
            proxy_headers=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(settings)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self) -> None:
        """Answers until it is stopped, by ``stop`` or by ^C."""
        assert self._server is not None, "inside of `with`"
        with suppress(KeyboardInterrupt):
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Ends ``run``, from another thread."""
        assert self._server is not None, "inside of `with`"
        self._server.should_exit = True

    def _threads(self, count: int) -> ThreadPoolExecutor:
        threads = ThreadPoolExecutor(count, thread_name_prefix="pages")
        self._stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        return threads


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        raise ConfigError(f"Port {port} cannot be had: {error.strerror}.", next_step="Leave --port out for a free one.") from None
    listening.listen(256)
    return listening


def _check_packages() -> None:
    try:
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"`scanner serve` needs packages that are not installed ({error}).",
            next_step="Install them with pip install 'trainscan[report]'.",
        ) from error
