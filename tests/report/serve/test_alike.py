"""The page that finds images like one of the set, or like a file."""

from __future__ import annotations

from served_run import picture


def test_an_image_that_is_given_finds_its_like(client, ids):
    answer = client.upload(picture(1, (200, 133), "JPEG"))
    assert answer.status == 200
    assert "img-src 'self' data:;" in answer.headers["content-security-policy"]
    page = answer.page
    shown = page.links("image?id=")
    assert set(shown[:3]) == {f"image?id={ids[name]}" for name in ("a0.png", "a1.png", "a2.jpg")}
    assert len(shown) == 8, "all that were embedded"
    assert page.text.count("near-duplicate") >= 3
    assert "Compared with 8 of 8 embedded images." in page.text
    given = [image["src"] for image in page.all("img") if not image["src"].startswith("picture?")]
    assert len(given) == 1
    assert given[0].startswith("data:image/jpeg;base64,")


def test_an_image_of_the_set_finds_its_like_and_not_itself(client, ids):
    page = client.get("alike", id=ids["a0.png"]).page
    shown = page.links("image?id=")
    assert shown[0] == f"image?id={ids['a0.png']}", "what was searched by stands first"
    assert shown[1] == f"image?id={ids['a1.png']}"
    assert shown.count(shown[0]) == 1
    assert len(shown) == 8
    assert {field["name"]: field.get("value") for field in page.all("input")}["id"] == str(ids["a0.png"]), "to go on from"


def test_an_image_without_an_embedding_is_told(client, ids):
    answer = client.get("alike", id=ids["x<i>.png"])
    assert answer.status == 404
    assert "has no embedding" in answer.page.text


def test_what_the_time_does_not_reach_is_told(client, ids, monkeypatch):
    monkeypatch.setattr("scanner.report.serve.alike_page.SEARCH_S", 0.0)
    monkeypatch.setattr("scanner.report.serve.nearest.BLOCK_BYTES", 1)
    page = client.get("alike", id=ids["a0.png"]).page
    assert "Compared with 1 of 8 embedded images." in page.text
    assert "only 12.5% of the set was compared" in page.text
