"""Requests of somebody who wants more than pages: other files, other SQL, and all the memory there is."""

from __future__ import annotations

import io
from urllib.parse import quote

import pytest
from PIL import Image
from served_run import picture


@pytest.mark.parametrize(
    "path", ["../run.yaml", "..%2frun.yaml", "%2e%2e/run.yaml", "static/../../run.yaml", "run.yaml", "images/_table.json", "%00"]
)
def test_no_path_leads_to_a_file(client, path):
    answer = client.ask(path)
    assert answer.status == 404
    assert b"fingerprint" not in answer.body


@pytest.mark.parametrize(
    "id_",
    ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "-1", "1e3", "0x10", "1_0", "%D9%A3", "9" * 19, "9" * 5000, "1;select", " "],
)
@pytest.mark.parametrize("page", ["picture", "generated", "image", "group", "alike"])
def test_ids_are_whole_numbers_and_nothing_else(client, page, id_):
    answer = client.ask(f"{page}?id={quote(id_, safe='%')}")
    is_empty_form = page == "alike" and not id_.strip()
    assert answer.status == (200 if is_empty_form else 400)


WORDS = (
    "'; drop table images; --", "' or 1=1 --", "') or ('1'='1", '"; attach \'x.db\'; --',
    "' union select content from read_text('/etc/passwd') --",
    "%", "_", "\\", "$caption", "$1", "{caption}", "' and sleep(9)", "a'||(select 1)||'", "/*", "--", "?", ".*", "\x00", "\ud800",
)  # fmt: skip


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("path", ["groups", "captions", "images"])
def test_words_that_would_be_sql_are_searched_for(client, path, words):
    """``%`` and ``_`` stand in one caption, and there alone: as patterns they would find all."""
    answer = client.ask(f"{path}?q={quote(words.encode('utf-8', 'surrogatepass'))}")
    assert answer.status == 200
    found = {"groups": "article", "captions": "tr", "images": "figure"}
    heads = 1 if path == "captions" else 0
    assert max(0, answer.page.tags.count(found[path]) - heads) == (1 if words in "%_" else 0)
    assert "root:" not in answer.page.text


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("groups", "class"), ("groups", "kind"), ("groups", "sort"), ("groups", "min"), ("groups", "page"), ("images", "status"),
        ("images", "after"), ("unusable", "status"), ("shards", "status"), ("extractions", "verdict"), ("leaks", "other"),
        ("leaks", "kind"), ("captions", "min"), ("outliers", "page"),
    ],
)  # fmt: skip
def test_filters_take_what_is_known(client, path, name):
    for words in ("' or 1=1 --", "9" * 30, "<b>", "-1"):
        answer = client.get(path, **{name: words})
        assert answer.status == 400
        assert "Traceback" not in answer.html
        assert "b" not in answer.page.tags


def test_long_words_are_refused(client):
    assert client.get("captions", q="x" * 200).status == 200
    assert client.get("captions", q="x" * 201).status == 400


@pytest.mark.parametrize("generation", [1, 2, 3, 9])
def test_a_generated_image_comes_from_the_run_and_nowhere_else(client, generation):
    """Paths of table generations that lead out of the run, to a file that is no image, or nowhere."""
    assert client.get("generated", id=0).headers["content-type"] == "image/jpeg"
    answer = client.get("generated", id=generation)
    assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml")
    assert b"no picture:" in answer.body


def bomb() -> bytes:
    """A PNG of 30,000 x 30,000 pixels in a tenth of a megabyte."""
    file = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"GIF89a nothing", "damaged or cut short"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "not an image"),
        (picture(1)[:300], "unreadable|cut short|truncated|broken|incomplete"),
        (bomb(), "more than 100,000,000"),
    ],
    ids=["empty", "cut", "svg", "half", "bomb"],
)
def test_what_is_no_image_is_told(client, data, reason):
    answer = client.upload(data)
    assert answer.status == 422
    assert any(words in answer.page.text for words in reason.split("|")), answer.page.text
    assert client.upload(picture(1)).status == 200, "the next one finds a decoder"


def test_forms_without_an_image_are_told(client):
    answer = client.upload(picture(1), name="other")
    assert answer.status == 400
    assert "No image came" in answer.page.text
    for kind in ("multipart/form-data; boundary=y", "multipart/form-data", "application/x-www-form-urlencoded", "text/plain"):
        assert client.ask("alike", method="POST", body=b"image=x", headers={"Content-Type": kind}).status == 400


@pytest.mark.parametrize("name", ["../../../../tmp/x.png", "/etc/passwd", "x.svg"])
def test_the_name_of_an_upload_means_nothing(client, name):
    assert client.upload(picture(1), filename=name).status == 200


def test_what_is_too_large_is_refused(client):
    answer = client.upload(bytes(17 << 20))
    assert answer.status == 413
    assert "More than 16 MiB are not taken." in answer.page.text

    def chunks():
        yield b'--e\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
        for _ in range(20):
            yield bytes(1 << 20)

    answer = client.ask("alike", method="POST", body=chunks(), headers={"Content-Type": "multipart/form-data; boundary=e"})
    assert answer.status == 413
