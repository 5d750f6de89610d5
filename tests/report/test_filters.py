"""The tools of the gallery: controls for what is there, and one script that is fixed to the letter."""

from __future__ import annotations

import base64
import hashlib
import re

from made_groups import group

from scanner.report.filters import SCRIPT, SCRIPT_DIGEST, controls, data_of, kinds_of


def options(html: str, name: str) -> list[str]:
    select = html[html.index(f'<select id="filter-{name}">') :]
    return re.findall(r'<option value="([^"]*)"', select[: select.index("</select>")])


def test_only_what_is_there_can_be_chosen():
    html = controls([group(), group(class_="vector_graphic", kinds=(("exact", 3),))])
    assert options(html, "class") == ["", "picture", "vector_graphic"]
    assert options(html, "kind") == ["", "exact", "near"]
    assert options(html, "order")[0] == "rank"


def test_every_order_and_field_that_is_offered_is_one_that_the_script_knows():
    html = controls([group()])
    for order in options(html, "order"):
        assert re.search(rf"\b{order}: (a|de)scending\(", SCRIPT), order
    for id_ in re.findall(r'id="filter-(\w+)"', html):
        assert f'"filter-{id_}"' in SCRIPT or f'"{id_}"' in SCRIPT, id_
    for name in data_of(group(), 0):
        assert f'"{name.removeprefix("data_")}"' in SCRIPT or f"dataset.{name.removeprefix('data_')}" in SCRIPT, name


def test_a_representative_is_no_copy_of_itself():
    assert kinds_of(group(kinds=(("exact", 1), ("near", 1)))) == ["near"]
    assert kinds_of(group(kinds=(("exact", 2),))) == ["exact"]


def test_numbers_to_sort_by():
    data = data_of(group(captions=((2, "a boat"), (1, "a ship"))), 4)
    assert data == {
        "data_rank": 4, "data_class": "picture", "data_kinds": "near", "data_images": 3, "data_captions": 2, "data_same": 2,
        "data_similarity": "0.900000",
    }  # fmt: skip


def test_captions_that_are_hidden_cannot_be_searched():
    def is_hidden(html: str) -> bool:
        return bool(re.search(r'<div hidden=""><label for="filter-text">', html))

    assert is_hidden(controls([group()], has_text=False))
    assert not is_hidden(controls([group()]))


def test_the_digest_is_that_of_the_script_as_a_browser_reads_it():
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert f"sha256-{digest}" == SCRIPT_DIGEST
    assert "</" not in SCRIPT, "nothing in it ends the element"
    assert "<!--" not in SCRIPT
    assert SCRIPT.isascii()
    assert "\r" not in SCRIPT, "a browser would read another letter than was hashed"
    assert not re.search(r"\b(eval|innerHTML|outerHTML|insertAdjacentHTML|document\.write|fetch|XMLHttpRequest|import)\b", SCRIPT)
