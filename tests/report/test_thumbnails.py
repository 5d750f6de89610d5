"""Thumbnails are bounded in number and size, and are of what the scan saw."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from scanner.core.config import ImagesConfig
from scanner.core.ids import row_of
from scanner.core.progress import Progress
from scanner.core.sql import connect
from scanner.report import thumbnails
from scanner.report.extractions import NUM_SHOWN, _jpeg
from scanner.report.thumbnails import LEFT_OUT, MAX_PICTURES, SIDE, find_images, make_thumbnails
from scanner.sources.base import ImageRef
from scanner.sources.originals import FileRef

MAX_BYTES = 25_000
"""Of a thumbnail in the page."""
MAX_EVIDENCE_BYTES = 60_000
"""Of a picture that a model gave back."""


def noise(side: int, form: str = "PNG") -> bytes:
    """The worst that a picture can be for a JPEG."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(file, form)
    return file.getvalue()


class Noise:
    format = "folder"
    embedding_dim = None

    def __init__(self) -> None:
        self.asked: list[int] = []

    def read(self, ref: ImageRef) -> bytes:
        self.asked.append(ref.row)
        return noise(SIDE)


def files(ids) -> list[FileRef]:
    return [
        FileRef(
            image_id=id_, dataset="set", ref=ImageRef(shard_url="a.tar", row=row_of(id_), key=str(id_)), sha256=None, phash=None
        )
        for id_ in ids
    ]


def make(wanted, source):
    progress = Progress(quiet=True)
    with progress.bar("test", total=1, unit="") as bar:
        return make_thumbnails(wanted, {"set": source}, ImagesConfig(), workers=1, bar=bar)


def test_the_first_are_made_and_the_rest_say_why_not(monkeypatch):
    monkeypatch.setattr(thumbnails, "MAX_PICTURES", 3)
    source = Noise()
    made = make(files([9, 2, 5, 1, 7]), source)
    assert {id_: thumbnail.reason for id_, thumbnail in made.items()} == {9: "", 2: "", 5: "", 1: LEFT_OUT, 7: LEFT_OUT}
    assert source.asked == [2, 5, 9], "in the order in which they lie in their shard"


def test_the_worst_picture_is_bounded(monkeypatch):
    made = make(files([0]), Noise())
    assert max(made[0].width, made[0].height) == SIDE
    assert len(made[0].data_uri) <= MAX_BYTES
    assert len(_jpeg(noise(512), is_redacted=False)) <= MAX_EVIDENCE_BYTES
    # docs/report.md states this bound.
    assert MAX_PICTURES * MAX_BYTES + NUM_SHOWN * 6 * MAX_EVIDENCE_BYTES <= 72e6


def test_images_come_in_the_order_asked_for_and_only_if_they_could_be_read(finished):
    store, *_ = finished
    with connect(store) as connection:
        found = find_images(connection, [4, 7, 0, 99])
        assert list(found) == [4, 0]
        assert found[4].caption == "a plain caption"
        assert base64.b16encode(found[4].file.sha256 or b"")
        assert find_images(connection, []) == {}


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_a_thumbnail_is_a_jpeg_whatever_the_original(form):
    class One(Noise):
        def read(self, ref: ImageRef) -> bytes:
            return noise(40, form)

    (thumbnail,) = make(files([0]), One()).values()
    data = base64.b64decode(thumbnail.data_uri.removeprefix("data:image/jpeg;base64,"))
    with Image.open(io.BytesIO(data)) as opened:
        assert (opened.format, opened.size) == ("JPEG", (40, 40))
