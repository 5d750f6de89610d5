"""Parameters of queries: what a ``-- param:`` line of a header says, and whether a value fits it.

::

    -- param: limit integer = 20 in [0, inf] -- rows
    -- param: max_share number = 0.05 in [0, 1] -- share of the images, at most
    -- param: role text = eval in {eval, takedown} -- of the other set
    -- param: kinds list = exact,near in {exact, near, semantic} -- kinds that count
    -- param: group_id integer -- the group, as risk tables name it

What it takes is an interval or one of the names, and may be left out; a ``list`` is some of the names, separated by commas.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from scanner.core.errors import QueryError, nearest

_LINE = re.compile(
    r"(?P<name>\w+)\s+(?P<type>integer|number|text|list)(?:\s*=\s*(?P<default>\S+))?"
    r"(?:\s+in\s+(?:\[(?P<low>\S+),\s*(?P<high>\S+)\]|\{(?P<choices>[^}]+)\}))?\s+--\s*(?P<doc>.+)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """A ``$parameter`` of a query: its type (integer, number, text, list), default and meaning with unit.

    Attributes:
        low, high: what a number lies between, both included.
        choices: what a text, or each of a list, may be; empty: anything.
    """

    name: str
    type: str
    default: str | None
    doc: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()

    @property
    def takes(self) -> str:
        """The type, and what of it, as the documentation says."""
        if self.choices:
            return f"{'list of' if self.type == 'list' else 'one of'} {', '.join(self.choices)}"
        if math.isinf(self.low):
            return self.type
        return f"{self.type} >= {self.low:g}" if math.isinf(self.high) else f"{self.type} in [{self.low:g}, {self.high:g}]"

    def read(self, value: Any, *, query: str) -> Any:
        """``value``, typed. Raises QueryError where it is not what the parameter takes."""
        try:
            typed = _typed(value, self.type)
        except (ValueError, TypeError, OverflowError):
            raise QueryError(f"Parameter {self.name} of {query} takes {self.type}, not {value!r}.", next_step=self.doc) from None
        for one in typed if self.type == "list" else [typed]:
            if self.choices and one not in self.choices:
                raise QueryError(
                    f"Parameter {self.name} of {query} does not know {one!r}.", next_step=nearest(one, list(self.choices))
                )
            if isinstance(one, int | float) and not self.low <= one <= self.high:
                raise QueryError(f"Parameter {self.name} of {query} takes {self.takes}, not {one!r}.", next_step=self.doc)
        return typed


def parse_parameter(text: str, *, query: str) -> Parameter:
    """What a line of a header says after ``param:``; a malformed one is our own mistake."""
    found = _LINE.match(text)
    assert found, f"queries/{query}.sql: malformed param line {text!r}"
    parameter = Parameter(
        name=found["name"],
        type=found["type"],
        default=found["default"],
        doc=found["doc"],
        low=float(found["low"] or -math.inf),
        high=float(found["high"] or math.inf),
        choices=tuple(re.split(r",\s*", found["choices"])) if found["choices"] else (),
    )
    if parameter.default is not None:
        parameter.read(parameter.default, query=query)
    return parameter


def _typed(value: Any, type_: str) -> Any:
    """``value`` as the type of that name. Raises ValueError or TypeError: nothing is rounded, and true is no number."""
    if type_ == "list":
        names = value.split(",") if isinstance(value, str) else [str(name) for name in value]
        found = [name.strip() for name in names if name.strip()]
        if not found:
            raise ValueError("a list without entries")
        return found
    if isinstance(value, bool) or (type_ == "integer" and isinstance(value, float) and not value.is_integer()):
        raise ValueError("not of the type")
    return {"integer": int, "number": float, "text": str}[type_](value)
