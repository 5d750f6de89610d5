"""Part 5, serve: fifty people at a time, strangers at the door, and pages that a person can read in light and dark."""

from __future__ import annotations

import io
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from accessibility import axe_path, axe_violations, problems
from browser import Browser
from PIL import Image
from serve_checks import CHECKS, Truth, check_image
from served_run import HOSTILE, NAME, picture, write_evidence
from serving import Client

from scanner.core.store import Store

NUM_CLIENTS = 50
REQUESTS = 20
"""Of each client, in each of two rounds."""
MAX_MEMORY = 1 << 30
"""Bytes that the serving process may hold. Its encoder and torch, which come with the first upload, are half of it."""
SCREENSHOTS = Path("runs") / "serve"
"""Left there to be looked at: a picture a page, scheme and width."""
CAPTIONS = [
    HOSTILE,
    '</bdi></li></ul></main><iframe src="//evil.example"></iframe><link rel="stylesheet" href="//evil.example/css">',
    '<script>document.title = "taken"; console.error("taken")</script>',
    '"><svg onload=console.error(1)> <style>body{display:none}</style> <!-- ]]> &lt;b&gt; {{7*7}} ${7*7}',
    "long " * 4000,
]


@pytest.fixture(scope="module")
def run(scanner, tmp_path_factory) -> Store:
    """600 planted images, and pairs with hostile captions and names, as the small encoder sees them."""
    root = tmp_path_factory.mktemp("serve")
    scanner("lab", "make", "--images", 600, "--seed", 6, "--out", root / "set", "--quiet")
    (root / "hostile").mkdir()
    for k, caption in enumerate(CAPTIONS):
        for copy, quality in (("first", 95), ("again", 80)):
            image = Image.open(io.BytesIO(picture(k, (160, 120))))
            image.save(root / "hostile" / f'{copy}<b onclick="x">{k}.jpg', quality=quality)
            (root / "hostile" / f'{copy}<b onclick="x">{k}.txt').write_text(caption, encoding="utf-8")
    (root / "hostile" / NAME).write_bytes(b"\xff\xd8\xff not much more")
    scanner("scan", root / "set" / "shards", root / "hostile", "--out", root / "run", "--encoder", "small", "--quiet")
    store = Store(str(root / "run"))
    write_evidence(store, store.read("groups", ["image_id"])["image_id"][0].as_py())
    return store


@dataclass(frozen=True)
class Served:
    """A running ``scanner serve`` and who asks it."""

    process: psutil.Process
    client: Client
    address: str


@pytest.fixture(scope="module")
def served(run) -> Iterator[Served]:
    command = [sys.executable, "-m", "scanner.cli.main", "serve", run.root, "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
        found = re.search(r"http://127\.0\.0\.1:\d+/[\w-]+/", process.stdout.readline())
        assert found, process.stderr.read()
        yield Served(psutil.Process(process.pid), Client(found[0], timeout=600), found[0])
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.endswith("Stopped.\n")
    assert err == "", "no request made it say anything"


def memory_of(process: psutil.Process) -> tuple[int, int]:
    """Resident bytes of the serving process, and of its largest child."""
    children = [0]
    for child in process.children(recursive=True):
        try:
            children.append(child.memory_info().rss)
        except psutil.NoSuchProcess:
            continue
    return process.memory_info().rss, max(children)


def test_fifty_at_a_time_get_right_and_whole_answers_in_bounded_memory(served, run):
    truth = Truth(run)
    seconds: list[float] = []
    peaks: list[tuple[int, int]] = []

    def visit(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(REQUESTS):
            check = rng.choice(CHECKS)
            start = time.perf_counter()
            check(served.client, truth, rng)
            seconds.append(time.perf_counter() - start)

    for round_ in range(2):
        stop, seen = threading.Event(), []

        def watch(stop: threading.Event = stop, seen: list[tuple[int, int]] = seen) -> None:
            while not stop.wait(0.2):
                seen.append(memory_of(served.process))

        watching = threading.Thread(target=watch)
        watching.start()
        start = time.perf_counter()
        with ThreadPoolExecutor(NUM_CLIENTS) as clients:
            list(clients.map(visit, range(round_ * NUM_CLIENTS, (round_ + 1) * NUM_CLIENTS)))
        took = time.perf_counter() - start
        stop.set()
        watching.join()
        peaks.append((max(own for own, _ in seen), max(child for _, child in seen)))
        print(
            f"\nround {round_ + 1}: {NUM_CLIENTS} clients, {NUM_CLIENTS * REQUESTS} visits in {took:.0f} s, median "
            f"{statistics.median(seconds):.2f} s, slowest {max(seconds):.1f} s; peak {peaks[-1][0] >> 20} MiB, "
            f"largest worker {peaks[-1][1] >> 20} MiB"
        )
    assert max(own for own, _ in peaks) < MAX_MEMORY
    assert peaks[1][0] < 1.25 * peaks[0][0] + (64 << 20), "the second round takes no more than the first"


def test_uploads_at_a_time_find_their_like_while_pages_go_on(served, run):
    truth = Truth(run)
    pairs = sorted({group for id_, group in truth.group_of.items() if truth.images[id_]["key"].startswith(("first<", "again<"))})
    assert len(pairs) == len(CAPTIONS), "the hostile pairs are groups of their own"
    stop = threading.Event()
    # The first upload loads the encoder, which on a busy machine takes longer than a request may.
    while served.client.upload(picture(0)).status == 503:
        pass

    def browse() -> int:
        rng, count = random.Random(1), 0
        while not stop.is_set():
            check_image(served.client, truth, rng)
            count += 1
        return count

    def search(k: int) -> None:
        answer = served.client.upload(picture(k % len(CAPTIONS), (300, 225)))
        assert answer.status == 200
        first = [int(link.removeprefix("image?id=")) for link in answer.page.links("image?id=")][:2]
        assert {truth.images[id_]["key"] for id_ in first} == {
            f'{copy}<b onclick="x">{k % len(CAPTIONS)}.jpg' for copy in ("first", "again")
        }

    with ThreadPoolExecutor(9) as clients:
        browsing = clients.submit(browse)
        try:
            list(clients.map(search, range(12)))
        finally:
            stop.set()
        assert browsing.result(60) > 0
    own, _ = memory_of(served.process)
    print(f"\nafter uploads: {own >> 20} MiB")
    assert own < 2 * MAX_MEMORY


def test_strangers_are_told_nothing(served):
    client, token = served.client, served.client.root.strip("/")
    refused = client.ask("/", root="")
    assert (refused.status, refused.body) == (404, b"")
    for path in (
        "/groups",
        "/picture?id=0",
        "/style.css",
        "/alike",
        f"/{token[:-1]}/",
        f"/{token}x/groups",
        f"/groups?token={token}",
        "/..",
    ):
        answer = client.ask(path, root="")
        assert (answer.status, answer.body) == (404, b"")
    for host in ("evil.example", f"evil.example:{client.port}", "127.0.0.1", f"127.0.0.1.evil.example:{client.port}"):
        assert client.ask("groups", headers={"Host": host}).status == 404
    assert client.ask("alike", method="POST", headers={"Sec-Fetch-Site": "cross-site"}).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "../run.yaml",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "picture?id=../../run.yaml",
        "generated?id=1%2F..",
        "images/_table.json",
    ],
)
def test_no_path_leads_to_a_file(served, path):
    answer = served.client.ask(path)
    assert answer.status in (400, 404)
    assert b"root:" not in answer.body
    assert b"fingerprint" not in answer.body


def test_words_are_never_sql(served, run):
    total = len(Truth(run).members)
    for words in (
        "'; drop table images; --",
        "' or '1'='1",
        "%",
        "_",
        "') union select content from read_text('/etc/passwd') --",
    ):
        for page in ("groups", "captions", "images"):
            answer = served.client.get(page, q=words)
            assert answer.status == 200
            assert "root:" not in answer.page.text
        assert f"of {total:,} groups" in served.client.get("groups").page.text, "all groups are still there"
        assert served.client.get("group", id=words).status == 400
        assert served.client.get("groups", **{"class": words}).status == 400


def test_large_and_hostile_uploads_cost_nothing(served):
    buffer = io.BytesIO()
    Image.new("1", (40_000, 40_000)).save(buffer, "PNG")
    before, _ = memory_of(served.process)
    assert served.client.upload(buffer.getvalue()).status == 422
    assert served.client.upload(np.random.default_rng(1).bytes(20 << 20)).status == 413
    assert served.client.upload(np.random.default_rng(1).bytes(9 << 20)).status == 422
    after, _ = memory_of(served.process)
    assert after < before + (200 << 20)
    assert served.client.upload(picture(3)).status == 200


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        browser._send("POST", "/timeouts", {"script": 300_000})
        yield browser


@pytest.fixture(scope="module")
def pages(run) -> dict[str, str]:
    truth = Truth(run)
    largest = max(truth.members, key=lambda group: truth.members[group])
    hostile = next(id_ for id_, row in truth.images.items() if row["caption"] == HOSTILE)
    in_group = next(id_ for id_, group in truth.group_of.items() if group == largest)
    return {
        "overview": "", "groups": "groups", "groups-filtered": "groups?class=template&sort=size", "group": f"group?id={largest}",
        "hostile-group": f"group?id={truth.group_of[hostile]}", "captions": "captions", "captions-found": "captions?q=of",
        "images": "images", "image": f"image?id={in_group}", "hostile-image": f"image?id={hostile}", "alike": "alike",
        "alike-found": f"alike?id={in_group}", "outliers": "outliers", "unusable": "unusable", "shards": "shards",
        "extractions": "extractions", "leaks": "leaks", "settings": "settings", "nothing": "group?id=999999999999",
    }  # fmt: skip


def test_pages_in_light_and_dark_without_a_word_in_the_console(served, browser, pages):
    for name, path in pages.items():
        for scheme, width in (("light", 1360), ("dark", 1360), ("light", 420)):
            browser.prefer(scheme)
            browser.resize(width, 900)
            browser.open(served.address + path)
            # Lazy pictures come when they are looked at: all are asked for, and waited for.
            browser.run_async(
                "const done = arguments[arguments.length - 1];"
                "const images = [...document.images]; images.forEach((image) => image.loading = 'eager');"
                "Promise.all(images.map((image) => image.decode().catch(() => 0))).then(() => done(images.length));"
            )
            assert browser.run("return [...document.images].filter((image) => !image.naturalWidth).length") == 0, name
            browser.screenshot(SCREENSHOTS / f"{name}-{scheme}-{width}.png", "html")
            console = [line for line in browser.console() if "status of 404" not in line or name != "nothing"]
            assert console == [], name
            assert browser.run("return document.title") != "taken"
            assert browser.run("return document.querySelectorAll('script, iframe, object, embed').length") == 0
            assert browser.run("return document.documentElement.scrollWidth <= innerWidth + 1"), f"{name} scrolls sideways"


def test_pages_are_accessible(served, browser, pages):
    browser.resize(1360, 900)
    script = axe_path()
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        for name, path in pages.items():
            browser.open(served.address + path)
            assert problems(browser) == [], (name, scheme)
            if script is not None:
                assert axe_violations(browser, script) == [], (name, scheme)


def wait_for(browser: Browser, script: str) -> None:
    """Until a script says so, two minutes at most."""
    for _ in range(600):
        if browser.run(script):
            return
        time.sleep(0.2)
    raise AssertionError(script)


def test_a_person_finds_a_group_by_keyboard_alone(served, browser):
    """Tab to the search field, words, Enter; then the first group, Enter."""
    browser.open(served.address + "groups")
    for _ in range(40):
        browser.press("\ue004")
        if browser.run("return document.activeElement.name") == "q":
            break
    browser.press("of\ue007")
    wait_for(browser, "return location.search.startsWith('?q=of') && document.readyState === 'complete'")
    for _ in range(60):
        browser.press("\ue004")
        if browser.run("return document.activeElement.pathname || ''").endswith("/group"):
            break
    browser.press("\ue007")
    wait_for(browser, "return document.querySelector('h1').textContent.startsWith('Group of')")


def test_an_upload_by_the_form_of_the_page(served, browser, tmp_path):
    """The form as a browser sends it: with no script, under the policy, and with the origin that the referrer policy leaves."""
    (tmp_path / "mine.png").write_bytes(picture(0, (200, 150)))
    browser.open(served.address + "alike")
    browser.console()  # what earlier pages said, such as those that are not there, is not this one's
    top = browser.devtools("DOM.getDocument")["root"]["nodeId"]
    field = browser.devtools("DOM.querySelector", nodeId=top, selector="input[type=file]")["nodeId"]
    browser.devtools("DOM.setFileInputFiles", nodeId=field, files=[str(tmp_path / "mine.png")])
    browser.run("document.querySelector('form[method=post]').requestSubmit()")
    wait_for(browser, "return document.querySelectorAll('#found figure').length > 0")
    assert "Compared with" in browser.run("return document.body.textContent")
    assert browser.console() == []
    browser.screenshot(SCREENSHOTS / "upload-light-1360.png", "html")
