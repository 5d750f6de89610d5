from __future__ import annotations

import base64
import hashlib
import io
from itertools import pairwise

import pytest
from PIL import Image
from report_runs import Page, page_of, write

from scanner.core.config import check_config, override
from scanner.core.errors import QueryError, SourceError
from scanner.core.progress import Progress
from scanner.core.store import Store
from scanner.report import stage
from scanner.report.filters import SCRIPT
from scanner.risk import stage as risk

NUM_OUTLIERS = 5
"""Of the finished run: the images that are neither blank nor unreadable."""

KNOWN_TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "h3", "h4", "p", "nav", "ul", "li", "a", "main",
    "section", "div", "dl", "dt", "dd", "span", "b", "br", "bdi", "code", "table", "thead", "tbody", "tr", "th", "td",
    "details", "summary", "article", "figure", "figcaption", "img", "svg", "desc", "line", "rect", "text", "footer", "polyline",
    "circle", "caption", "label", "select", "option", "input", "button", "script",
}  # fmt: skip


def make(finished, **changes) -> tuple[stage.ReportResult, Page, str]:
    store, config, sources = finished
    config = override(config, {key.replace("__", "."): value for key, value in changes.items()})
    result = stage.run(store, config, sources, Progress(quiet=True))
    html = store.get(stage.REPORT_FILE).decode()
    return result, Page(html), html


@pytest.fixture(scope="module")
def made(finished):
    return make(finished)


def test_it_writes_one_file_that_refers_to_nothing_outside(finished, made):
    store, *_ = finished
    result, page, html = made
    assert result.path == f"{store.url}/report.html"
    assert result.num_bytes == len(html.encode())
    assert (result.num_groups, result.num_pictures, result.num_without_preview) == (2, 6, 0)
    for _, attributes in page.attributes:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("src", "href") or value.startswith(("data:image/jpeg;base64,", "#"))
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-")
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy, "one script, known by its digest, and no other source"
    assert "url(" not in html
    assert "@import" not in html


def test_words_of_the_set_stay_words(made):
    _, page, html = made
    assert set(page.tags) <= KNOWN_TAGS, "a tag that the page does not make came from the set"
    assert page.tags.count("script") == 1
    assert html.count(SCRIPT) == 1, "the page's own, to the letter that its digest was made of"
    assert '<script>alert("x")</script><img src=x onerror=alert(1)>' in page.text
    assert "U+202EU+202E" not in page.text
    assert "U+202Egnp.exe" in page.text
    assert 'a"><b>&.png' in page.text
    assert "ends <early> at byte 512" in page.text
    assert "https://host0.example/<" in page.text


def test_a_caption_of_60000_characters_is_clipped_and_says_so(made):
    _, page, html = made
    assert "… (60,000 characters)" in page.text
    assert len(html) < 160_000


def test_gallery_shows_what_differs(made):
    _, page, _ = made
    images = [image for image in page.all("img") if "Outlier" not in image["alt"]]
    assert len(images) == 5, "two of group A, two of B, one blank: byte-equal files once"
    assert all(image["alt"] for image in images)
    for image in images:
        data = base64.b64decode(image["src"].removeprefix("data:image/jpeg;base64,"))
        with Image.open(io.BytesIO(data)) as opened:
            assert opened.format == "JPEG"
            assert max(opened.size) <= 128
            if "a2.png" in image["alt"]:
                assert opened.size == (128, 17), "the aspect is the original's, without padding"
    assert "×2 equal" in page.text
    assert "0.9812" in page.text


def test_figures_of_the_head(made):
    _, page, _ = made
    names = [text for text in page.texts if text.strip()]
    figure = {name: names[names.index(name) + 1] for name in ("Images", "Usable", "Not usable", "Largest group", "Blank images")}
    assert figure == {"Images": "8", "Usable": "7", "Not usable": "1", "Largest group": "3", "Blank images": "2"}
    assert "7 images of the usable" in page.text
    assert "1 shard ended early" in page.text
    assert "set/cut.tar" in page.text


def test_what_the_search_missed_stands_there_with_its_interval(made):
    _, page, _ = made
    assert "7 sampled images compared with all others by brute force" in page.text
    names = [text for text in page.texts if text.strip()]
    at = names.index("neighbours counted")
    assert names[at + 1 : at + 6] == ["all", "6", "4", "0.9875", "0.5000 to 1.0000"]
    assert "no pair" in names[at + 6 :]


def test_the_numbers_behind_a_risk_score(made):
    _, page, _ = made
    assert "0.9 / (1 + (300 / 2)^2) = 0.0040%" in page.text
    assert "1 of 2, by images with one caption (2), then images (3), then hosts (2)" in page.text


def test_what_is_left_out_is_counted_and_a_query_is_named(finished):
    _, page, _ = make(finished, report__num_groups=1, report__images_a_group=1)
    assert "Showing 1 of 2 groups, by risk. All of them: scanner query RUN groups/top_groups --param limit=2" in page.text
    assert "and 1 more file, at least as similar" in page.text
    _, page, _ = make(finished, report__num_groups=0)
    assert "Showing 0 of 2 groups" in page.text


def test_outliers_are_shown_with_caption_and_score_and_no_blank_is_among_them(made):
    _, page, _ = made
    shown = [image["alt"] for image in page.all("img") if "Outlier" in image["alt"]]
    assert shown[0] == 'Outlier 1: a"><b>&.png'
    assert len(shown) == NUM_OUTLIERS
    assert not any("w0.png" in alt or "w1.png" in alt for alt in shown)
    assert "scanner query RUN report/gallery_outliers --param limit=7" in page.text


def test_blank_groups_are_shown_apart_and_have_no_rank(made):
    _, page, _ = made
    ids = [attributes.get("id") for attributes in page.all("article")]
    assert len(ids) == 2, "blanks have no card"
    assert "All are shown. As rows: scanner query RUN groups/top_groups --param class=blank --param limit=1" in page.text


def test_secrets_in_urls_are_cut_out(made):
    _, page, html = made
    assert "secret" not in html
    assert "hidden" not in page.text
    assert "://…@" in page.text


def test_headings_go_down_one_step_at_a_time_and_ids_are_unique(made):
    _, page, _ = made
    levels = [int(tag[1]) for tag in page.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.attributes if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"].removeprefix("#") for attributes in page.all("a")}
    assert targets <= set(ids)


def test_everything_that_the_keyboard_needs_has_a_name(made):
    _, page, _ = made
    labels = {label["for"] for label in page.all("label")}
    fields = [attributes for tag in ("select", "input") for attributes in page.all(tag)]
    assert {field["id"] for field in fields} == labels
    assert len(fields) == 5
    assert page.all("button")[0]["type"] == "button"
    skip = page.all("a")[0]
    assert (skip["class"], skip["href"]) == ("skip", "#main")
    assert all(
        attributes.get("aria-labelledby") in {a.get("id") for _, a in page.attributes} for attributes in page.all("article")
    )
    assert page.tags.count("caption") == page.tags.count("table") > 8
    assert all(heading["scope"] in ("col", "row") for heading in page.all("th"))
    boxes = [attributes for attributes in page.all("div") if attributes.get("class") == "scroll"]
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in boxes), "what scrolls can be reached"


def test_without_a_script_the_tools_are_hidden_and_every_group_is_there(made):
    _, page, _ = made
    (tools,) = [attributes for attributes in page.all("div") if attributes.get("id") == "group-tools"]
    assert "hidden" in tools
    assert not [attributes for attributes in page.all("article") if "hidden" in attributes]


class Gone:
    """A source that lists and no longer reads."""

    format = "folder"
    embedding_dim = None

    def __init__(self, error: Exception) -> None:
        self.error = error

    def read(self, ref):
        raise self.error


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (Gone(SourceError("'x' is no longer in <set>.", next_step="Scan again.")), "is no longer in <set>."),
        (Gone(PermissionError("denied")), "PermissionError: denied"),
        (Gone(RuntimeError("any filesystem")), "RuntimeError: any filesystem"),
        (None, "source set is not at hand"),
        (type("Ready", (), {"embedding_dim": 512})(), "source set holds embeddings, not images"),
    ],
)
def test_images_that_cannot_be_read_again_are_a_box_with_the_reason(finished, source, reason):
    store, config, _ = finished
    result, page, _ = make((store, config, {"set": source} if source else {}))
    assert result.num_without_preview == result.num_pictures == 6
    assert page.all("img") == []
    assert page.text.count("no preview: ") == 5 + NUM_OUTLIERS
    assert reason in page.text


def test_one_damaged_original_costs_one_picture(own, tmp_path):
    (tmp_path / "set" / "b1.png").write_bytes(b"\x89PNG\r\n\x1a\nnot any more")
    result, page, _ = make(own)
    assert result.num_without_preview == 1
    assert len(page.all("img")) == 4 + NUM_OUTLIERS - 1
    assert "1 picture of 6 could not be read again and has a box with the reason" in page.text


def test_an_original_that_is_another_picture_now_is_not_shown(own, tmp_path):
    Image.effect_mandelbrot((64, 48), (-2, -1, 1, 1), 40).save(tmp_path / "set" / "b1.png")
    result, page, _ = make(own)
    assert result.num_without_preview == 1
    assert "the source has changed since the scan" in page.text


def test_a_run_without_its_tables_is_a_user_error(tmp_path, finished):
    _, config, sources = finished
    with pytest.raises(QueryError, match="does not have: stage embed makes it"):
        stage.run(Store(str(tmp_path / "other")), config, sources, Progress(quiet=True))


def test_it_can_be_written_to_an_object_store(finished):
    store, config, sources = finished
    remote = Store("memory://report-test/run")
    remote.fs.put(store.root, remote.root, recursive=True)
    result = stage.run(remote, config, sources, Progress(quiet=True))
    assert result.path == "memory://report-test/run/report.html"
    assert remote.get("report.html").startswith(b"<!doctype html>")


@pytest.mark.parametrize("is_usable", [True, False])
def test_a_set_without_duplicates_and_one_without_a_usable_image_have_a_page(tmp_path, is_usable):
    store = Store(str(tmp_path / "run"))
    write(store, "shards", [
        {"shard_id": 0, "dataset": "set", "url": "a.tar", "size": 1, "part": 0, "num_rows": 2, "status": "current"}
    ])  # fmt: skip
    status = "ok" if is_usable else "missing"
    write(store, "images", [{"image_id": k, "dataset": "set", "key": f"k{k}", "status": status} for k in range(2)])
    neighbors = [{"image_id": k, "num_neighbors": 0, "outlier_score": 0.5} for k in range(2)]
    write(store, "neighbors", neighbors if is_usable else [])
    for table in ("groups", "group_evidence", "thresholds", "audit", "embeddings"):
        write(store, table, [])
    config = check_config({"sources": [{"url": "set"}], "compute": {"workers": 1}}, where="test")
    risk.run(store, config, Progress(quiet=True))
    page = page_of((store, config, {}))
    assert "No two usable images are near-duplicates." in page.text
    assert "How much the search misses is not known." in page.text
    assert page.tags.count("article") == 0
    assert page.text.count("Outlier score") == 1, "among the words"
    assert ("All 2 images could be used." in page.text) == is_usable
    assert ("100.0% of the images could not be used" in page.text) != is_usable
