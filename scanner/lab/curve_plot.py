"""Memorization curves as one SVG file: share of generations that are the caption's own picture, by k, with Wilson intervals."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from scanner.lab.curve import Curve, Point

WIDTH, HEIGHT = 640, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 56, 58
_COLORS = ("#b3261e", "#1d5fa8", "#3c7a3a", "#7a4ea3")
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#333}.title{font-size:15px;font-weight:600}.grid{stroke:#ddd}.axis{stroke:#666}"
    ".end{text-anchor:end}.middle{text-anchor:middle}"
)


def curve_svg(
    curves: Mapping[str, Curve], *, title: str = "Share of generations that are the caption's own training picture"
) -> str:
    """An SVG document. Held-out captions stand at 0; any match counts for them, as they have no picture of their own.

    Args:
        curves: name to curve, at most four; all in one plot.
    """
    assert 0 < len(curves) <= len(_COLORS), len(curves)
    shown = {name: [point for point in curve.points if point.group != "template"] for name, curve in curves.items()}
    ks = sorted({point.k for points in shown.values() for point in points})
    step = (WIDTH - _LEFT - _RIGHT) / len(ks)
    parts = [f'<text class="title" x="{_LEFT}" y="20">{escape(title)}</text>']
    for tenth in range(0, 11, 2):
        y = _y(tenth / 10)
        kind = "grid" if tenth else "axis"
        parts.append(f'<line class="{kind}" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="end" x="{_LEFT - 8}" y="{y + 4}">{tenth / 10:g}</text>')
    for place, k in enumerate(ks):
        x = _LEFT + step * (place + 0.5)
        parts.append(f'<text class="middle" x="{x:.1f}" y="{HEIGHT - _BOTTOM + 20}">{"held out" if k == 0 else k}</text>')
    middle = (WIDTH + _LEFT) / 2
    parts.append(f'<text class="middle" x="{middle}" y="{HEIGHT - 12}">k: images of the picture in the training set</text>')
    for number, (name, points) in enumerate(shown.items()):
        color, aside = _COLORS[number], (number - (len(shown) - 1) / 2) * 9
        places = [(_LEFT + step * (ks.index(point.k) + 0.5) + aside, point) for point in points]
        line = " ".join(f"{x:.1f},{_y(point.own.value)}" for x, point in places if point.k)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        parts += [_mark(x, point, name, color) for x, point in places]
        left = _LEFT + 150 * number
        parts.append(f'<circle cx="{left + 5}" cy="38" r="4" fill="{color}"/><text x="{left + 15}" y="42">{escape(name)}</text>')
    told = "; ".join(f"{name}: {_told(points)}" for name, points in shown.items())
    head = f"<title>{escape(title)}</title><desc>{escape(told)}</desc><style>{_STYLE}</style>"
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">{head}{ground}{"".join(parts)}</svg>\n'


def _y(share: float) -> float:
    return round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - share), 1)


def _mark(x: float, point: Point, name: str, color: str) -> str:
    """A dot with its interval; what it says appears on hovering."""
    share = point.own if point.k else point.any
    low, high = share.interval
    what = f"held out, any picture: {share}" if not point.k else f"k = {point.k}: {share}, {point.num_pictures} pictures"
    return (
        f'<g stroke="{color}" fill="{color}"><title>{escape(f"{name}, {what}")}</title>'
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_y(low)}" y2="{_y(high)}" stroke-width="1.5"/>'
        f'<circle cx="{x:.1f}" cy="{_y(share.value)}" r="3.5"/></g>'
    )


def _told(points: list[Point]) -> str:
    return ", ".join(f"k {point.k} {(point.own if point.k else point.any).value:.2f}" for point in points)
