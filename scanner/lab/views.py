"""Altered views of a batch of images as tensor arithmetic: what the bundled encoder learns to see through, and what not.

A ``view`` is what a copy may look like: cropped, bordered, re-encoded, marked, its colours moved. An ``edit`` is another
picture that only resembles the first: a region of it shows something else, as in template families, or a part of it has moved,
or its colours are others. Mirroring is neither: it is a kind of its own and is not learned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from scanner.lab.lettering import text_mask

if TYPE_CHECKING:
    import torch

EDIT_AREA = (0.15, 0.45)
"""Of the picture, in a region that shows something else."""
MARK_TEXTS = ("PREVIEW", "SAMPLE", "STOCK", "© ARCHIVE", "COPY", "DEMO 24", "NOT FOR SALE", "PROOF")


@dataclass(frozen=True, kw_only=True, slots=True)
class Strength:
    """How far a view may go from its source; ``p_`` are probabilities."""

    crop: float = 0.13
    """Of a side, cut off at most; a third of the views are left whole."""
    border: float = 0.12
    """Of a side, added as a frame at most."""
    p_border: float = 0.3
    turn_degrees: float = 4.0
    p_turn: float = 0.1
    tone: float = 0.22
    """Of the logarithm of gain and gamma, at most."""
    saturation: float = 0.3
    hue: float = 0.0
    blur: float = 0.35
    """Probability of a loss of detail: blur, shrinking or block coding."""
    p_mark: float = 0.35
    noise: float = 0.03


MILD = Strength(crop=0.04, border=0.0, p_border=0.0, p_turn=0.0, tone=0.06, saturation=0.06, blur=0.15, p_mark=0.0, noise=0.01)
STRONG = Strength()
FAITHFUL = Strength(crop=0.14, border=0.11, p_border=0.35, tone=0.10, saturation=0.08)
"""As far in shape as ``STRONG``, but colours stay near: what is recoloured is to be told apart."""
FRAMED = Strength(crop=0.14, border=0.10, p_border=0.5, p_turn=0.0, tone=0.10, saturation=0.08)
"""Above all cropped and bordered, which costs an embedding most."""


def view(images: torch.Tensor, side: int, strength: Strength, generator: torch.Generator) -> torch.Tensor:
    """One altered view of each image.

    Args:
        images: uint8 (n, 3, h, w), h and w about 5/4 of ``side``.

    Returns:
        float32 (n, 3, side, side) in [0, 1].
    """
    import torch

    x = _warp(images.to(torch.float32).div_(255), side, strength, generator)
    x = _recolor(x, strength, generator)
    if strength.p_mark:
        x = _mark(x, strength.p_mark, generator)
    return _degrade(x, strength, generator).clamp_(0, 1)


def edit(
    views: torch.Tensor, others: torch.Tensor, generator: torch.Generator, area_range: tuple[float, float] = EDIT_AREA
) -> torch.Tensor:
    """``views`` with a box of that share of the area filled from ``others``; both float32 (n, 3, h, w)."""
    import torch

    n, _, height, width = views.shape
    area = _uniform(generator, n, *area_range)
    aspect = torch.exp(_uniform(generator, n, -0.5, 0.5))
    box_w, box_h = (area * aspect).sqrt().clamp(max=0.95), (area / aspect).sqrt().clamp(max=0.95)
    left, top = torch.rand(n, generator=generator) * (1 - box_w), torch.rand(n, generator=generator) * (1 - box_h)
    x = (torch.arange(width) + 0.5) / width
    y = (torch.arange(height) + 0.5) / height
    columns = (x[None] > left[:, None]) & (x[None] < (left + box_w)[:, None])
    rows = (y[None] > top[:, None]) & (y[None] < (top + box_h)[:, None])
    return torch.where((rows[:, :, None] & columns[:, None])[:, None], others, views)


def move_part(views: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A box of 10 to 40 % filled from the picture itself, taken 15 to 50 % of a side away: another member of its series."""
    import torch

    n, _, height, width = views.shape
    far = _uniform(generator, n, 0.15, 0.5)
    down = _chosen(generator, n, 0.5)
    moved = torch.stack(
        [x.roll(int(f * (height if d else width)), 1 if d else 2) for x, f, d in zip(views, far, down, strict=True)]
    )
    return edit(views, moved, generator, (0.10, 0.40))


def recolor(views: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each channel under a gamma of its own, so that white grounds and black lines stay: the drawing in other colours."""
    import torch

    gamma = torch.exp((torch.rand(len(views), 3, generator=generator) * 2 - 1) * 0.8)
    return views.clamp(1e-3, 1) ** gamma[:, :, None, None]


def as_new_pictures(images: torch.Tensor, chosen: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Of uint8 (n, 3, s, s) the ``chosen`` (n,) turned, mirrored and with their channels exchanged: other pictures of like style.

    Views of one result are views of one picture, so a few thousand drawings become many times as many.
    """
    import torch

    out = images.clone()
    for index in torch.nonzero(chosen).flatten().tolist():
        turns, flip = int(torch.randint(4, (1,), generator=generator)), int(torch.randint(2, (1,), generator=generator))
        x = torch.rot90(images[index][torch.randperm(3, generator=generator)], turns, (1, 2))
        out[index] = x.flip(2) if flip else x
    return out


def _uniform(generator: torch.Generator, n: int, low: float, high: float) -> torch.Tensor:
    import torch

    return low + (high - low) * torch.rand(n, generator=generator)


def _chosen(generator: torch.Generator, n: int, probability: float) -> torch.Tensor:
    import torch

    return torch.rand(n, generator=generator) < probability


def _warp(x: torch.Tensor, side: int, strength: Strength, generator: torch.Generator) -> torch.Tensor:
    """Crop, frame and turn in one bilinear resampling: sources of 5/4 of the size alias little and blur little."""
    import torch
    from torch.nn import functional

    n = len(x)
    # Of a side: cut > 0 crops, cut < 0 leaves room for a frame. The two sides and the four edges differ.
    cut = torch.rand(n, 2, generator=generator) * strength.crop
    cut[_chosen(generator, n, 1 / 3)] = 0
    framed = _chosen(generator, n, strength.p_border)
    frame = torch.rand(n, 1, generator=generator) * strength.border * (0.85 + 0.3 * torch.rand(n, 2, generator=generator))
    cut = torch.where(framed[:, None], -2 * frame, cut)
    shift = torch.rand(n, 2, generator=generator) * 2 - 1
    shift = torch.where(framed[:, None], shift * 0.25, shift) * cut
    turn = _uniform(generator, n, -1, 1) * _chosen(generator, n, strength.p_turn) * math.radians(strength.turn_degrees)
    scale, cos, sin = 1 - cut, torch.cos(turn), torch.sin(turn)
    rows = [torch.stack([cos * scale[:, 0], -sin * scale[:, 1], shift[:, 0]], 1)]
    rows.append(torch.stack([sin * scale[:, 0], cos * scale[:, 1], shift[:, 1]], 1))
    grid = functional.affine_grid(torch.stack(rows, 1), [n, 3, side, side], align_corners=False)
    out = functional.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
    inside = (grid.abs() <= 1).all(dim=3) | ~framed[:, None, None]
    tone = torch.rand(n, 3, generator=generator)
    kind = torch.rand(n, generator=generator)
    tone[kind < 0.4] = 1
    tone[(kind >= 0.4) & (kind < 0.7)] = 0
    # Beyond the picture: the frame where there is one, else (at the corners of a turned one) the picture's own edge.
    return torch.where(inside[:, None], out, tone[:, :, None, None])


def _recolor(x: torch.Tensor, strength: Strength, generator: torch.Generator) -> torch.Tensor:
    import torch

    n = len(x)
    active = _chosen(generator, n, 0.6).to(x.dtype)
    gain = torch.exp(_uniform(generator, n, -1, 1) * strength.tone * active)
    contrast = torch.exp(_uniform(generator, n, -1, 1) * strength.tone * 0.7 * active)
    gamma = torch.exp(_uniform(generator, n, -1, 1) * strength.tone * _chosen(generator, n, 0.3))
    saturation = 1 + _uniform(generator, n, -1, 1) * strength.saturation * _chosen(generator, n, 0.3)
    balance = 1 + (torch.rand(n, 3, generator=generator) * 2 - 1) * strength.tone * 0.25 * active[:, None]
    shaped = x.clamp(1e-3, 1) ** gamma[:, None, None, None]
    mean = shaped.mean(dim=(1, 2, 3), keepdim=True)
    shaped = (shaped - mean) * contrast[:, None, None, None] + mean
    luma = (shaped * shaped.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]).sum(1, keepdim=True)
    shaped = luma + (shaped - luma) * saturation[:, None, None, None]
    return (shaped * (gain[:, None] * balance)[:, :, None, None]).clamp(0, 1)


@lru_cache(maxsize=1)
def _marks() -> torch.Tensor:
    """(m, 1, 16, 64): lines of text, to be laid over pictures."""
    import torch
    from PIL import Image

    masks = [np.asarray(text_mask(text, 32).resize((64, 16), Image.Resampling.BILINEAR), np.float32) / 255 for text in MARK_TEXTS]
    return torch.from_numpy(np.stack(masks))[:, None]


def _mark(x: torch.Tensor, probability: float, generator: torch.Generator) -> torch.Tensor:
    """A translucent plate with text on 3 to 10 % of the area, or text alone."""
    import torch
    from torch.nn import functional

    n, _, height, width = x.shape
    area, aspect = _uniform(generator, n, 0.03, 0.10), _uniform(generator, n, 1.6, 5.0)
    w, h = (area * aspect).sqrt(), (area / aspect).sqrt()
    centre_x, centre_y = _uniform(generator, n, -1, 1) * (1 - w), _uniform(generator, n, -1, 1) * (1 - h)
    zero = torch.zeros(n)
    theta = torch.stack([torch.stack([1 / w, zero, -centre_x / w], 1), torch.stack([zero, 1 / h, -centre_y / h], 1)], 1)
    grid = functional.affine_grid(theta, [n, 1, height, width], align_corners=False)
    letters = _marks()[torch.randint(len(MARK_TEXTS), (n,), generator=generator)]
    text = functional.grid_sample(letters, grid, padding_mode="zeros", align_corners=False)
    plate = (grid.abs() <= 1).all(dim=3)[:, None].to(x.dtype)
    is_light = _chosen(generator, n, 0.65).to(x.dtype)[:, None, None, None]
    plate_opacity = (_uniform(generator, n, 0.08, 0.4) * _chosen(generator, n, 0.75))[:, None, None, None]
    text_opacity = _uniform(generator, n, 0.2, 0.7)[:, None, None, None]
    active = _chosen(generator, n, probability).to(x.dtype)[:, None, None, None]
    x = x + (is_light - x) * plate * plate_opacity * active
    return x + ((1 - is_light) - x) * text * text_opacity * active


def _degrade(x: torch.Tensor, strength: Strength, generator: torch.Generator) -> torch.Tensor:
    """A third each of those chosen: blurred or sharpened, shrunk and enlarged, quantised in blocks of 8; then noise."""
    import torch
    from torch.nn import functional

    n, _, height, width = x.shape
    kind = torch.randint(3, (n,), generator=generator)
    kind[~_chosen(generator, n, strength.blur)] = 3
    share = _uniform(generator, n, -0.7, 0.9)[:, None, None, None]
    smooth = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    out = torch.where((kind == 0)[:, None, None, None], x + (smooth - x) * share, x)
    for index in torch.nonzero(kind == 1).flatten().tolist():
        factor = 0.5 + 0.4 * float(share[index].abs())
        small = functional.interpolate(
            x[index : index + 1], size=(int(height * factor), int(width * factor)), mode="bilinear", antialias=True
        )
        out[index] = functional.interpolate(small, size=(height, width), mode="bilinear")[0]
    coded = torch.nonzero(kind == 2).flatten()
    if len(coded):
        steps = _uniform(generator, len(coded), 0.02, 0.12)
        out[coded] = _block_code(x[coded], steps)
    amount = (_uniform(generator, n, 0, strength.noise) * _chosen(generator, n, 0.4))[:, None, None, None]
    return out + torch.randn(out.shape, generator=generator) * amount


def _block_code(x: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Each block of 8 x 8 through a cosine transform whose coefficients are rounded, coarser at higher frequencies."""
    import torch

    n, channels, height, width = x.shape
    k = torch.arange(8, dtype=torch.float32)
    basis = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16) * math.sqrt(2 / 8)
    basis[0] /= math.sqrt(2)
    blocks = x.reshape(n, channels, height // 8, 8, width // 8, 8).permute(0, 1, 2, 4, 3, 5)
    coefficients = basis @ blocks @ basis.T
    quantum = steps[:, None, None, None, None, None] * (1 + (k[:, None] + k[None]) / 4)
    decoded = basis.T @ ((coefficients / quantum).round() * quantum) @ basis
    return decoded.permute(0, 1, 2, 4, 3, 5).reshape(n, channels, height, width)
