"""Part 5, report: pages that a person can read, by keyboard too, in light, dark and on paper, whatever a caption says."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from accessibility import axe_path, axe_violations, problems
from browser import DOWN, END, ENTER, SHIFT_TAB, SPACE, TAB, Browser
from fake_generator import MEMORIZED, base_config, extract, scanned, settings, strong
from million_rows import make_million
from PIL import Image

from scanner.core.progress import Progress
from scanner.core.schemas import arrow_schema
from scanner.core.store import Store
from scanner.pipelines.scan import open_sources
from scanner.report import stage

__all__ = ["scanned"]

QUIET = Progress(quiet=True)
SCREENSHOTS = Path("runs") / "report"
"""Left there to be looked at: a picture a section, scheme and width, and the page as printed."""
CAPTIONS = [
    "a red boat on the lake",
    '<img src="x" onerror="console.error(1)"><script>document.title = "taken"; console.error("taken")</script>',
    '"><svg onload=console.error(1)> <style>body{display:none}</style> <!-- ]]> &lt;b&gt; </script><script>alert(1)</script>',
    "caption \u202egnp.exe \u2066 with \u200bhidden\x07 marks",
    "portrait of a person with olive hair in yellow coat before blue",
    "a shirt, size 10",
]


def picture(seed: int, side: tuple[int, int] = (320, 240)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(side, Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def hostile_set(tmp_path_factory) -> Path:
    """A folder in which picture k has 2 + k files, each under the k-th caption or another wording of it, and 12 have one."""
    folder = tmp_path_factory.mktemp("hostile") / "set"
    folder.mkdir()
    for k, caption in enumerate(CAPTIONS):
        for copy in range(2 + k):
            key = f'{k}<b onclick="x">{copy}'
            # The first two are equal to the byte.
            (folder / f"{key}.jpg").write_bytes(jpeg(picture(k), 95 - 3 * max(copy - 1, 0)))
            (folder / f"{key}.txt").write_text(caption if copy < 2 + k // 2 else f"{caption} {copy}", encoding="utf-8")
    for k in range(12):
        (folder / f"single{k}.jpg").write_bytes(jpeg(picture(100 + k, (90 + 40 * k, 200)), 90))
        (folder / f"single{k}.txt").write_text(f"thing number {k}")
    for k in range(3):
        (folder / f"blank{k}.jpg").write_bytes(jpeg(Image.new("RGB", (64, 64), "white"), 90))
    (folder / "broken<img src=x>.jpg").write_bytes(b"\xff\xd8\xff not much more")
    return folder


@pytest.fixture(scope="module")
def hostile(scanner, hostile_set, tmp_path_factory) -> Path:
    """The report of that set, compared with a test set of which one image is in it and one nearly, and with a list of hashes."""
    run, other = hostile_set.parent / "run", tmp_path_factory.mktemp("other")
    scanner("scan", hostile_set, "--out", run, "--encoder", "pixels", "--quiet")
    (other / "set").mkdir()
    (other / "set" / "there<i>0.jpg").write_bytes(jpeg(picture(0), 95))
    (other / "set" / "there<i>0.txt").write_text(CAPTIONS[1], encoding="utf-8")
    (other / "set" / "there<i>1.jpg").write_bytes(jpeg(picture(1), 60))
    scanner("scan", other / "set", "--out", other / "run", "--encoder", "pixels", "--quiet")
    here = {row["key"]: row["image_id"] for row in Store(str(run)).read("images", ["key", "image_id"]).to_pylist()}
    there = {row["key"]: row["image_id"] for row in Store(str(other / "run")).read("images", ["key", "image_id"]).to_pylist()}
    row = {"num_left": len(here), "num_right_unusable": 0, "at": "2026-01-01T00:00:00Z"}
    against_run = {"role": "eval", "form": "run", "url": str(other / "run"), "num_right": 2, "threshold": 0.9}
    against_list = {"role": "takedown", "form": "hashes", "url": "list.txt", "num_right": 50, "max_hash_distance": 10}
    comparisons = [{**row, **against_run, "other": "test <b>set</b>"}, {**row, **against_list, "other": "take-down"}]
    write(Store(str(run)), "comparisons", comparisons)
    pair = {"left_dataset": "set", "hash_distance": None, "confidence": None, "similarity": None}
    write(Store(str(run)), "leaks", [
        {**pair, "left_id": here['0<b onclick="x">0.jpg'], "right_dataset": "test <b>set</b>", "right_id": there["there<i>0.jpg"],
         "right_key": "there<i>0.jpg", "role": "eval", "similarity": 1.0, "kind": "exact"},
        {**pair, "left_id": here['1<b onclick="x">0.jpg'], "right_dataset": "test <b>set</b>", "right_id": there["there<i>1.jpg"],
         "right_key": "there<i>1.jpg", "role": "eval", "similarity": 0.9912, "kind": "near", "confidence": 0.9},
        {**pair, "left_id": here['2<b onclick="x">0.jpg'], "right_dataset": "take-down", "right_id": 7,
         "right_key": "e0f1<script>", "role": "takedown", "hash_distance": 4, "kind": "unverified"},
    ])  # fmt: skip
    scanner("report", run, "--quiet")
    return run / "report.html"


@pytest.fixture(scope="module")
def extracted(scanned, tmp_path_factory) -> Path:
    """The report of a run of which a model gave pictures back."""
    run = tmp_path_factory.mktemp("extracted") / "run"
    shutil.copytree(scanned, run)
    extract(run, settings(scanned), strong())
    config = base_config(scanned.parent)
    stage.run(Store(str(run)), config, open_sources(config), QUIET)
    return run / "report.html"


@pytest.fixture(scope="module")
def redacted(scanner, hostile) -> Path:
    scanner("report", hostile.parent, "--redact", "--quiet")
    return hostile.parent / "report-redacted.html"


def write(store: Store, table: str, rows: list[dict]) -> None:
    store.write_table(table, pa.Table.from_pylist(rows, schema=arrow_schema(table)), fingerprint="a" * 64, part_rows=100)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(params=["hostile", "extracted", "redacted"])
def page(request) -> Path:
    return request.getfixturevalue(request.param)


def opened(browser: Browser, page: Path, *, scheme: str = "light", width: int = 1360) -> Browser:
    browser.prefer(scheme)
    browser.resize(width, 900)
    browser.open(page.as_uri())
    return browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 900, 420])
def test_it_is_accessible_and_the_console_is_silent(page, browser, scheme, width):
    opened(browser, page, scheme=scheme, width=width)
    browser.run("for (const d of document.querySelectorAll('details')) d.open = true;")
    assert problems(browser) == []
    assert browser.console() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page, browser, scheme):
    script = axe_path()
    if script is None:
        pytest.skip("SCANNER_AXE names no axe.min.js (npm pack axe-core)")
    opened(browser, page, scheme=scheme)
    browser.run("for (const d of document.querySelectorAll('details')) d.open = true;")
    assert axe_violations(browser, script) == []


@pytest.mark.parametrize(
    ("markup", "complaint"),
    [
        ('<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">', "no accessible name"),
        ('<p id="main">twice</p>', "id twice: main"),
        ("<h6>deep</h6>", "heading skips a level"),
        ('<p style="color: #999; background: #fff">pale</p>', "contrast"),
        ("<table><tr><th>x</th></tr></table>", "header without a scope"),
        ('<div style="width: 4000px">wide</div>', "scrolls sideways"),
    ],
)
def test_the_audit_would_notice(hostile, browser, markup, complaint):
    opened(browser, hostile)
    browser.run("document.querySelector('main > section').insertAdjacentHTML('beforeend', arguments[0]);", markup)
    assert any(complaint in problem for problem in problems(browser))


def test_captions_are_text(hostile, browser):
    opened(browser, hostile)
    text = browser.run("return document.body.textContent;")
    for caption in CAPTIONS[:3]:
        assert caption in text
    assert "U+202Egnp.exe" in text
    assert "test <b>set</b>" in text
    assert "e0f1<script>" in text
    assert browser.run("return document.scripts.length;") == 1
    assert browser.run("return document.styleSheets.length;") == 1
    assert browser.run("return document.querySelectorAll('iframe, object, embed, link, base, form').length;") == 0
    assert browser.run("return document.title;") == "set: duplicates and memorization risk"
    assert browser.console() == []


def test_no_other_script_runs_even_if_escaping_failed(hostile, browser, tmp_path):
    """The captions as markup: the policy stops them; without it they act, so that this test can fail."""
    html = hostile.read_text("utf-8").replace("</main>", CAPTIONS[1] + "</main>")
    guarded, bare = tmp_path / "guarded.html", tmp_path / "bare.html"
    guarded.write_text(html, "utf-8")
    bare.write_text(html.replace('http-equiv="Content-Security-Policy"', 'name="nothing"'), "utf-8")
    opened(browser, guarded)
    assert browser.run("return document.title;") != "taken"
    assert browser.run("return document.getElementById('group-tools').hidden;") is False, "the page's own script runs"
    assert any("Content Security Policy" in line for line in browser.console())
    opened(browser, bare)
    assert browser.run("return document.title;") == "taken"
    browser.console()


def cards(browser: Browser) -> list[dict]:
    """What is shown, in order."""
    script = (
        "return [...document.querySelectorAll('#group-list > article')].filter((c) => !c.hidden).map((c) => ({...c.dataset}));"
    )
    return browser.run(script)


def tab_to(browser: Browser, id_: str) -> None:
    for _ in range(60):
        if browser.run("return document.activeElement.id;") == id_:
            return
        browser.press(TAB)
    raise AssertionError(f"{id_} is not reached by tabbing")


def test_the_skip_link_is_first_and_shows_itself(hostile, browser):
    opened(browser, hostile)
    browser.press(TAB)
    assert browser.run("return document.activeElement.className;") == "skip"
    assert browser.run("return document.activeElement.getBoundingClientRect().top;") >= 0
    browser.press(ENTER)
    assert browser.run("return document.activeElement.id;") == "main"


def test_groups_are_filtered_and_sorted_by_keyboard(hostile, browser):
    opened(browser, hostile)
    everything = cards(browser)
    assert len(everything) == len(CAPTIONS)
    assert [int(card["rank"]) for card in everything] == list(range(len(CAPTIONS)))

    tab_to(browser, "filter-images")
    browser.press("6")
    assert sorted(int(card["images"]) for card in cards(browser)) == [6, 7]
    assert browser.run("return document.getElementById('filter-shown').textContent;") == "2"

    browser.press(TAB)
    assert browser.run("return document.activeElement.id;") == "filter-text"
    browser.press("OLIVE hair")
    (only,) = cards(browser)
    assert int(only["images"]) == 6
    browser.press(" that nobody wrote")
    assert cards(browser) == []
    assert browser.run("return document.getElementById('filter-none').checkVisibility();") is True

    browser.press(TAB, TAB)
    assert browser.run("return document.activeElement.id;") == "filter-reset"
    browser.press(SPACE)
    assert cards(browser) == everything

    browser.press(SHIFT_TAB)
    assert browser.run("return document.activeElement.id;") == "filter-order"
    browser.press(DOWN)
    assert [int(card["images"]) for card in cards(browser)] == sorted((int(c["images"]) for c in everything), reverse=True)
    browser.press(END)
    similarity = [float(card["similarity"]) for card in cards(browser)]
    assert similarity == sorted(similarity)
    assert len(similarity) == len(everything)
    assert browser.console() == []


def test_choices_of_class_and_kind_show_what_they_say(hostile, browser):
    opened(browser, hostile)
    for name in ("class", "kind"):
        options = browser.run(f"return [...document.getElementById('filter-{name}').options].map((o) => o.value);")
        assert len(options) > 1
        tab_to(browser, f"filter-{name}")
        for option in options[1:]:
            browser.press(DOWN)
            shown = cards(browser)
            assert shown
            assert all(option in (card["class"], *card["kinds"].split()) for card in shown), (name, option)
        browser.run("document.getElementById('filter-reset').click();")


def test_a_link_to_a_group_that_is_filtered_out_brings_it_back(hostile, browser):
    opened(browser, hostile)
    tab_to(browser, "filter-text")
    browser.press("nothing of this kind")
    assert cards(browser) == []
    target = browser.run("return document.querySelector('#captions tbody a').hash.slice(1);")
    browser.run("document.querySelector('#captions tbody a').click();")
    deadline = time.monotonic() + 10
    while not cards(browser) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(cards(browser)) == len(CAPTIONS)
    assert browser.run("return document.getElementById(arguments[0]).checkVisibility();", target) is True


def test_every_part_is_drawn_in_light_and_dark_narrow_and_on_paper(page, browser):
    folder = SCREENSHOTS / page.stem / page.parent.parent.name.rstrip("0123456789")
    for scheme in ("light", "dark"):
        opened(browser, page, scheme=scheme)
        browser.screenshot(folder / scheme / "00-first-view.png")
        ids = browser.run("return [...document.querySelectorAll('main > section')].map((s) => s.id);")
        for position, id_ in enumerate(ids, 1):
            browser.screenshot(folder / scheme / f"{position:02d}-{id_}.png", f"#{id_}")
    opened(browser, page, width=420)
    browser.screenshot(folder / "narrow.png", "body")
    browser.print(folder / "printed.pdf")
    shots = sorted(folder.rglob("*.png"))
    assert len(shots) >= 2 * 12
    for shot in shots:
        with Image.open(shot) as image:
            spread = np.asarray(image.convert("L")).std()
        assert spread > 2, f"{shot} is empty"
    light, dark = (np.asarray(Image.open(folder / s / "00-first-view.png").convert("L")).mean() for s in ("light", "dark"))
    assert light > 200
    assert dark < 80
    assert (folder / "printed.pdf").read_bytes().startswith(b"%PDF")


def test_a_redacted_page_holds_no_picture_and_no_word_of_the_set(hostile, redacted, hostile_set):
    html, whole = redacted.read_text("utf-8"), hostile.read_text("utf-8")
    assert whole.count("data:image/jpeg") > 20
    assert "data:image" not in html
    for caption in (*CAPTIONS, "thing number"):
        assert caption[:12] not in html
    for name in ("single", "onclick", "there&lt;", "e0f1", str(hostile_set.parent)):
        assert name not in html, name
    assert "test &lt;b&gt;set&lt;/b&gt;" in html, "sets keep their names"


def test_pictures_that_models_gave_back_are_there_and_are_blurred_where_redacted(extracted, scanned):
    config = base_config(scanned.parent)
    stage.run(Store(str(extracted.parent)), config, {}, QUIET, is_redacted=True)
    whole, html = extracted.read_text("utf-8"), (extracted.parent / "report-redacted.html").read_text("utf-8")
    assert MEMORIZED in whole
    assert MEMORIZED not in html
    shown = {piece.split('"')[0] for piece in whole.split('src="')[1:]}
    assert not any(uri in html for uri in shown)


BIG = """
import json, resource, sys, time
from scanner.core.config import RunConfig, override
from scanner.core.progress import Progress
from scanner.core.store import Store
from scanner.report import stage
start = time.perf_counter()
result = stage.run(Store(sys.argv[1]), RunConfig(), {}, Progress(quiet=True))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"seconds": time.perf_counter() - start, "num_bytes": result.num_bytes, "peak_gib": peak}))
"""


def test_a_million_rows_are_a_small_page_in_bounded_time_and_memory(tmp_path):
    """Tops and totals, and the query that names the rest."""
    store = Store(str(tmp_path / "run"))
    make_million(store)
    done = subprocess.run(
        [sys.executable, "-c", BIG, str(tmp_path / "run")], capture_output=True, text=True, check=True, timeout=900
    )
    measured = json.loads(done.stdout)
    print(measured)
    assert measured["num_bytes"] < 2 * 2**20
    assert measured["seconds"] < 120
    assert measured["peak_gib"] < 4
    html = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "Showing 60 of 200,000 groups" in html
    assert "scanner query RUN groups/top_groups --param limit=200000" in html
