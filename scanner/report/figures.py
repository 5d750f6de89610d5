"""Charts as inline SVG: one hue, labelled axes, a title and a description for those who do not see them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scanner.report.markup import Html, element, join
from scanner.report.numbers import compact, percent

WIDTH, HEIGHT = 560, 284
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 10, 40, 50
_GAP = 0.28
_MAX_RANGES = 9
_LEGEND = 22
"""Pixels that the names of lines take above a line chart."""
_LABEL_WIDTH = 44
"""Pixels that the number at a point of a line takes, about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One bar: what stands under it, its height, what stands above it, and whether it is the one that matters."""

    label: str
    value: float
    text: str
    is_emphasised: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line: its name, its points by ascending x, and whether it is the one whose values are written out."""

    label: str
    points: Sequence[tuple[float, float]]
    is_emphasised: bool = True


def bar_chart(
    bars: Sequence[Bar],
    *,
    name: str,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    scale: Literal["linear", "log"] = "linear",
) -> Html:
    """A chart with its zero at the foot of the bars.

    ``log`` draws log(1 + value), so that a bar of one is seen beside one of a million and an empty one has no height;
    the values themselves stand above the bars. ``name`` makes the ids unique in the page.
    """
    highest = max((bar.value for bar in bars), default=0.0)
    ticks = _log_ticks(highest) if scale == "log" else _linear_ticks(highest)
    top = max(highest, ticks[-1])
    inner_width, inner_height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def y(value: float) -> float:
        part = math.log1p(value) / math.log1p(top) if scale == "log" else value / top
        return round(_TOP + inner_height * (1 - part), 1)

    pieces: list[str] = [
        element("title", title, id=f"{name}-title"),
        element("desc", description, id=f"{name}-desc"),
    ]
    for tick in ticks:
        pieces.append(
            element("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y(tick), y2=y(tick), class_="axis" if tick == 0 else "grid")
        )
        pieces.append(element("text", _tick_text(tick), x=_LEFT - 8, y=y(tick) + 4, class_="tick end"))
    step = inner_width / max(len(bars), 1)
    for position, bar in enumerate(bars):
        left, width = _LEFT + step * (position + _GAP / 2), step * (1 - _GAP)
        middle = round(left + width / 2, 1)
        if bar.value > 0:
            pieces.append(
                element(
                    "rect", x=round(left, 1), y=y(bar.value), width=round(width, 1), height=round(y(0) - y(bar.value), 1), rx=1.5,
                    class_="bar" if bar.is_emphasised else "bar soft",
                )
            )  # fmt: skip
        pieces.append(element("text", bar.text, x=middle, y=y(bar.value) - 6, class_="value"))
        pieces.append(element("text", bar.label, x=middle, y=HEIGHT - _BOTTOM + 17, class_="tick"))
    pieces.append(element("text", x_label, x=_LEFT + inner_width / 2, y=HEIGHT - 8, class_="label"))
    pieces.append(element("text", y_label, x=0, y=12, class_="label start"))
    labels = f"{name}-title {name}-desc"
    return element("svg", join(pieces), viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_labelledby=labels, class_="chart")


def line_chart(
    lines: Sequence[Line],
    *,
    name: str,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    marked: float | None,
    marked_label: str,
) -> Html:
    """Lines over a linear axis, shares in [0, 1] up the other, from 0; ``marked`` is an x that a line down the chart sets off.

    Every point is drawn; numbers stand at those of the emphasised line, first, last and marked ones first where room is short.
    """
    xs = sorted({x for line in lines for x, _ in line.points})
    low, high = (xs[0], xs[-1]) if xs else (0.0, 1.0)
    span = high - low or 1.0
    highest = max((y for line in lines for _, y in line.points), default=0.0)
    ticks = _linear_ticks(highest)
    top = max(highest, ticks[-1])
    left, right, head = _LEFT + 28, WIDTH - _RIGHT - 24, _TOP + _LEGEND

    def x_of(value: float) -> float:
        return round(left + (right - left) * ((value - low) / span if high > low else 0.5), 1)

    def y_of(value: float) -> float:
        return round(head + (HEIGHT - head - _BOTTOM) * (1 - value / top), 1)

    pieces: list[str] = [
        element("title", title, id=f"{name}-title"),
        element("desc", description, id=f"{name}-desc"),
        element("text", y_label, x=0, y=12, class_="label start"),
    ]
    for tick in ticks:
        axis = "axis" if tick == 0 else "grid"
        pieces.append(element("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y_of(tick), y2=y_of(tick), class_=axis))
        pieces.append(element("text", f"{100 * tick:g}%", x=_LEFT - 8, y=y_of(tick) + 4, class_="tick end"))
    for tick in _inner_ticks(low, high):
        x, foot = x_of(tick), HEIGHT - _BOTTOM
        pieces.append(element("line", x1=x, x2=x, y1=foot, y2=foot + 5, class_="axis"))
        pieces.append(element("text", f"{tick:g}", x=x, y=foot + 18, class_="tick"))
    if marked is not None and low <= marked <= high:
        x = x_of(marked)
        pieces.append(element("line", x1=x, x2=x, y1=head - 4, y2=HEIGHT - _BOTTOM, class_="mark"))
        side = "end" if x > WIDTH / 2 else "start"
        pieces.append(element("text", marked_label, x=x + (-6 if side == "end" else 6), y=head + 4, class_=f"value {side}"))
    key = _LEFT
    for line in lines:
        style = "curve" if line.is_emphasised else "curve soft"
        at = [(x_of(x), y_of(y)) for x, y in line.points]
        pieces.append(element("polyline", points=" ".join(f"{x},{y}" for x, y in at), class_=style))
        pieces += [element("circle", cx=x, cy=y, r=3.5, class_=style) for x, y in at]
        pieces.append(element("line", x1=key, x2=key + 22, y1=_LEGEND + 8, y2=_LEGEND + 8, class_=style))
        pieces.append(element("text", line.label, x=key + 28, y=_LEGEND + 12, class_="label start"))
        key += 60 + round(7.5 * len(line.label))
        if line.is_emphasised:
            pieces += _written(line, at, marked)
    pieces.append(element("text", x_label, x=(left + right) / 2, y=HEIGHT - 8, class_="label"))
    labels = f"{name}-title {name}-desc"
    return element("svg", join(pieces), viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_labelledby=labels, class_="chart")


def _written(line: Line, at: Sequence[tuple[float, float]], marked: float | None) -> list[Html]:
    """Numbers below the points of a line, where they do not run into one another."""
    last = len(at) - 1
    urgent = [k for k in range(len(at)) if k in (0, last) or line.points[k][0] == marked]
    taken: list[int] = []
    for k in [*urgent, *range(len(at))]:
        if all(abs(at[k][0] - at[other][0]) >= _LABEL_WIDTH for other in taken):
            taken.append(k)
    return [element("text", percent(line.points[k][1]), x=at[k][0], y=at[k][1] + 19, class_="value") for k in sorted(taken)]


def range_labels(bounds: Sequence[tuple[int, int]]) -> list[str]:
    """``1``, ``2–3``, ``4–7`` … where there is room for both ends, else the lower ends alone."""
    if len(bounds) > _MAX_RANGES:
        return [_power(low) for low, _ in bounds]
    return [str(low) if low == high else f"{compact(low)}–{compact(high)}" for low, high in bounds]


def _power(number: int) -> str:
    """Powers of two, short: ``512``, ``1Ki``, ``2Mi``."""
    for bits, unit in ((30, "Gi"), (20, "Mi"), (10, "Ki")):
        if number >= 1 << bits:
            return f"{number >> bits}{unit}"
    return str(number)


def _log_ticks(highest: float) -> list[float]:
    """0, 1, 10, … up to the first power that covers the bars, at most about six."""
    powers = math.ceil(math.log10(max(highest, 1)))
    step = max(1, math.ceil(powers / 5))
    return [0.0, *(10.0**power for power in range(0, powers + step, step))]


def _inner_ticks(low: float, high: float) -> list[float]:
    """Up to about six round numbers from ``low`` to ``high``."""
    if high <= low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(power * factor for factor in (1, 2, 5, 10) if (high - low) / (power * factor) <= 6)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * k, 10) for k in range(first, last + 1)]


def _linear_ticks(highest: float) -> list[float]:
    """0 and up to five steps of 1, 2 or 5 times a power of ten."""
    if highest <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(highest / 4))
    step = next(power * factor for factor in (1, 2, 5, 10) if highest / (power * factor) <= 5)
    return [step * k for k in range(math.ceil(highest / step - 1e-9) + 1)]


def _tick_text(value: float) -> str:
    return compact(round(value)) if value == round(value) else f"{value:g}"
