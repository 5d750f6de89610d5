"""A headless Chromium that tests drive by keyboard, over the HTTP interface of ChromeDriver (W3C WebDriver)."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
TIMEOUT_S = 120
TAB, SHIFT_TAB, ENTER, SPACE, DOWN, END = "\ue004", "\ue008\ue004", "\ue007", " ", "\ue015", "\ue010"
SHIFT = "\ue008"


def find_browser() -> tuple[str, str]:
    """(Chromium, ChromeDriver); skips the test where either is not installed."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("no browser: Chromium and ChromeDriver (Debian's packages chromium and chromium-driver) are not installed")
    return browser, driver


class Browser:
    """One window. A context manager.

    Raises:
        RuntimeError: the browser refused a command, with what it said.
    """

    def __init__(self, profile: Path, *, width: int = 1360, height: int = 900) -> None:
        self._binary, self._driver = find_browser()
        self._profile = profile
        self._size = (width, height)
        # The machine's proxy, if it has one, is not for this address.
        self._http = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self) -> Self:
        self._process = subprocess.Popen([self._driver, "--port=0"], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if started := re.search(r"started successfully on port (\d+)", line):
                self._base = f"http://127.0.0.1:{started[1]}"
                break
        else:
            raise RuntimeError("ChromeDriver did not start")
        options = {"binary": self._binary, "args": [*FLAGS, f"--user-data-dir={self._profile}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self._send("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._base += f"/session/{session['sessionId']}"
        self.resize(*self._size)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._send("DELETE", "", None)
        finally:
            self._process.terminate()
            self._process.wait(timeout=30)
            if self._process.stdout:
                self._process.stdout.close()

    def _send(self, method: str, path: str, body: object) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data=data, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with self._http.open(request, timeout=TIMEOUT_S) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from None

    def open(self, url: str) -> None:
        self._send("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        """The value that the body of a function of JavaScript returns."""
        return self._send("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def run_async(self, script: str, *arguments: object) -> Any:
        """The same of one that calls its last argument with the value."""
        return self._send("POST", "/execute/async", {"script": script, "args": list(arguments)})

    def devtools(self, command: str, **parameters: object) -> Any:
        """A command of the DevTools protocol."""
        return self._send("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def press(self, *keys: str) -> None:
        """Keys one after another, to whatever has the focus; those of a text are held together only for ``SHIFT_TAB``."""
        actions: list[dict[str, str]] = []
        for key in keys:
            if key == SHIFT_TAB:
                actions += [{"type": "keyDown", "value": SHIFT}, *_stroke(TAB), {"type": "keyUp", "value": SHIFT}]
            else:
                for character in key:
                    actions += _stroke(character)
        self._send("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def console(self) -> list[str]:
        """What the page has logged or been refused since the last call."""
        return [f"{entry['level']}: {entry['message']}" for entry in self._send("POST", "/se/log", {"type": "browser"})]

    def resize(self, width: int, height: int) -> None:
        """The width of the page itself, whatever a window may be at least."""
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme: str) -> None:
        """``light`` or ``dark``, as a reader's system says; and no motion, so that pictures are the same each time."""
        features = [{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}]
        self.devtools("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path, selector: str = "") -> None:
        """A PNG of what is in the window, or of the whole of the first element that ``selector`` finds."""
        clip = None
        if selector:
            script = "const b = document.querySelector(arguments[0]).getBoundingClientRect();"
            x, y, w, h = self.run(script + "return [b.x + scrollX, b.y + scrollY, b.width, b.height];", selector)
            clip = {"x": max(0, x - 16), "y": max(0, y - 16), "width": w + 32, "height": min(h + 32, 8000), "scale": 1}
        taken = self.devtools("Page.captureScreenshot", captureBeyondViewport=bool(clip), **({"clip": clip} if clip else {}))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    def print(self, path: Path) -> None:
        """The page as a PDF on A4."""
        made = self.devtools("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=True, printBackground=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(made["data"]))


def _stroke(key: str) -> list[dict[str, str]]:
    return [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
