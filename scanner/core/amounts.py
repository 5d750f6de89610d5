"""Numbers as people write them (``5e9``, ``400M``, ``16GB``), and seconds and bytes as people read them."""

from __future__ import annotations

import math
import re

from scanner.core.errors import ConfigError

MOST = 10**15
"""Of any count or size: past it are slips of the keyboard."""
COUNTS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
BYTES = {
    "": 1, "b": 1,
    "k": 10**3, "kb": 10**3, "kib": 2**10, "m": 10**6, "mb": 10**6, "mib": 2**20,
    "g": 10**9, "gb": 10**9, "gib": 2**30, "t": 10**12, "tb": 10**12, "tib": 2**40,
}  # fmt: skip
_NUMBER = re.compile(r"([+-]?(?:\d[\d_,]*)?(?:\.\d+)?(?:e[+-]?\d+)?)\s*([a-z]*)")


def parse_count(text: str, *, name: str) -> int:
    """A whole number from 1 to 10^15: ``5e9``, ``5_000_000_000``, ``5,000,000,000``, ``400M``, ``2.3B``.

    Raises:
        ConfigError: not a number, of an unknown unit, not whole, or out of range. Names ``name``.
    """
    value = _parse(text, COUNTS, name=name, example="5e9, 5_000_000_000 or 400M")
    if value != int(value) or not 1 <= value <= MOST:
        raise ConfigError(f"{name} is {text!r}.", next_step="Give a whole number from 1 to 1e15, such as 400M.")
    return int(value)


def parse_bytes(text: str, *, name: str) -> int:
    """Bytes from 1 to 10^15: ``16GB`` (10^9), ``16GiB`` (2^30), ``500k``, ``41000``; rounded to a whole byte.

    Raises:
        ConfigError: not a number, of an unknown unit, or out of range. Names ``name``.
    """
    value = _parse(text, BYTES, name=name, example="16GB, 16GiB or 40k")
    if not 1 <= value <= MOST:
        raise ConfigError(f"{name} is {text!r}.", next_step="Give a size from 1 byte to 1000TB, such as 16GB.")
    return round(value)


def _parse(text: str, units: dict[str, int], *, name: str, example: str) -> float | int:
    match = _NUMBER.fullmatch(text.strip().lower())
    number, unit = match.groups() if match else ("", "")
    if match and number and unit in units:
        digits = number.replace("_", "").replace(",", "")
        try:
            value: float | int = int(digits) * units[unit]
        except ValueError:
            try:
                value = float(digits) * units[unit]
            except ValueError:
                value = math.nan
        if isinstance(value, int) or math.isfinite(value):
            return value
    raise ConfigError(f"{name} is {text!r}, which is not a number.", next_step=f"Write {example}.")


def show_seconds(seconds: float) -> str:
    """Two or three digits and the unit a person would use: ``under 1 s``, ``42 s``, ``17 min``, ``71 h``, ``12 d``."""
    if seconds < 1:
        return "under 1 s" if seconds > 0 else "0 s"
    for limit, divisor, unit in ((120, 1, "s"), (2 * 3600, 60, "min"), (100 * 3600, 3600, "h"), (2 * 365 * 86400, 86400, "d")):
        if seconds < limit:
            return f"{_digits(seconds / divisor)} {unit}"
    return f"{_digits(seconds / (365 * 86400))} years"


def show_bytes(num_bytes: float) -> str:
    """Two or three digits and a decimal unit: ``0``, ``820 kB``, ``7.7 TB``."""
    if num_bytes < 1:
        return "0"
    value, index, units = float(num_bytes), 0, ("B", "kB", "MB", "GB", "TB", "PB", "EB")
    while value >= 999.5 and index < len(units) - 1:
        value, index = value / 1000, index + 1
    return f"{_digits(value)} {units[index]}"


def show_number(value: float) -> str:
    """Four digits at most: ``0.957``, ``40.46``, ``2,442``, ``4e+14``."""
    if value == 0 or 1e-3 <= abs(value) < 1:
        return f"{value:.3g}"
    if 1 <= abs(value) < 1e7:
        return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"
    return f"{value:.3g}"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
