"""Sheets of pictures for a person to look at."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[bytes]]], path: Path, *, side: int = 96, columns: int = 2, images_a_row: int = 5
) -> Path:
    """One strip of images a row with its label above, ``columns`` strips side by side; saved as PNG."""
    width, height = images_a_row * (side + 4) + 8, side + 20
    lines = -(-len(rows) // columns)
    sheet = Image.new("RGB", (columns * width, lines * height), "white")
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for index, (label, images) in enumerate(rows):
        x, y = (index // lines) * width, (index % lines) * height
        canvas.text((x + 2, y + 1), label.encode("ascii", "replace").decode()[:90], fill="black", font=font)
        for column, data in enumerate(images[:images_a_row]):
            with Image.open(io.BytesIO(data)) as image:
                shown = Image.new("RGB", (side, side), "#dde")
                copy = image.convert("RGBA")
                copy.thumbnail((side, side))
                shown.paste(copy, ((side - copy.width) // 2, (side - copy.height) // 2), copy)
            sheet.paste(shown, (x + column * (side + 4) + 2, y + 16))
    sheet.save(path)
    return path
