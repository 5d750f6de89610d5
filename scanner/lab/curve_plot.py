"""Memorization curves as one SVG file: a share by k, the number of copies, with Wilson intervals; a line a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from scanner.core.shares import Share
from scanner.lab.curve import Curve
from scanner.lab.curve_unconditional import UnconditionalCurve

WIDTH, HEIGHT = 640, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 56, 58
_COLORS = ("#b3261e", "#1d5fa8", "#3c7a3a", "#7a4ea3")
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#333}.title{font-size:15px;font-weight:600}.grid{stroke:#ddd}.axis{stroke:#666}"
    ".end{text-anchor:end}.middle{text-anchor:middle}"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A place of a curve. Held-out captions stand at k = 0, off the line."""

    k: int
    share: Share
    told: str


def marks_of(curve: Curve | UnconditionalCurve) -> list[Mark]:
    """What is drawn of a curve: own pictures of captions, or pictures of a k that came at all.

    Of held-out captions any match counts, as they have no picture of their own. Templates, which are at k = 1 too, and held-out
    captions that are like those of memorized pictures, and so no control, are left out.
    """
    if isinstance(curve, UnconditionalCurve):
        return [Mark(k=e.k, share=e.pictures, told=f"k = {e.k}: {e.pictures} of the pictures") for e in curve.emitted]
    return [
        Mark(k=point.k, share=point.own, told=f"k = {point.k}: {point.own}, {point.num_pictures} pictures")
        if point.k
        else Mark(k=0, share=point.any, told=f"held out, any picture: {point.any}")
        for point in curve.points
        if point.group not in ("template", "like_memorized")
    ]


def curve_svg(curves: Mapping[str, Curve] | Mapping[str, UnconditionalCurve]) -> str:
    """An SVG document.

    Args:
        curves: name to curve, at most four and all of one kind; all in one plot.
    """
    assert 0 < len(curves) <= len(_COLORS), len(curves)
    shown = {name: marks_of(curve) for name, curve in curves.items()}
    kinds = {isinstance(curve, UnconditionalCurve) for curve in curves.values()}
    assert len(kinds) == 1, "curves of prompts and of no prompts have nothing in common"
    title = (
        "Share of the training pictures that were emitted"
        if kinds == {True}
        else "Share of generations that are the caption's own training picture"
    )
    ks = sorted({mark.k for marks in shown.values() for mark in marks})
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
    for number, (name, marks) in enumerate(shown.items()):
        color, aside = _COLORS[number], (number - (len(shown) - 1) / 2) * 9
        places = [(_LEFT + step * (ks.index(mark.k) + 0.5) + aside, mark) for mark in marks]
        line = " ".join(f"{x:.1f},{_y(mark.share.value)}" for x, mark in places if mark.k)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        parts += [_drawn(x, mark, name, color) for x, mark in places]
        left = _LEFT + 180 * number
        parts.append(f'<circle cx="{left + 5}" cy="38" r="4" fill="{color}"/><text x="{left + 15}" y="42">{escape(name)}</text>')
    told = "; ".join(f"{name}: " + ", ".join(f"k {m.k} {m.share.value:.2f}" for m in marks) for name, marks in shown.items())
    head = f"<title>{escape(title)}</title><desc>{escape(told)}</desc><style>{_STYLE}</style>"
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">{head}{ground}{"".join(parts)}</svg>\n'


def _y(share: float) -> float:
    return round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - share), 1)


def _drawn(x: float, mark: Mark, name: str, color: str) -> str:
    """A dot with its interval; what it says appears on hovering."""
    low, high = mark.share.interval
    return (
        f'<g stroke="{color}" fill="{color}"><title>{escape(f"{name}, {mark.told}")}</title>'
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_y(low)}" y2="{_y(high)}" stroke-width="1.5"/>'
        f'<circle cx="{x:.1f}" cy="{_y(mark.share.value)}" r="3.5"/></g>'
    )
