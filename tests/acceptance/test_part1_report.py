"""Part 1, report: one file that a browser opens without an error, a request, or a caption that acts."""

from __future__ import annotations

import io
import shutil
import subprocess
import threading
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--virtual-time-budget=4000",
)  # fmt: skip


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    """``browse(path)`` opens a file in a headless browser; returns the page as it then stands, and what the console said."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")

    def open_page(path: Path) -> tuple[str, list[str]]:
        profile = f"--user-data-dir={tmp_path_factory.mktemp('profile')}"
        done = subprocess.run(
            [browser, *FLAGS, profile, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120, check=True
        )
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return open_page


@pytest.fixture(scope="module")
def web():
    """(address, paths asked for) of a server that a page should never call."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def captions(web) -> list[str]:
    address, _ = web
    return [
        f'<img src="{address}/img"><script src="{address}/script"></script>',
        f'</bdi></li></ul></article></main><iframe src="{address}/frame"></iframe><link rel="stylesheet" href="{address}/css">',
        '<script>document.title = "taken"; console.error("taken")</script>',
        '"><svg onload=console.error(1)> <style>body{display:none}</style> <!-- ]]> &lt;b&gt;',
        "caption \u202egnp.exe \u2066 with \u200bhidden\x07 marks",
        "long " * 12_000,
    ]


@pytest.fixture(scope="module")
def report(scanner, captions, tmp_path_factory) -> Path:
    """The report of a set in which every image has copies and a hostile caption."""
    folder = tmp_path_factory.mktemp("hostile") / "set"
    folder.mkdir()
    for position, caption in enumerate(captions):
        pixels = np.random.default_rng(position).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((160, 120), Image.Resampling.BICUBIC)
        for name, quality in (("first", 95), ("again", 80)):
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=quality)
            key = f'{name}<b onclick="x">{position}'
            (folder / f"{key}.jpg").write_bytes(buffer.getvalue())
            (folder / f"{key}.txt").write_text(caption, encoding="utf-8")
    (folder / "broken<img src=x>.jpg").write_bytes(b"\xff\xd8\xff not much more")
    run = folder.parent / "run"
    scanner("scan", folder, "--out", run, "--encoder", "pixels", "--quiet")
    return run / "report.html"


class Text(HTMLParser):
    def __init__(self, dom: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(dom)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")], attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_no_console_error_and_no_request(report, browse, web):
    _, asked = web
    asked.clear()
    _, console = browse(report)
    assert console == []
    assert asked == []


def test_hostile_captions_are_text(report, browse, captions):
    dom, _ = browse(report)
    page = Text(dom)
    assert not {"iframe", "link", "object", "embed", "form", "base"} & set(page.tags)
    assert page.tags.count("style") == page.tags.count("script") == 1, "the page's own"
    for caption in captions[:4]:
        assert caption in page.text
    assert "U+202Egnp.exe" in page.text
    assert "(60,000 characters)" in page.text
    assert 'first<b onclick="x">0.jpg' in page.text
    assert "broken<img src=x>.jpg" in page.text
    assert "<title>set: duplicates and memorization risk</title>" in dom
    assert page.tags.count("article") == len(captions)
    assert page.tags.count("img") == 4 * len(captions), "each file in its group, and among the outliers of so small a set"


def test_the_policy_stops_what_escaping_would_miss(report, browse, web, captions, tmp_path):
    """The same words as markup: without the policy they act, so the two tests above can fail; with it they do not."""
    _, asked = web
    html = report.read_text("utf-8")
    opened = html.replace("</main>", "".join(captions[:3]) + "</main>")
    guarded, bare = tmp_path / "guarded.html", tmp_path / "bare.html"
    guarded.write_text(opened, "utf-8")
    bare.write_text(opened.replace('http-equiv="Content-Security-Policy"', 'name="nothing"'), "utf-8")

    asked.clear()
    dom, console = browse(guarded)
    assert console, "the browser says what it refused"
    assert asked == []
    assert "<title>taken</title>" not in dom

    dom, console = browse(bare)
    assert {"/img", "/script"} <= set(asked)
    assert "<title>taken</title>" in dom
    assert any("taken" in line for line in console)
