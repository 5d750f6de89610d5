from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from pictures import draw, encoded
from PIL import Image

from scanner.core.preprocess import Preprocess
from scanner.images import prepare as prepare_module
from scanner.images.decode import decode
from scanner.images.geometry import fit
from scanner.images.prepare import CHUNK_IMAGES, ImageLimits, ImagePreparer, prepare_image

PREPROCESS = Preprocess(size=(32, 32))
LIMITS = ImageLimits(timeout_s=60.0, memory_bytes=400 * 2**20)
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def preparer():
    with ImagePreparer(PREPROCESS, LIMITS, workers=2) as preparer:
        yield preparer


def test_facts_and_pixels_in_order(preparer):
    files = [encoded(draw(i, size=(60 + i, 50)), "JPEG" if i % 2 else "PNG") for i in range(3 * CHUNK_IMAGES + 5)]
    before = preparer.num_decoded
    label = object()
    rows = list(preparer.prepare(((label, i), data) for i, data in enumerate(files)))
    assert [key for key, _, _ in rows] == [(label, i) for i in range(len(files))]
    assert preparer.num_decoded - before == len(files)
    for (_, facts, pixels), data, i in zip(rows, files, range(1000), strict=False):
        assert (facts.status, facts.error_message, facts.is_blank) == ("ok", None, False)
        assert (facts.width, facts.height, facts.num_bytes) == (60 + i, 50, len(data))
        assert facts.sha256 == hashlib.sha256(data).digest()
        assert np.array_equal(pixels, fit(decode(data, max_pixels=10**8, min_side=8), PREPROCESS))
        assert facts == prepare_image(data, preprocess=PREPROCESS, limits=LIMITS)[0]


def test_hostile_files_are_rows_and_cost_the_others_nothing(preparer, capfd):
    good = encoded(draw(1))
    hostile = {
        b"": "unreadable",
        b"just text": "unreadable",
        good[: len(good) // 2]: "unreadable",
        encoded(draw(2), "JPEG")[:400]: "unreadable",
        encoded(Image.new("RGB", (1, 1))): "too_small",
        encoded(Image.new("1", (20_000, 20_000))): "too_large",  # by its header
        encoded(Image.new("1", (9_900, 9_900))): "too_large",  # by the memory it takes
        encoded(Image.new("RGB", (40, 30), "white")): "ok",
    }
    items = [data for bad in hostile for data in (bad, good)]
    rows = list(preparer.prepare((data, data) for data in items))
    assert [data for data, _, _ in rows] == items
    for data, facts, pixels in rows:
        assert facts.status == hostile.get(data, "ok"), facts
        assert (pixels is None) == (facts.status != "ok")
        assert (facts.error_message is None) == (facts.status == "ok")
        assert facts.sha256 == hashlib.sha256(data).digest()
        assert facts.num_bytes == len(data)
    by_data = {data: facts for data, facts, _ in rows}
    messages = [by_data[data].error_message for data in hostile]
    assert messages[6] == "decoding needs more than 400 MiB of memory"
    assert by_data[list(hostile)[5]].width == 20_000
    assert by_data[list(hostile)[7]].is_blank
    assert capfd.readouterr() == ("", "")


def test_pixels_and_labels_stay_lazy(preparer):
    pulled = 0

    def endless():
        nonlocal pulled
        data = encoded(draw(3))
        while True:
            pulled += 1
            yield pulled, data

    rows = preparer.prepare(endless())
    assert [next(rows)[0] for _ in range(5)] == [1, 2, 3, 4, 5]
    assert pulled < 20 * CHUNK_IMAGES
    rows.close()
    assert len(list(preparer.prepare([(1, encoded(draw(4)))]))) == 1


@pytest.fixture
def broken(monkeypatch):
    import pool_tasks

    # Workers import by name: from a module that they can find.
    monkeypatch.setattr(prepare_module, "_set_up_worker", pool_tasks.set_up_broken_decoder)
    with ImagePreparer(PREPROCESS, ImageLimits(timeout_s=0.7, memory_bytes=400 * 2**20), workers=2) as preparer:
        yield preparer


def test_only_the_guilty_image_is_lost_to_a_hang_or_crash(broken):
    good = encoded(draw(1))
    items = [good] * 40
    items[3], items[20], items[37] = b"crash", b"hang", b"memory"
    facts = [facts for _, facts, _ in broken.prepare((None, data) for data in items)]
    assert [i for i, f in enumerate(facts) if f.status != "ok"] == [3, 20, 37]
    assert (facts[3].status, facts[3].error_message) == ("unreadable", "the decoder crashed")
    assert (facts[20].status, facts[20].error_message) == ("unreadable", "decoding took longer than 0.7 s")
    assert facts[37].status == "too_large"
    assert facts[3].sha256 == hashlib.sha256(b"crash").digest()
    assert broken.num_decoded == 40
    assert broken.num_retried == 40  # three chunks, each with one


def test_a_mistake_of_ours_is_not_a_property_of_the_image(broken):
    with pytest.raises(RuntimeError, match="ZeroDivisionError: ours"):
        list(broken.prepare([(0, encoded(draw(1))), (1, b"mistake")]))


def test_decoding_in_this_process_leaves_no_trace():
    image = encoded(Image.new("1", (14_000, 14_000)))  # more than Pillow allows
    facts, pixels = prepare_image(image, preprocess=PREPROCESS, limits=LIMITS)
    assert (facts.status, pixels) == ("too_large", None)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(image))
