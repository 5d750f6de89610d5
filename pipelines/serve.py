"""The live pages of a run, until they are stopped. Reads tables and originals; writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from scanner.core.progress import Progress
from scanner.core.store import Store
from scanner.pipelines.scan import reachable_sources, run_config
from scanner.report.serve.browser import has_screen, opened
from scanner.report.serve.server import Server


def serve(store: Store, progress: Progress, announce: Callable[[str], None], *, port: int = 0, has_browser: bool = True) -> None:
    """Serves the run on the loopback address and tells ``announce`` the address, token and all.

    Raises:
        ConfigError: the packages of extra ``report`` are not there, or the port is taken.
    """
    # 1. The sources, again whenever the run has other shards: pictures are read from them, and not kept.
    with Server(store, run_config(store), lambda: reachable_sources(run_config(store), progress), port=port) as server:
        # 2. The address, which nobody else is told.
        announce(server.address)
        # 3. Answers, until ^C.
        with opened(server.address) if has_browser and has_screen() else nullcontext():
            server.run()
