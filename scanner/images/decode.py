"""Encoded image files to RGB pixels. The content decides the format, never a name.

What is decoded: the first frame, as stored (EXIF orientation and colour profiles are left alone, as open_clip leaves them),
alpha composited on white, more than 8 bits a channel scaled to 8.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000")
"""Formats that are tried. Pillow knows more, some of which start other programs (EPS) or fit any bytes (TGA)."""

_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
}
_MAX_MESSAGE = 200


class UnusableImageError(Exception):
    """An image that has no pixels for us. Becomes a row with this status, not an error of the scan.

    Attributes:
        status: ``unreadable``, ``too_small`` or ``too_large``, as in table ``images``.
        message: one short line without paths or addresses, the same each time.
        width, height: pixels, where the header could be read.
    """

    def __init__(
        self,
        status: Literal["unreadable", "too_small", "too_large"],
        message: str,
        *,
        width: int | None = None,
        height: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.width = width
        self.height = height


def decode(data: bytes, *, max_pixels: int, min_side: int) -> NDArray[np.uint8]:
    """Pixels of an encoded image, (height, width, 3) RGB, white where it is transparent.

    Both limits are judged from the header, before any pixel is decoded.

    Raises:
        UnusableImageError: not an image, damaged, cut short, or outside the limits.
        MemoryError: decoding needs more memory than the process may take; the size is not known to be unreasonable.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow: bombs, odd EXIF, odd palettes; of torchvision: its deprecation
        try:
            image = _open(data)
        except MemoryError:
            raise
        except Exception as error:
            raise _unopened(data, error) from error
        width, height = image.size
        if width * height > max_pixels:
            message = f"{width} x {height} pixels: more than {max_pixels:,}"
            raise UnusableImageError("too_large", message, width=width, height=height)
        if min(width, height) < min_side:
            message = f"{width} x {height} pixels: a side is shorter than {min_side}"
            raise UnusableImageError("too_small", message, width=width, height=height)
        try:
            if image.format == "JPEG" and image.mode in ("RGB", "L"):
                pixels = _decode_jpeg(data)
                # Where torchvision refuses Pillow decides, as in open_clip's own loading.
                if pixels is not None and pixels.shape[:2] == (height, width):
                    return pixels
            return _rgb(image)
        except MemoryError:
            raise
        except Exception as error:
            raise UnusableImageError("unreadable", _explain(error), width=width, height=height) from error


def _open(data: bytes) -> Image.Image:
    # The plugins register themselves; without them Pillow would import all of its plugins at the first odd file.
    from PIL import AvifImagePlugin, Image, Jpeg2KImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401

    return Image.open(io.BytesIO(data), formats=FORMATS)


def _unopened(data: bytes, error: Exception) -> UnusableImageError:
    from PIL import Image

    if isinstance(error, Image.DecompressionBombError):  # only where Pillow's own limit is in force
        return UnusableImageError("too_large", "more pixels than Pillow's limit")
    if not data:
        return UnusableImageError("unreadable", "the file is empty (0 bytes)")
    if isinstance(error, (OSError, SyntaxError)):  # what Pillow and its plugins raise
        for signature, name in _SIGNATURES.items():
            if data.startswith(signature):
                return UnusableImageError("unreadable", f"the {name} header is damaged or cut short")
        return UnusableImageError("unreadable", "not an image of a known format")
    return UnusableImageError("unreadable", _explain(error))


def _explain(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"0x[0-9a-fA-F]+", "…", text)[:_MAX_MESSAGE]


def _decode_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """Pixels by torchvision, whose decoder gives Pillow's pixels in less time; None where it refuses or is gone.

    torchvision has announced the removal of its decoders (deprecated since 0.29). Without them Pillow does all, about a
    sixth slower.
    """
    try:
        import torch
        from torchvision.io import ImageReadMode, decode_jpeg
    except ImportError:
        return None

    try:
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        decoded = decode_jpeg(encoded, mode=ImageReadMode.RGB)
    except RuntimeError as error:
        raise_if_memory(error)
        return None
    assert isinstance(decoded, torch.Tensor)
    pixels: NDArray[np.uint8] = decoded.permute(1, 2, 0).contiguous().numpy()
    return pixels


def raise_if_memory(error: RuntimeError) -> None:
    """Raise the MemoryError that torch's RuntimeError of a failed allocation stands for."""
    if "alloc" in str(error):
        raise MemoryError(str(error)) from error


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        image.load()
        if image.mode in ("I", "F") or image.mode.startswith("I;"):
            gray = _eight_bits(np.asarray(image), image.mode)
            return np.repeat(gray[..., None], 3, axis=2)
        if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
            layer = image.convert("RGBA")
            image = Image.new("RGB", layer.size, (255, 255, 255))
            image.paste(layer, mask=layer.getchannel("A"))
            del layer
        return np.array(image.convert("RGB"))
    except (OSError, ValueError) as error:
        # Codec code -9: Pillow's decoders and libtiff tell so that an allocation failed.
        if "memory" in str(error):
            raise MemoryError(str(error)) from error
        raise


def _eight_bits(values: NDArray[np.generic], mode: str) -> NDArray[np.uint8]:
    """Gray values of more than 8 bits, by their high byte, as Pillow itself does for 16-bit colour.

    Files of 32 bits and of floats do not tell their range: it is taken as the first of [0, 1] (floats), [0, 255] and
    [0, 65535] that holds every value, else as the range of the values themselves. NaN counts as 0.
    """
    if mode.startswith("I;16"):
        return (values.astype(np.uint16) >> 8).astype(np.uint8)
    gray = np.nan_to_num(values.astype(np.float64))
    low, high = float(gray.min()), float(gray.max())
    ceilings = [255.0, 65535.0] if mode == "I" else [1.0, 255.0, 65535.0]
    top = next((c for c in ceilings if low >= 0 and high <= c), None)
    if top is None:
        gray, top = gray - low, max(high - low, 1e-300)
    return np.rint(gray * (255.0 / top)).astype(np.uint8)
