"""What the pages say of a small run whose truth is known."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from served_run import HOSTILE, NAME, ODD
from serving import serving

from scanner.pipelines.scan import open_sources


def test_the_overview_has_the_figures_and_what_to_look_at_first(client):
    page = client.get("").page
    texts = [text for text in page.texts if text.strip()]
    texts = texts[texts.index("Settings") :]  # the entries of the navigation come before
    figure = {name: texts[texts.index(name) + 1] for name in ("Images", "Usable", "Not usable", "Groups", "Largest group")}
    assert figure == {"Images": "9", "Usable": "8", "Not usable": "1", "Groups": "2", "Largest group": "3"}
    assert page.tags.count("article") == 2
    assert "Encoder pixels; near-duplicates from cosine 0." in page.text


def test_what_was_capped_is_said_before_the_figures(own):
    store, config = own
    pairs = store.manifest("pairs")
    for is_truncated in (False, True):
        store.commit("pairs", pairs.parts, metadata={**pairs.metadata, "is_truncated": is_truncated})
        with serving(store, config, lambda: open_sources(config)) as client:
            assert ("holds fewer pairs than there are" in client.get("").page.text) == is_truncated


def test_groups_are_filtered_and_sorted(client):
    def cards(**filters) -> int:
        return client.get("groups", **filters).page.tags.count("article")

    assert cards() == 2
    assert cards(min=3) == 1
    assert cards(q="RED BOAT") == 1
    assert cards(q=ODD) == 1
    assert cards(kind="exact") == 1
    assert "No group fits." in client.get("groups", q="no such words").page.text
    assert "No group fits." in client.get("groups", kind="semantic").page.text
    assert "There are no more groups." in client.get("groups", page=2).page.text
    page = client.get("groups", q="red", sort="size").page
    assert {field["name"]: field["value"] for field in page.all("input")} == {"q": "red", "min": "2"}, "the form keeps its words"
    assert [option["value"] for option in page.all("option") if "selected" in option] == ["any", "any", "size"]


def test_a_group_shows_every_member_and_why_it_ranks(client, ids):
    (target,) = set(client.get("groups", q="red boat").page.links("group?"))
    page = client.ask(target).page
    shown = {link.removeprefix("image?id=") for link in page.links("image?id=")}
    assert shown == {str(ids[name]) for name in ("a0.png", "a1.png", "a2.jpg")}
    assert "1 of 2, by images with one caption (2), then images (3)" in page.text
    assert "0.9 / (1 + (300 / 2)^2) = 0.0040%" in page.text
    assert "2 byte-equal to the kept one, itself included" in page.text
    assert page.text.count("a red Boat") == 3, "once among the captions, twice among the images"
    assert "1 to 3 of 3 images" in page.text
    assert "1 to 3 of 3 images" in client.ask(f"{target}&order=similarity").page.text


def test_long_groups_come_page_by_page(client, ids, monkeypatch):
    monkeypatch.setattr("scanner.report.serve.group_page.NUM_MEMBERS", 2)
    monkeypatch.setattr("scanner.report.serve.group_page.NUM_CAPTIONS", 1)
    (target,) = set(client.get("groups", q="red boat").page.links("group?"))
    first = client.ask(target).page
    assert "1 to 2 of 3 images" in first.text
    onward = [a["href"] for a in first.all("a") if a.get("rel") == "next"]
    second = client.ask(onward[0]).page
    assert "3 to 3 of 3 images" in second.text
    both = [*first.links("image?id="), *second.links("image?id=")]
    assert sorted(both) == sorted(f"image?id={ids[name]}" for name in ("a0.png", "a1.png", "a2.jpg"))
    assert "1 to 1 of 2 captions" in first.text
    assert "2 to 2 of 2 captions" in client.ask(f"{target}&said=2").page.text


def test_captions_are_searched_in_any_case(client):
    page = client.get("captions", q="BOAT").page
    assert "1 to 2 of 2 captions of groups" in page.text
    assert page.text.index("a red Boat") < page.text.index("a boat")
    assert "No caption of a group fits." in client.get("captions", q="alone").page.text
    assert "1 to 1 of 1 captions" in client.get("captions", min=2).page.text


def test_images_are_found_by_caption_and_by_name_and_paged_by_id(client, ids, monkeypatch):
    assert len(client.get("images", q="ALONE").page.links("image?")) == 3
    assert len(client.get("images", q="a2.JPG").page.links("image?")) == 1
    assert len(client.get("images", status="unreadable").page.links("image?")) == 1
    monkeypatch.setattr("scanner.report.serve.images_page.NUM_IMAGES", 4)
    shown, path = [], "images"
    while path:
        page = client.ask(path).page
        shown += [int(link.removeprefix("image?id=")) for link in page.links("image?id=")]
        onward = [a["href"] for a in page.all("a") if a.get("rel") == "next"]
        path = onward[0] if onward else ""
    assert shown == sorted(ids.values())


def test_an_image_names_its_group_its_links_and_its_file(client, ids):
    page = client.get("image", id=ids["a2.jpg"]).page
    assert "group of 3 images" in page.text
    assert "the one to keep" in page.text
    assert "Linked images" in page.text
    assert page.links("alike?id=") == [f"alike?id={ids['a2.jpg']}"]
    broken = client.get("image", id=ids["x<i>.png"]).page
    assert "unreadable: " in broken.text
    assert not broken.all("img"), "what could not be read in the scan is not tried again"


def test_words_of_the_set_stay_words(client, ids):
    page = client.get("image", id=ids[NAME]).page
    assert "script" not in page.tags
    assert '<script>alert("x")</script><img src=x onerror=alert(1)>' in page.text
    assert "U+202Egnp.exe" in page.text
    assert NAME in page.text


def test_losses_are_listed_with_their_reasons(client):
    page = client.get("unusable").page
    assert "x<i>.png" in page.text
    assert "1 to 1 of 1 images not used" in page.text
    assert "none fits" in client.get("unusable", status="missing").page.text
    assert "1 to 1 of 1 shards" in client.get("shards").page.text
    assert "1 to 8 of 8 embedded images" in client.get("outliers").page.text


def test_extractions_and_leaks_stand_beside_the_images(client, ids):
    page = client.get("extractions").page
    assert "4 of 8 images agree" in page.text
    generated = [f"generated?id={k}" for k in range(4)]
    assert [image["src"] for image in page.all("img")] == [f"picture?id={ids['a0.png']}", *generated]
    assert "No prompt got a verdict." in client.get("extractions", verdict="template").page.text
    page = client.get("leaks", other=HOSTILE, kind="near").page
    assert "near, 75.0% sure" in page.text
    assert NAME in page.text
    assert "none fits" in client.get("leaks", kind="exact").page.text


def test_settings_hold_no_secret_and_say_what_made_the_run(client):
    page = client.get("settings").page
    assert "encoder.name" in page.text
    assert "pixels" in page.text


def test_lists_end_and_say_so(client, monkeypatch):
    assert client.get("groups", page=5000).status == 200
    assert client.get("groups", page=5001).status == 400
    assert client.get("outliers", page=10**18).status == 400
    monkeypatch.setattr("scanner.report.serve.layout.MAX_OFFSET", 4)
    monkeypatch.setattr("scanner.report.serve.losses_page.NUM_TILES", 4)
    text = client.get("outliers").page.text
    assert "1 to 4 of 8 embedded images" in text
    assert "Pages end after 4: narrow it, or scanner query RUN serve/outliers_page --param limit=8" in text
    assert client.get("outliers", page=2).status == 400


def test_what_is_not_there_says_so(client):
    for path in ("image", "group", "alike"):
        answer = client.get(path, id=10**15)
        assert answer.status == 404
        assert "1000000000000000" in answer.page.text
    assert "There is no such page." in client.get("nothing").page.text


def test_many_at_a_time_get_each_their_own(client, ids):
    found = sorted(ids.values())

    def ask(k: int) -> bool:
        image_id = found[k % len(found)]
        return f"<h1>Image {image_id}</h1>" in client.get("image", id=image_id).html

    with ThreadPoolExecutor(20) as threads:
        assert all(threads.map(ask, range(60)))


def test_long_captions_are_clipped_and_those_that_sql_cut_say_so(client, ids):
    page = client.get("images", q="alone").page
    assert "… (7,007 characters)" in page.text
    assert "… (10,000 characters or more)" in page.text
    page = client.get("image", id=ids["s2.png"]).page
    assert "… (10,000 characters or more)" in page.text
    assert page.text.count("and so on") == 399, "4,000 characters of it"
