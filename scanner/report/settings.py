"""What the run was told and what it ran with, as ``run.yaml`` has it, without what may be a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from scanner.report.markup import Html, element, foreign, join
from scanner.report.tables import columns, table

_KEY_LIMIT, _VALUE_LIMIT = 120, 600


def settings(parts: Mapping[str, object]) -> Html:
    """A table a part, keys dotted, each behind its name; values that stand alone come last, as one part."""
    sections = {name: values for name, values in parts.items() if isinstance(values, Mapping)}
    alone = {name: values for name, values in parts.items() if name not in sections}
    return join(_part(name, values) for name, values in ({**sections, "other": alone} if alone else sections).items())


def _part(name: str, values: object) -> Html:
    rows = [
        (element("code", foreign(key, limit=_KEY_LIMIT)), foreign(redacted(text), limit=_VALUE_LIMIT))
        for key, text in _flat(values)
    ]
    title = name.replace("_", " ")
    if not rows:
        return element("details", element("summary", title), element("p", "Nothing is recorded.", class_="rest"))
    return element("details", element("summary", title), table(columns("Key", "Value"), rows, caption=f"Recorded: {title}"))


def redacted(text: str) -> str:
    """Urls without user and password, and without the query, where signed links carry theirs."""
    text = re.sub(r"(://)[^/\s@]*@", r"\1…@", text)
    return re.sub(r"(://[^\s?]*\?)\S+", r"\1…", text)


def _flat(values: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of nested mappings and lists with their dotted keys."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    elif isinstance(values, list) and any(isinstance(value, Mapping | list) for value in values):
        for position, value in enumerate(values):
            yield from _flat(value, f"{path}[{position}]")
    elif isinstance(values, list):
        yield path, ", ".join(str(value) for value in values)
    elif isinstance(values, bool):
        yield path, "true" if values else "false"
    else:
        yield path, "" if values is None else str(values)
