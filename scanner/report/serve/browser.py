"""Opens the address in a browser, where there is a screen."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scanner.report.markup import Html, element, join


def has_screen() -> bool:
    """Whether a browser can be expected to open beside the terminal and not in it."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


@contextmanager
def opened(address: str) -> Iterator[None]:
    """The browser is told of a file that leads to the address, in a folder that only this user can enter.

    Told of the address itself, it would show the token to every user of the machine, among the arguments of its process.
    """
    with tempfile.TemporaryDirectory(prefix="scanner-serve-") as folder:
        file = Path(folder) / "open.html"
        refresh = element("meta", http_equiv="refresh", content=f"0; url={address}")
        page = element("html", element("head", refresh), element("body", element("a", "Open the run", href=address)))
        file.write_text(join([Html("<!doctype html>"), page]), "utf-8")
        threading.Thread(target=webbrowser.open, args=(file.as_uri(),), daemon=True).start()
        yield
