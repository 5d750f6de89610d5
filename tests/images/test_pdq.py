"""PDQ against hashes that the reference (Meta's C++ code, through the package pdqhash 0.2.8) gives for the same pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from scanner.core.preprocess import Preprocess
from scanner.images.pdq import pdq
from scanner.images.prepare import ImageLimits, prepare_image
from scanner.lab.scenes import SCENES

REFERENCE = [
    (0, (64, 64), "3b61d7a84c9a84bee0717872b264b0646c9bc79d1d8e5f0997253b478c9fc728", 100),
    (1, (5, 7), "97826b2568fd96da292cc327d3263cd87ed1692597826b25687d96da212ec327", 100),
    (2, (63, 200), "6a52b58435a6cb5d31e679ca22778635dd88a635ce1974aac379427a84bdc5b8", 100),
    (3, (129, 128), "b4a6e9d13586ab568634c3735e32d1cdb1cd1c8c59cbd4a9ce101e2e6b51a637", 100),
    (4, (240, 320), "69d3516b8f1d44bb1728073e14aeeb50eb51f8c1a8c7bb4470e3ae14972c76a3", 100),
    (5, (333, 517), "14ae53ea04be7c82c4b851e9b9c5ae14463aa6163b47837dfb41a8d5eb51536b", 100),
    (6, (1024, 700), "463ad4b84c9bab54f361dc88ce1821f731e723771c9e54a9bb442b47b9c58c9c", 100),
    (8, (1025, 1500), "c5b06d937622ed9069d3d62904bf29d7fb4029d6962c126f89dd926c3b4774a2", 100),
    (9, (2000, 900), "c63924b7a6353e0fa2748d9ddd8b7262227472625d8bc1f079cadb483b4654ab", 100),
]
DIM = [
    (20, 10, "3a56b2e4f9c0aa55626249da663399c899cca6359d9d55aa063d4d9bd1e97e03", 4),
    (21, 25, "95ac3c85f5a09e0de1b041fa69d2de099e0dbe051a4e61f21a5fc3782f17bd85", 16),
    (22, 50, "19cf51cb126fad94fd84dc08a9d0162b76272375027bfa43ed94a634e6303da7", 37),
    (23, 100, "7623663301ffb9c5fd859e4809dfc628f62001ff427a463afe0899cc09d6ce39", 92),
]
"""Of few levels, for the quality."""


def blocks(seed: int, height: int, width: int, levels: int = 256) -> np.ndarray:
    """Coarse noise by integers alone: the same on every machine."""
    base = np.random.default_rng(seed).integers(0, levels, (9, 9, 3), dtype=np.uint8)
    return base[(np.arange(height) * 9 // height)[:, None], np.arange(width) * 9 // width]


@pytest.mark.parametrize(("seed", "size", "expected", "quality"), REFERENCE)
def test_the_bits_of_the_reference_at_every_size(seed, size, expected, quality):
    found = pdq(blocks(seed, *size))
    assert (found.hash.hex(), found.quality) == (expected, quality)


@pytest.mark.parametrize(("seed", "levels", "expected", "quality"), DIM)
def test_the_quality_of_the_reference(seed, levels, expected, quality):
    found = pdq(blocks(seed, 150, 210, levels))
    assert (found.hash.hex(), found.quality) == (expected, quality)


def test_what_shows_nothing_has_no_quality():
    assert pdq(np.full((80, 80, 3), 200, np.uint8)).quality == 0
    assert pdq(blocks(1, 4, 90)).hash == bytes(32), "too small to be hashed"


def slow_pdq_filter(luma: np.ndarray) -> np.ndarray:
    """The tent filter pixel by pixel, as it is told: two passes of boxes along rows, then along columns."""

    def box(values: np.ndarray) -> np.ndarray:
        window = -(-len(values) // 128)
        half = (window + 2) // 2
        return np.stack([values[max(0, i + half - window) : i + half].mean(axis=0) for i in range(len(values))])

    for _ in range(2):
        luma = box(box(luma.T).T)
    rows, columns = (((np.arange(64) + 0.5) * n / 64).astype(int) for n in luma.shape)
    return luma[rows[:, None], columns]


def test_the_filter_is_the_one_that_is_told():
    from scanner.images.pdq import _filter_rows

    luma = np.random.default_rng(0).uniform(0, 255, (261, 130))
    found = _filter_rows(261).astype(np.float64) @ luma @ _filter_rows(130).T
    np.testing.assert_allclose(found, slow_pdq_filter(luma), rtol=1e-4)
    for n in (5, 64, 65, 128, 129, 4000):
        np.testing.assert_allclose(_filter_rows(n).sum(axis=1), 1, rtol=1e-5)


def distance(a: bytes, b: bytes) -> int:
    return (int.from_bytes(a) ^ int.from_bytes(b)).bit_count()


def test_it_sees_through_resizing_and_tells_pictures_apart():
    """All but the finest pattern: its lines alias."""
    scenes = [name for name in SCENES if name != "textile"]
    images = [SCENES[name](np.random.default_rng([4, i]), (400, 300)).image for i, name in enumerate(scenes)]
    hashes = [pdq(np.asarray(image)) for image in images]
    for name, image, found in zip(scenes, images, hashes, strict=True):
        small = image.resize((200, 150), Image.Resampling.LANCZOS)
        assert distance(pdq(np.asarray(small)).hash, found.hash) <= 31, name
    assert min(distance(a.hash, b.hash) for i, a in enumerate(hashes) for b in hashes[:i]) > 60


def test_the_preparer_gives_it_where_it_is_asked_for():
    import io

    buffer = io.BytesIO()
    Image.fromarray(blocks(3, 90, 120)).save(buffer, "PNG")
    asked = {"preprocess": Preprocess(size=(8, 8), resize_mode="squash"), "limits": ImageLimits()}
    facts, _ = prepare_image(buffer.getvalue(), **asked, has_pdq=True)
    assert facts.pdq == pdq(blocks(3, 90, 120))
    assert prepare_image(buffer.getvalue(), **asked)[0].pdq is None
