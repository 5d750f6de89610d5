"""What a client of ``serve`` asks, and what the answer must be by the tables."""

from __future__ import annotations

import io
import random
import re
from collections import Counter
from urllib.parse import quote

from PIL import Image
from serving import Client

from scanner.core.store import Store


class Truth:
    """What the pages must say, from the tables by other means than the server's."""

    def __init__(self, store: Store) -> None:
        self.images = {row["image_id"]: row for row in store.read("images").to_pylist()}
        self.group_of = {row["image_id"]: row["group_id"] for row in store.read("groups").to_pylist()}
        self.members = Counter(self.group_of.values())
        self.captions = Counter(row["group_id"] for row in store.read("group_captions").to_pylist())
        self.words = sorted({word for row in self.images.values() for word in re.findall("[a-z]{4,}", row["caption"] or "")})
        self.ok = [id_ for id_, row in self.images.items() if row["status"] == "ok"]

    def holding(self, word: str) -> set[int]:
        """Images whose caption or name holds a word."""
        return {id_ for id_, row in self.images.items() if word in (row["caption"] or "").lower() or word in row["key"].lower()}


def check_group(client: Client, truth: Truth, rng: random.Random) -> None:
    group_id = rng.choice(list(truth.members))
    shown: list[str] = []
    path = f"group?id={group_id}"
    while path:
        page = client.ask(path).page
        shown += page.links("image?id=")
        onward = [a["href"] for a in page.all("a") if a.get("rel") == "next"]
        path = onward[0] if onward else ""
    found = {int(link.removeprefix("image?id=")) for link in shown}
    assert found == {id_ for id_, group in truth.group_of.items() if group == group_id}
    assert f"of {truth.members[group_id]:,} images" in page.text


def check_image(client: Client, truth: Truth, rng: random.Random) -> None:
    image_id, row = rng.choice(list(truth.images.items()))
    answer = client.get("image", id=image_id)
    assert f"<h1>Image {image_id}</h1>" in answer.html
    assert answer.html.endswith("</html>")
    assert (f"group?id={truth.group_of.get(image_id)}" in answer.page.links("group?")) == (image_id in truth.group_of)
    assert row["status"].replace("_", " ") in answer.page.text


def check_picture(client: Client, truth: Truth, rng: random.Random) -> None:
    image_id = rng.choice(truth.ok)
    answer = client.get("picture", id=image_id)
    assert answer.headers["content-type"] == "image/jpeg", answer.body
    with Image.open(io.BytesIO(answer.body)) as opened:
        opened.load()
        width, height = truth.images[image_id]["width"], truth.images[image_id]["height"]
        assert abs(opened.width / opened.height - width / height) < 0.05 * width / height


def check_search(client: Client, truth: Truth, rng: random.Random) -> None:
    word = rng.choice(truth.words)
    wanted, found, path = truth.holding(word), set(), f"images?q={quote(word.upper())}"
    while path:
        page = client.ask(path).page
        found |= {int(link.removeprefix("image?id=")) for link in page.links("image?id=")}
        onward = [a["href"] for a in page.all("a") if a.get("rel") == "next"]
        path = onward[0] if onward else ""
    assert found == wanted, word


def check_list(client: Client, truth: Truth, rng: random.Random) -> None:
    path = rng.choice(["", "groups", "captions?q=a", "outliers?page=2", "unusable", "shards", "extractions", "leaks", "settings"])
    answer = client.ask(path)
    assert answer.status == 200
    assert answer.html.endswith("</html>")
    if path == "groups":
        assert f"of {len(truth.members):,} groups" in answer.page.text


def check_alike(client: Client, truth: Truth, rng: random.Random) -> None:
    image_id = rng.choice(truth.ok)
    page = client.get("alike", id=image_id).page
    assert f"Compared with {len(truth.ok):,} of {len(truth.ok):,} embedded images." in page.text
    found = [int(link.removeprefix("image?id=")) for link in page.links("image?id=")]
    assert len(found) == len(set(found)) == 49, "itself, and 48 others"


CHECKS = (check_group, check_image, check_image, check_picture, check_picture, check_search, check_list, check_alike)
