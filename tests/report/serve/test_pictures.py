"""Pictures are made anew, once for all who ask, and fail one by one."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from served_run import ids_of, picture
from serving import serving

from scanner.pipelines.scan import open_sources
from scanner.report.serve import pictures
from scanner.report.serve.pictures import Pictures
from scanner.report.serve.reader import Reader


def test_no_original_is_sent_as_it_lies_there(client, ids):
    answer = client.get("picture", id=ids["a0.png"])
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert picture(1) not in answer.body
    with Image.open(io.BytesIO(answer.body)) as opened:
        assert (opened.format, opened.size) == ("JPEG", (96, 64)), "never larger than the original"


def test_a_picture_that_many_wait_for_is_made_once(run, ids):
    store, config = run
    calls = []

    class Counting:
        format, embedding_dim = "folder", None
        source = open_sources(config)["set"]

        def read(self, ref):
            calls.append(ref.key)
            return self.source.read(ref)

    with Pictures(Reader(store), lambda: {"set": Counting()}, config.images) as made, ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda _: made.get("original", ids["a0.png"]).result(60), range(64)))
    assert all(one.jpeg == found[0].jpeg and one.jpeg for one in found)
    assert calls == ["a0.png"]


def test_what_is_kept_is_bounded(run, ids, monkeypatch):
    store, config = run
    with Pictures(Reader(store), lambda: open_sources(config), config.images) as made:
        sizes = [len(made.get("original", id_).result(60).jpeg) for name, id_ in ids.items() if not name.startswith("x")]
        monkeypatch.setattr(pictures, "CACHE_BYTES", sizes[0] + sizes[1])
        made.get("generated", 0).result(60)
        assert made._cached_bytes <= sizes[0] + sizes[1]
        assert made._cached_bytes == sum(len(one.jpeg) for one in made._cache.values())


def test_each_failure_costs_one_picture_and_says_why(own, tmp_path):
    store, config = own
    ids = ids_of(store)
    (tmp_path / "set" / "s0.png").unlink()
    (tmp_path / "set" / "s1.png").write_bytes(b"\x89PNG\r\n\x1a\nnot any more")
    (tmp_path / "set" / "s2.png").write_bytes(picture(99))
    with Pictures(Reader(store), lambda: open_sources(config), config.images) as made:
        asked = {name: made.get("original", id_) for name, id_ in ids.items()}
        found = {name: future.result(60) for name, future in asked.items()}
        unknown = made.get("original", 10**15).result(60)
    assert "no longer in" in found["s0.png"].reason
    assert "damaged" in found["s1.png"].reason
    assert "changed since the scan" in found["s2.png"].reason
    assert "could not be used" in found["x<i>.png"].reason
    assert "could not be used" in unknown.reason
    assert all(found[name].jpeg for name in ("a0.png", "a1.png", "a2.jpg", "h1.png"))
    assert made.get("original", ids["a0.png"]).result(1).jpeg, "what was made stays"
    assert made.get("original", ids["s0.png"]).result(1).reason


@pytest.mark.parametrize(
    ("sources", "reason"), [({}, "not at hand"), ({"set": type("Ready", (), {"embedding_dim": 4})()}, "holds embeddings")]
)
def test_a_run_without_its_originals_has_boxes_with_the_reason(run, ids, sources, reason):
    store, config = run
    with serving(store, config, lambda: sources) as client:
        page = client.get("groups").page
        assert not page.all("img")
        assert page.text.count(reason) >= 4
        assert client.get("image", id=ids["a0.png"]).status == 200
        assert client.get("picture", id=ids["a0.png"]).headers["content-type"] == "image/svg+xml"
