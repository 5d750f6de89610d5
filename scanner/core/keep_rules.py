"""The rules of a keep policy as people write them: ``aesthetic``, ``num_bytes asc``, ``host in a.org,b.org``, ``width >= 256``.

A preference says which of several copies goes first; a requirement is what every image that stays must meet. Both name a column
of the run or of a table that is joined to it. Which columns there are is not known here: ``scanner.export`` checks that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from scanner.core.errors import nearest

Order = Literal["desc", "asc", "in", "random"]
Sign = Literal["=", "!=", ">=", "<=", ">", "<", "in", "not in"]

PREFERENCE_FORMS = "COLUMN, COLUMN asc, COLUMN in A,B or random SEED"
REQUIREMENT_FORMS = "COLUMN >= 256, COLUMN = text, COLUMN in A,B or COLUMN not in A,B"
_REQUIREMENT = re.compile(r"([^\s=!<>]+)(?:\s*(>=|<=|!=|==|=|>|<)(?![=<>])\s*|\s+(not\s+in|in)\s+)(.+)", flags=re.S)


@dataclass(frozen=True, kw_only=True, slots=True)
class Preference:
    """Which of two copies goes first.

    Attributes:
        text: the rule in one form, whatever was typed: what table ``keep`` calls it.
        order: ``desc`` more is better, true before false; ``asc`` the reverse; ``in`` one of ``values`` before any other;
            ``random`` by a hash of the image's id and ``seed``, with no column.
    """

    text: str
    order: Order
    column: str = ""
    values: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """What an image must meet to stay. ``text`` is the rule in one form; ``values`` has one value but for ``in`` and ``not in``.

    A missing value meets ``!=`` and ``not in`` and nothing else.
    """

    text: str
    column: str
    sign: Sign
    values: tuple[str, ...]


DEFAULT_PREFERENCES = (
    Preference(text="representative", column="is_representative", order="desc"),
    Preference(text="resolution", column="resolution", order="desc"),
    Preference(text="caption_length", column="caption_length", order="desc"),
)
"""The group's representative, which is the image of most pixels, then of the longest caption, then of the lowest id."""


def parse_preference(text: str) -> Preference:
    """Raises ValueError that says what is wrong and which forms there are."""
    words = text.split(None, 2)
    if not words:
        raise ValueError(f"an empty preference; the forms are {PREFERENCE_FORMS}")
    column, order = words[0], words[1].lower() if len(words) > 1 else "desc"
    if column == "random":
        seed = words[1] if len(words) == 2 else "0"
        if len(words) > 2 or not seed.isascii() or not seed.isdigit() or len(seed) > 18:
            raise ValueError(f"{text!r}: `random` takes a seed, a whole number from 0")
        return Preference(text=f"random {int(seed)}", order="random", seed=int(seed))
    if order == "in" and len(words) == 3:
        values = _values(words[2])
        return Preference(text=f"{column} in {','.join(values)}", column=column, order="in", values=values)
    if order in ("asc", "desc") and len(words) < 3:
        return Preference(
            text=column if order == "desc" else f"{column} asc", column=column, order="desc" if order == "desc" else "asc"
        )
    hint = nearest(order, ["asc", "desc", "in"]) if len(words) > 1 else ""
    raise ValueError(f"{text!r} is no preference; the forms are {PREFERENCE_FORMS}. {hint}".rstrip())


def parse_requirement(text: str) -> Requirement:
    """Raises ValueError that says what is wrong and which forms there are."""
    match = _REQUIREMENT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no requirement; the forms are {REQUIREMENT_FORMS}")
    column, compared, listed, rest = match.groups()
    signs: dict[str, Sign] = {
        "=": "=", "==": "=", "!=": "!=", ">=": ">=", "<=": "<=", ">": ">", "<": "<", "in": "in", "not in": "not in",
    }  # fmt: skip
    sign = signs[compared or " ".join(listed.split())]
    values = _values(rest) if sign in ("in", "not in") else (rest.strip(),)
    return Requirement(text=f"{column} {sign} {','.join(values)}", column=column, sign=sign, values=values)


def _values(text: str) -> tuple[str, ...]:
    values = tuple(dict.fromkeys(value.strip() for value in text.split(",") if value.strip()))
    if not values:
        raise ValueError(f"{text!r} lists no values")
    return values
