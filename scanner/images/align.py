"""Whether two pictures are the same one altered: laid over one another as well as they go, then compared cell by cell.

The altered copy may be cropped, framed, shifted, stretched, brightened or mirrored, so scale and offset of each axis and one
gain and offset of the levels are fitted first, by iteratively reweighted Gauss-Newton steps from coarse to fine (Lucas & Kanade
1981; Baker & Matthews 2004, "Lucas-Kanade 20 years on", section 3.1, forward additive). What is not the picture, such as a
watermark or the part that varies in a template, is given little weight by Cauchy's function, so that it does not pull.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scanner.core.preprocess import Preprocess

if TYPE_CHECKING:
    import torch

SIDE = 64
"""Pixels of each side of what is compared: both sides squashed to it."""
LOOK = Preprocess(size=(2 * SIDE, 2 * SIDE), resize_mode="squash", interpolation="bilinear")
"""How an image is brought to the size that ``shrink`` halves; the larger one is for telling what a picture is."""
GRID = 16
"""Cells along each side in which the two are compared."""
MAX_STRETCH = 1.32
"""Scale of an axis, at most, and its inverse: 10 % cropped of one and a frame of 8 % on either side of the other, with slack."""
MARGIN = 0.16
"""Of each half side: what is left aside where two frames may have been laid over one another instead of what is in them."""
MIN_OVERLAP = 0.6
"""Share of the area that both show, at least: 10 % of each side cropped away differently in both leaves 0.64."""
GAIN, LEVEL = (0.8, 1.25), 0.08
"""Bounds of the fitted gain, and of the offset of the levels."""
FLAT = 0.03
"""Contrast (standard deviation in [0, 1]) below which noise is all there is; added to the contrast that distances are over."""
BLOCK = 192
"""Pairs aligned at once: about 100 MB."""
_STARTS = ((1.0, 1.0), (1.15, 1.15), (0.87, 0.87), (1.12, 0.95), (0.95, 1.12))
"""Scales that the search begins at, the first one alone for most pairs."""
_COARSE, _FINE, _FINER = (16, 8), ((32, 3), (64, 2)), ((32, 6), (64, 4))
"""Pixels a side and steps, in colour at first, then by luminance."""
HOPELESS = 0.6
"""Distance of the shrunk pictures above which a start is not refined: of one picture, nearly all come out below 0.3."""
TOP = 2
"""Starts that are refined, of those of a pair that does not lie as it is."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Alignment:
    """How n pairs fit, each of picture ``a`` laid over picture ``b``.

    Attributes:
        distance: (n,) root mean square difference over the nine tenths of the cells that agree best, over contrast: 0 for
            equal pixels, about 1.4 for pictures that have nothing to do with one another.
        whole_distance: (n,) the same over all cells that both show.
        cells: (n, GRID, GRID) the same for each cell of ``b``; NaN where ``a`` does not reach.
        overlap: (n,) share of ``b`` that ``a`` reaches.
        contrast: (n,) standard deviation of ``b`` in [0, 1], with ``FLAT``.
        scale, offset: (n, 2) of x and y: ``a`` is read at ``scale * x + offset``, x in [-1, 1].
        gain: (n,) that the levels of ``a`` were multiplied by.
        is_mirrored: (n,) whether ``a`` was flipped first.
    """

    distance: NDArray[np.float32]
    whole_distance: NDArray[np.float32]
    cells: NDArray[np.float32]
    overlap: NDArray[np.float32]
    contrast: NDArray[np.float32]
    scale: NDArray[np.float32]
    offset: NDArray[np.float32]
    gain: NDArray[np.float32]
    is_mirrored: NDArray[np.bool_]


def align(a: NDArray[np.uint8], b: NDArray[np.uint8], *, good: float = 0.12, mirror: bool = True) -> Alignment:
    """Lays each of ``a`` (n, SIDE, SIDE, 3) over its partner in ``b``, of the same shape.

    Args:
        good: distance at which a fit is taken without trying further ones.
        mirror: whether ``a`` may be flipped left to right; tried last.
    """
    assert a.shape == b.shape, (a.shape, b.shape)
    assert a.shape[1:] == (SIDE, SIDE, 3), a.shape
    if not len(a):
        none, pair = np.empty(0, np.float32), np.empty((0, 2), np.float32)
        return Alignment(
            distance=none, whole_distance=none, cells=np.empty((0, GRID, GRID), np.float32), overlap=none, contrast=none,
            scale=pair, offset=pair, gain=none, is_mirrored=np.empty(0, bool),
        )  # fmt: skip
    blocks = [_align_block(a[i : i + BLOCK], b[i : i + BLOCK], good=good, mirror=mirror) for i in range(0, len(a), BLOCK)]
    return Alignment(**{f.name: np.concatenate([getattr(block, f.name) for block in blocks]) for f in fields(Alignment)})


def shrink(looks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, 2 * SIDE, 2 * SIDE, 3) pixels prepared by ``LOOK`` to the (n, SIDE, SIDE, 3) that ``align`` takes."""
    quads = looks.reshape(len(looks), SIDE, 2, SIDE, 2, 3).astype(np.uint16)
    small: NDArray[np.uint8] = ((quads.sum(axis=(2, 4)) + 2) >> 2).astype(np.uint8)
    return small


def _align_block(a: NDArray[np.uint8], b: NDArray[np.uint8], *, good: float, mirror: bool) -> Alignment:
    import torch

    left, right = _planes(a), _planes(b)
    with torch.no_grad():
        # Most copies lie as they are; what does not fit so is tried from every start, and refined from the best of them.
        best = _refined(left, right, _coarse(left, right, _STARTS[:1], 0.0)[0][0], _FINE, 0.0)
        is_mirrored = torch.zeros(len(a), dtype=torch.bool)
        for flip, margin in ((False, 0.0), (False, MARGIN), (True, 0.0)):
            rest = torch.nonzero(~(best.distance <= good)).flatten()
            if not len(rest) or (flip and not mirror):
                break
            x, y = left[rest].flip(3) if flip else left[rest], right[rest]
            thetas, distances = _coarse(x, y, _STARTS, margin)
            for theta, distance in zip(thetas[:TOP], distances[:TOP], strict=True):
                hopeful = torch.nonzero(distance <= HOPELESS).flatten()
                if not len(hopeful):
                    break
                rows = rest[hopeful]
                fit = _refined(x[hopeful], y[hopeful], theta[hopeful], _FINER, margin)
                closer = fit.distance < best.distance[rows]
                best.put(rows[closer], fit, closer)
                is_mirrored[rows[closer]] = flip
        contrast = _contrast(right)
    return Alignment(
        distance=best.distance.numpy(), whole_distance=best.whole.numpy(), cells=best.cells.numpy(),
        overlap=best.overlap.numpy(), contrast=contrast.numpy(), scale=best.theta[:, [0, 2]].numpy(),
        offset=best.theta[:, [1, 3]].numpy(), gain=best.theta[:, 4].numpy(), is_mirrored=is_mirrored.numpy(),
    )  # fmt: skip


@dataclass(slots=True, eq=False)
class _Fit:
    """Of n pairs: theta (n, 6) is scale x, offset x, scale y, offset y, gain, level."""

    theta: torch.Tensor
    distance: torch.Tensor
    whole: torch.Tensor
    cells: torch.Tensor
    overlap: torch.Tensor

    def put(self, rows: torch.Tensor, other: _Fit, chosen: torch.Tensor) -> None:
        for f in fields(self):
            getattr(self, f.name)[rows] = getattr(other, f.name)[chosen]


def _coarse(
    a: torch.Tensor, b: torch.Tensor, starts: tuple[tuple[float, float], ...], margin: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Theta (starts, n, 6) of the local optimum from each start and its distance (starts, n), nearest first, on pictures shrunk
    to a few pixels."""
    import torch

    side, steps = _COARSE
    x, y = _shrunk(a, side), _shrunk(b, side)
    gradient = _gradients(x)
    thetas, distances = [], []
    for start in starts:
        theta = _identity(len(a))
        theta[:, 0], theta[:, 2] = start
        for _ in range(steps):
            theta = _step(x, gradient, y, theta, margin)
        thetas.append(theta)
        distances.append(_measure(x, y, theta, margin).distance)
    ordered, order = torch.stack(distances).sort(dim=0, stable=True)
    return torch.stack(thetas).gather(0, order[..., None].expand(-1, -1, 6)), ordered


def _refined(a: torch.Tensor, b: torch.Tensor, theta: torch.Tensor, levels: tuple[tuple[int, int], ...], margin: float) -> _Fit:
    """From coarse to fine, in the one direction of colour that shows most of ``b``; judged in all three."""
    axes = _colour_axis(b)
    plane_a, plane_b = ((axes * planes).sum(dim=1, keepdim=True) for planes in (a, b))
    for side, steps in levels:
        x, y = _shrunk(plane_a, side), _shrunk(plane_b, side)
        gradient = _gradients(x)
        for _ in range(steps):
            theta = _step(x, gradient, y, theta, margin)
    return _measure(a, b, _levelled(_shrunk(a, 32), _shrunk(b, 32), theta, margin), margin)


def _levelled(a: torch.Tensor, b: torch.Tensor, theta: torch.Tensor, margin: float) -> torch.Tensor:
    """Theta with gain and level fitted in all colours by reweighted least squares, its geometry held."""
    import torch

    n, _, side, _ = a.shape
    grid, is_seen = _grid(theta, side, margin)
    x = torch.nn.functional.grid_sample(a, grid, padding_mode="border", align_corners=False)
    gain, level = torch.ones(n), torch.zeros(n)
    for _ in range(4):
        square = (gain[:, None, None, None] * x + level[:, None, None, None] - b).square().mean(dim=1, keepdim=True)
        weight = _weight(square, is_seen[:, None]).expand_as(x).reshape(n, -1)
        p, q = x.reshape(n, -1), b.reshape(n, -1)
        total = weight.sum(dim=1).clamp(min=1e-6)
        mean_p, mean_q = (weight * p).sum(dim=1) / total, (weight * q).sum(dim=1) / total
        variance = (weight * p.square()).sum(dim=1) / total - mean_p.square()
        covariance = (weight * p * q).sum(dim=1) / total - mean_p * mean_q
        # A weak pull to no change: flat pictures tell nothing of the gain.
        gain = ((covariance + 1e-4) / (variance + 1e-4)).clamp(*GAIN)
        level = (mean_q - gain * mean_p).clamp(-LEVEL, LEVEL)
    return torch.cat([theta[:, :4], gain[:, None], level[:, None]], dim=1)


def _weight(square: torch.Tensor, is_seen: torch.Tensor) -> torch.Tensor:
    """(n, 1, h, w) Cauchy weights at the scale of the better half of the pixels: they decide, whatever the rest shows."""
    import torch

    median = square.masked_fill(~is_seen, torch.inf).reshape(len(square), -1).median(dim=1).values
    return is_seen / (1 + square / (2 * median.clamp(4e-4, 0.04)[:, None, None, None]))


def _step(a: torch.Tensor, gradient: torch.Tensor, b: torch.Tensor, theta: torch.Tensor, margin: float) -> torch.Tensor:
    """One reweighted Gauss-Newton step on all pairs."""
    import torch

    n, channels, side, _ = a.shape
    grid, is_seen = _grid(theta, side, margin)
    warped = torch.nn.functional.grid_sample(torch.cat([a, gradient], dim=1), grid, padding_mode="border", align_corners=False)
    picture, along_x, along_y = warped[:, :channels], warped[:, channels : 2 * channels], warped[:, 2 * channels :]
    gain, level = theta[:, 4, None, None, None], theta[:, 5, None, None, None]
    residual = gain * picture + level - b
    axis = _axis(side)
    x, y = axis[None, None, None, :], axis[None, None, :, None]
    jacobian = torch.stack(
        [gain * along_x * x, gain * along_x, gain * along_y * y, gain * along_y, picture, torch.ones_like(picture)], dim=1
    ).reshape(n, 6, -1)
    square = residual.square().mean(dim=1, keepdim=True)
    weight = _weight(square, is_seen[:, None]).expand_as(residual).reshape(n, 1, -1)
    normal = (jacobian * weight) @ jacobian.transpose(1, 2)
    right = (jacobian * weight) @ residual.reshape(n, -1, 1)
    diagonal = normal.diagonal(dim1=1, dim2=2)
    damping = torch.diag_embed(1e-3 * diagonal + 1e-4 * diagonal.amax(dim=1)[:, None] + 1e-6)
    step = torch.linalg.solve(normal + damping, right)[..., 0].nan_to_num(0.0)
    theta = theta - step.clamp(-0.12, 0.12)
    return _bounded(theta)


def _bounded(theta: torch.Tensor) -> torch.Tensor:
    """Theta within what alterations do: so an unlike picture cannot be stretched until it fits."""
    import torch

    slack = MAX_STRETCH - 1
    scale = theta[:, [0, 2]].clamp(1 / MAX_STRETCH, MAX_STRETCH)
    offset = theta[:, [1, 3]].clamp(-slack, slack)
    gain, level = theta[:, 4].clamp(*GAIN), theta[:, 5].clamp(-LEVEL, LEVEL)
    return torch.stack([scale[:, 0], offset[:, 0], scale[:, 1], offset[:, 1], gain, level], dim=1)


def _measure(a: torch.Tensor, b: torch.Tensor, theta: torch.Tensor, margin: float) -> _Fit:
    """Distances of the pairs at ``theta``."""
    import torch
    from torch.nn import functional

    n, _, side, _ = a.shape
    grid, is_seen = _grid(theta, side, margin)
    warped = functional.grid_sample(a, grid, padding_mode="border", align_corners=False)
    clipped = (theta[:, 4, None, None, None] * warped + theta[:, 5, None, None, None]).clamp(0, 1)
    square = (clipped - b).square().mean(dim=1) * is_seen
    per_cell = max(1, side // GRID)
    seen = functional.avg_pool2d(is_seen[:, None].float(), per_cell)[:, 0]
    cells = functional.avg_pool2d(square[:, None], per_cell)[:, 0] / seen.clamp(min=1e-6)
    is_cell = seen > 0.5
    overlap = (is_seen if not margin else _grid(theta, side, 0.0)[1]).float().mean(dim=(1, 2))
    ordered = cells.masked_fill(~is_cell, torch.inf).reshape(n, -1).sort(dim=1).values
    num_cells = is_cell.reshape(n, -1).sum(dim=1)
    kept = (num_cells * 9 + 9) // 10
    sums = ordered.masked_fill(torch.isinf(ordered), 0).cumsum(dim=1)
    contrast = _contrast(b)
    rows = torch.arange(n)
    trimmed = (sums[rows, (kept - 1).clamp(min=0)] / kept.clamp(min=1)).sqrt() / contrast
    whole = (sums[:, -1] / num_cells.clamp(min=1)).sqrt() / contrast
    is_far = overlap < MIN_OVERLAP
    return _Fit(
        theta,
        trimmed.masked_fill(is_far, torch.inf),
        whole.masked_fill(is_far, torch.inf),
        (cells.sqrt() / contrast[:, None, None]).masked_fill(~is_cell, torch.nan),
        overlap,
    )


def _identity(n: int) -> torch.Tensor:
    import torch

    return torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 0.0]).repeat(n, 1)


def _planes(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """(n, 3, side, side) in [0, 1], each pixel a weighted mean with its neighbours: JPEG and resampling matter less."""
    import torch
    from torch.nn import functional

    planes = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255
    kernel = torch.tensor([1.0, 2.0, 1.0])
    kernel = (kernel[:, None] * kernel / 16).expand(3, 1, 3, 3)
    return functional.conv2d(functional.pad(planes, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)


def _contrast(planes: torch.Tensor) -> torch.Tensor:
    import torch

    flat = planes.reshape(len(planes), 3, -1)
    return torch.sqrt(flat.var(dim=2, correction=0).mean(dim=1) + FLAT**2)


def _colour_axis(planes: torch.Tensor) -> torch.Tensor:
    """(n, 3, 1, 1) unit vector along which the colours of each picture spread most: by luminance alone, some vanish."""
    import torch

    flat = planes.reshape(len(planes), 3, -1)
    centred = flat - flat.mean(dim=2, keepdim=True)
    axis: torch.Tensor = torch.linalg.eigh(centred @ centred.transpose(1, 2)).eigenvectors[:, :, -1]
    return axis[:, :, None, None]


def _shrunk(planes: torch.Tensor, side: int) -> torch.Tensor:
    from torch.nn import functional

    return planes if planes.shape[-1] == side else functional.avg_pool2d(planes, planes.shape[-1] // side)


def _gradients(planes: torch.Tensor) -> torch.Tensor:
    """(n, 6, side, side): along x, then along y, in levels a unit of [-1, 1]."""
    import torch
    from torch.nn import functional

    padded = functional.pad(planes, (1, 1, 1, 1), mode="replicate")
    scale = planes.shape[-1] / 4  # central difference over two pixels of 2 / side
    along_x = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) * scale
    along_y = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) * scale
    return torch.cat([along_x, along_y], dim=1)


def _axis(side: int) -> torch.Tensor:
    import torch

    return (2 * torch.arange(side, dtype=torch.float32) + 1) / side - 1


def _grid(theta: torch.Tensor, side: int, margin: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each pixel of ``b`` lies in ``a`` (n, side, side, 2), and whether ``a`` reaches there (n, side, side); neither
    within ``margin`` of an edge."""
    import torch

    axis = _axis(side)
    x = theta[:, 0, None] * axis + theta[:, 1, None]
    y = theta[:, 2, None] * axis + theta[:, 3, None]
    grid = torch.stack([x[:, None, :].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)], dim=3)
    reach = 1 - margin
    # On either picture: what is at the edge of one may be a frame around the other.
    is_seen_x, is_seen_y = ((values.abs() <= reach) & (axis.abs() <= reach) for values in (x, y))
    return grid, is_seen_y[:, :, None] & is_seen_x[:, None, :]
