from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from pictures import draw, encoded
from PIL import Image, PngImagePlugin

from scanner.images import decode as decode_module
from scanner.images.decode import UnusableImageError, decode

RGB = draw(1, size=(61, 47))


def read(data, *, max_pixels=10**8, min_side=8):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return decode(data, max_pixels=max_pixels, min_side=min_side)


def refused(data, **limits):
    with pytest.raises(UnusableImageError) as caught:
        read(data, **limits)
    error = caught.value
    assert "\n" not in error.message
    assert "0x" not in error.message
    return error


def pixels_of(image):
    return np.asarray(image.convert("RGB"))


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width, height, *rest):
    """A PNG of one-bit gray that says it is this large."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + b"".join(rest) + png_chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + png_chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"optimize": True, "quality": 40}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_gives_the_pixels_of_pillow(mode, options):
    data = encoded(RGB.convert(mode), "JPEG", **options)
    assert np.array_equal(read(data), pixels_of(Image.open(io.BytesIO(data))))


def test_jpeg_without_torchvisions_decoder_is_the_same(monkeypatch):
    data = encoded(RGB, "JPEG")
    fast = read(data)
    monkeypatch.setattr(decode_module, "_decode_jpeg", lambda _: None)
    assert np.array_equal(read(data), fast)


def test_exif_orientation_is_left_alone():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(RGB, "JPEG", exif=exif)
    assert read(data).shape == (47, 61, 3)
    assert np.array_equal(read(data), read(encoded(RGB, "JPEG")))


def test_cmyk_jpeg():
    data = encoded(RGB.convert("CMYK"), "JPEG", quality=95)
    assert np.abs(read(data).astype(int) - pixels_of(RGB)).mean() < 6


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("progressive", [False, True])
def test_cut_jpegs_are_unreadable_to_both_decoders(progressive):
    data = encoded(draw(2, size=(200, 150)), "JPEG", progressive=progressive)
    for cut in (*range(4, len(data), 97), len(data) - 2, len(data) - 1):
        assert refused(data[:cut]).status == "unreadable"
        assert decode_module._decode_jpeg(data[:cut]) is None
    assert refused(data[: len(data) // 2]).message.startswith("image file is truncated")
    assert refused(data[:50]).message == "the JPEG header is damaged or cut short"
    assert read(data + b"trailing bytes").shape == (150, 200, 3)


@pytest.mark.parametrize("format_", ["PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000"])
def test_every_format_decodes_and_its_half_does_not(format_):
    data = encoded(RGB, format_)
    error = np.abs(read(data).astype(int) - pixels_of(RGB))
    assert error.mean() < (12 if format_ in ("GIF", "WEBP", "AVIF", "JPEG2000") else 1e-9)
    if format_ != "JPEG2000":
        assert refused(data[: len(data) // 2]).status == "unreadable"


def test_what_is_no_image_says_so():
    assert refused(b"").message == "the file is empty (0 bytes)"
    assert refused(b"a text file that was named .jpg").message == "not an image of a known format"
    assert refused(b"<svg xmlns='http://www.w3.org/2000/svg'/>").message == "not an image of a known format"
    assert refused(b"\x89PNG\r\n\x1a\n").message == "the PNG header is damaged or cut short"
    assert refused(b"\xff\xd8\xff\xe0" + bytes(20)).status == "unreadable"


def test_formats_that_run_programs_are_not_tried():
    assert refused(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 90\n").message == "not an image of a known format"


def test_size_limits_are_judged_from_the_header():
    bomb = refused(png_header(50_000, 50_000), max_pixels=10**8)
    assert bomb.status == "too_large"
    data = encoded(Image.new("1", (4000, 3000)))
    large = refused(data, max_pixels=10**7)
    assert (large.status, large.width, large.height) == ("too_large", 4000, 3000)
    assert large.message == "4000 x 3000 pixels: more than 10,000,000"
    assert read(data, max_pixels=12 * 10**6).shape == (3000, 4000, 3)
    small = refused(encoded(Image.new("RGB", (1, 1))))
    assert (small.status, small.width, small.height) == ("too_small", 1, 1)
    assert refused(encoded(Image.new("RGB", (300, 7)))).status == "too_small"
    assert read(encoded(Image.new("RGB", (300, 8)))).shape == (8, 300, 3)


@pytest.mark.parametrize("chunk", [b"zTXt", b"iCCP", b"iTXt"])
def test_chunks_that_inflate_without_end_do_no_harm(chunk):
    flood = zlib.compress(bytes(300 * 2**20), 9)
    body = b"name\0\1\0\0\0" + flood if chunk == b"iTXt" else b"name\0\0" + flood
    assert refused(png_header(9, 9, png_chunk(chunk, body))).status == "unreadable"


@pytest.mark.parametrize(
    ("mode", "format_"), [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF"), ("PA", "PNG"), ("RGBA", "GIF")]
)
def test_alpha_is_composited_on_white(mode, format_):
    image = RGB.convert("RGBA")
    alpha = np.zeros((47, 61), np.uint8)
    alpha[:, 20:40], alpha[:, 40:] = 128, 255
    if format_ == "GIF":
        alpha[:, 20:40] = 0
    image.putalpha(Image.fromarray(alpha))
    options = {"lossless": True} if format_ == "WEBP" else {}
    got = read(encoded(image.convert(mode) if mode != "PA" else image.quantize(64), format_, **options)).astype(float)
    base = pixels_of(RGB.convert("L") if mode == "LA" else RGB).astype(float)
    weight = alpha[..., None] / 255
    expected = base * weight + 255 * (1 - weight)
    assert np.abs(got - expected).mean() < (9 if mode == "PA" or format_ == "GIF" else 1)
    assert (got[:, :20] == 255).all()


def test_palettes_with_and_without_transparency():
    palette = RGB.quantize(32)
    assert np.array_equal(read(encoded(palette)), pixels_of(palette))
    index = palette.getpixel((5, 5))
    got = read(encoded(palette, transparency=index))
    is_clear = np.asarray(palette) == index
    assert (got[is_clear] == 255).all()
    assert np.array_equal(got[~is_clear], pixels_of(palette)[~is_clear])


def test_a_transparent_colour_of_an_rgb_png_is_white():
    image = Image.new("RGB", (20, 20), (10, 20, 30))
    image.paste((200, 0, 0), (5, 5, 15, 15))
    got = read(encoded(image, transparency=(10, 20, 30)))
    assert tuple(got[0, 0]) == (255, 255, 255)
    assert tuple(got[10, 10]) == (200, 0, 0)


def test_one_bit():
    bits = RGB.convert("1")
    for format_ in ("BMP", "PNG", "TIFF"):
        assert np.array_equal(read(encoded(bits, format_)), pixels_of(bits))


RAMP = np.linspace(0, 65535, 32 * 24).reshape(24, 32).astype(np.uint16)


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_gray_of_16_bits_keeps_its_tones(format_):
    got = read(encoded(Image.fromarray(RAMP), format_))
    assert np.array_equal(got, np.repeat((RAMP >> 8).astype(np.uint8)[..., None], 3, axis=2))


def test_colour_of_16_bits_keeps_its_tones():
    rows = np.repeat(RAMP[..., None], 3, axis=2).astype(">u2")
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 24, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", zlib.compress(raw)) + png_chunk(b"IEND", b"")
    assert np.array_equal(read(data), np.repeat((RAMP >> 8).astype(np.uint8)[..., None], 3, axis=2))


@pytest.mark.parametrize("scale", [1.0, 255.0, 65535.0])
def test_floats_are_scaled_by_the_range_that_holds_them(scale):
    values = np.linspace(0, scale, 24 * 32, dtype=np.float32).reshape(24, 32)
    got = read(encoded(Image.fromarray(values), "TIFF"))
    assert np.abs(got[..., 0].astype(float) - values / scale * 255).max() <= 0.51


def test_floats_outside_any_range():
    values = np.linspace(-3, 5, 24 * 32, dtype=np.float32).reshape(24, 32)
    values[0, 0] = np.nan
    got = read(encoded(Image.fromarray(values), "TIFF"))
    assert (got.min(), got.max()) == (0, 255)


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_several_is_taken(format_):
    frames = [Image.new("RGB", (30, 20), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if format_ == "WEBP" else {}
    buffer = io.BytesIO()
    frames[0].save(buffer, format_, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(buffer.getvalue())).n_frames == 3
    assert (read(buffer.getvalue()) == (255, 0, 0)).all()


def test_text_chunks_do_not_matter():
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 5000, zip=True)
    buffer = io.BytesIO()
    RGB.save(buffer, "PNG", pnginfo=info)
    assert np.array_equal(read(buffer.getvalue()), pixels_of(RGB))
