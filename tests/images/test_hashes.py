from __future__ import annotations

import io

import numpy as np
import pytest
from pictures import draw, encoded
from PIL import Image, ImageDraw

from scanner.images.hashes import BLANK_RANGE, is_blank, perceptual_hash, thumbnail


def phash(image):
    return perceptual_hash(thumbnail(np.array(image.convert("RGB"))))


def blank(image):
    pixels = np.array(image.convert("RGB"))
    return is_blank(pixels, thumbnail(pixels))


def test_hash_is_64_bits_half_of_them_set():
    for seed in range(5):
        value = phash(draw(seed, size=(300, 200)))
        assert 0 <= value < 2**64
        assert value.bit_count() == 32


def test_hash_follows_the_picture_not_its_encoding():
    pictures = [draw(seed, size=(400, 300)) for seed in range(12)]
    hashes = [phash(picture) for picture in pictures]
    for picture, value in zip(pictures, hashes, strict=True):
        smaller = picture.resize((200, 150), Image.Resampling.BICUBIC)
        jpeg = Image.open(io.BytesIO(encoded(picture, "JPEG", quality=60)))
        brighter = picture.point(lambda v: v * 0.8 + 20)
        assert max((value ^ phash(copy)).bit_count() for copy in (smaller, jpeg, brighter)) <= 6
    distances = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(distances) >= 14


def test_hash_is_the_transform_of_the_paper():
    """Against scipy's DCT on the same thumbnail."""
    from scipy.fft import dctn

    small = thumbnail(np.array(draw(3, size=(256, 256))))
    low = dctn(small @ np.array([0.299, 0.587, 0.114]), norm="ortho")[1:9, 1:9].ravel()
    bits = "".join("1" if c > np.median(low) else "0" for c in low)
    assert f"{perceptual_hash(small):064b}" == bits


def test_rows_are_skipped_evenly_in_tall_images():
    picture = draw(5, size=(300, 200))
    assert (phash(picture) ^ phash(picture.resize((300, 2000), Image.Resampling.BICUBIC))).bit_count() <= 4


def test_blanks_hash_alike():
    assert phash(Image.new("RGB", (90, 70), (200, 10, 3))) == phash(Image.new("RGB", (700, 30), "white")) == 0


@pytest.mark.parametrize("colour", ["white", "black", (200, 10, 90), (1, 254, 3)])
@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
def test_one_colour_is_blank_whatever_the_encoding(colour, format_):
    image = Image.open(io.BytesIO(encoded(Image.new("RGB", (131, 77), colour), format_)))
    assert blank(image)


def test_faint_noise_is_blank():
    rng = np.random.default_rng(0)
    noise = 250 + rng.integers(-BLANK_RANGE // 2, BLANK_RANGE // 2, (120, 90, 1)).repeat(3, axis=2)
    assert blank(Image.fromarray(noise.astype(np.uint8)))


@pytest.mark.parametrize("size", [(64, 64), (800, 600), (3000, 2000)])
def test_thin_drawings_are_not_blank(size):
    page = Image.new("RGB", size, "white")
    assert blank(page)
    ImageDraw.Draw(page).line((10, 20, 40, 20), fill=(225, 225, 225))
    assert not blank(page)


def test_a_gradient_is_not_blank():
    assert not blank(Image.linear_gradient("L"))
