"""Bar charts as inline SVG: one hue, labelled axes, a title and a description for those who do not see them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scanner.report.markup import Html, element, join
from scanner.report.numbers import compact

WIDTH, HEIGHT = 560, 284
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 10, 40, 50
_GAP = 0.28
_MAX_RANGES = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One bar: what stands under it, its height, what stands above it, and whether it is the one that matters."""

    label: str
    value: float
    text: str
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


def _linear_ticks(highest: float) -> list[float]:
    """0 and up to five steps of 1, 2 or 5 times a power of ten."""
    if highest <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(highest / 4))
    step = next(power * factor for factor in (1, 2, 5, 10) if highest / (power * factor) <= 5)
    return [step * k for k in range(math.ceil(highest / step - 1e-9) + 1)]


def _tick_text(value: float) -> str:
    return compact(round(value)) if value == round(value) else f"{value:g}"
