"""Numbers as a reader wants them: grouped digits, honest roundings."""

from __future__ import annotations

import math


def count(number: int) -> str:
    """``12,345``."""
    return f"{number:,}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 group``, ``2 groups``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def compact(number: int) -> str:
    """Exact below 10,000, then three digits: ``12.3k``, ``1.05M``, ``10k``."""
    if number < 10_000:
        return f"{number:,}"
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            value = number / unit
            digits = f"{value:.{max(0, 2 - int(math.log10(value)))}f}"
            return (digits.rstrip("0").rstrip(".") if "." in digits else digits) + name
    raise AssertionError("10,000 and more has a unit")


def share(part: int, whole: int) -> str:
    """Percent with one decimal; what is not nothing never reads 0.0% and what is not all never reads 100.0%."""
    return percent(part / whole) if whole else "–"


def percent(value: float) -> str:
    """A share in [0, 1] as percent, see ``share``."""
    if 0 < value < 0.001:
        return "<0.1%"
    if 0.999 < value < 1:
        return ">99.9%"
    return f"{100 * value:.1f}%"


def probability(value: float) -> str:
    """Percent with two significant digits, down to where only the order matters."""
    if value <= 0:
        return "0%"
    if value < 1e-6:
        return "<0.0001%"
    rounded = float(f"{100 * value:.1e}")
    return f"{rounded:.{max(0, 1 - math.floor(math.log10(rounded)))}f}%"


def similarity(value: float) -> str:
    """A cosine with four digits, cut and not rounded: below 1 it never reads 1."""
    return f"{math.floor(value * 10_000 + 1e-3) / 10_000:.4f}"
