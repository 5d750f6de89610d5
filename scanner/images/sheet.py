"""A contact sheet: small pictures in strips under labels, as one PNG to look at."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SIDE = 128
"""Pixels of a frame."""
_GAP, _LABEL = 4, 30
_GROUND, _EMPTY, _INK = "white", "#dddde6", "black"


def contact_sheet(strips: Sequence[tuple[str, Sequence[NDArray[np.uint8] | str]]], *, columns: int) -> bytes:
    """Each strip a label of up to two lines above its pictures: pixels (h, w, 3) of at most ``SIDE``, or a reason why there are
    none. All strips are as wide as the longest.

    Args:
        columns: strips side by side.
    """
    from PIL import Image, ImageDraw, ImageFont

    longest = max((len(pictures) for _, pictures in strips), default=1)
    width, height = longest * (SIDE + _GAP) + 2 * _GAP, SIDE + _LABEL + _GAP
    lines = max(1, -(-len(strips) // columns))
    sheet = Image.new("RGB", (min(columns, max(1, len(strips))) * width, lines * height), _GROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for index, (label, pictures) in enumerate(strips):
        row, column = divmod(index, columns)
        x, y = column * width + _GAP, row * height
        draw.multiline_text((x, y + 1), _drawable(label, width), fill=_INK, font=font, spacing=1)
        for picture in pictures:
            frame = Image.new("RGB", (SIDE, SIDE), _EMPTY)
            if isinstance(picture, str):
                ImageDraw.Draw(frame).multiline_text((4, 4), _wrapped(picture), fill=_INK, font=font, spacing=1)
            else:
                # Pixel by pixel: what is small is to be seen as it is.
                scale = max(1, SIDE // max(picture.shape[:2]))
                shown = Image.fromarray(picture.repeat(scale, axis=0).repeat(scale, axis=1))
                frame.paste(shown, ((SIDE - shown.width) // 2, (SIDE - shown.height) // 2))
            sheet.paste(frame, (x, y + _LABEL))
            x += SIDE + _GAP
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _drawable(text: str, width: int) -> str:
    """What the font has, as much as fits: about six pixels a letter."""
    most = width // 6
    return "\n".join(_plain(line)[:most] for line in text.split("\n")[:2])


def _wrapped(text: str) -> str:
    plain = _plain(text)
    return "\n".join(plain[start : start + 20] for start in range(0, min(len(plain), 180), 20))


def _plain(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)
