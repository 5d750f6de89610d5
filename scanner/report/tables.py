"""Tables of the page, and the line under each that says what is left out and how to see it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scanner.report.markup import Html, element, join
from scanner.report.numbers import count


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column: its heading, and whether it holds numbers."""

    name: str
    is_number: bool = False


def columns(*names: str) -> list[Column]:
    """Columns by heading; one that starts with ``#`` holds numbers."""
    return [Column(name=name.removeprefix("#"), is_number=name.startswith("#")) for name in names]


def table(heads: Sequence[Column], rows: Iterable[Sequence[str]], *, used: int | None = None, caption: str = "") -> Html:
    """A table whose first column heads its rows; ``used`` is the index of a row to set off.

    It may be wider than the window: its box then scrolls, and can be reached and scrolled by keyboard.
    """
    classes = ["num" if head.is_number else None for head in heads]
    top = element("tr", join(element("th", h.name, scope="col", class_=c) for h, c in zip(heads, classes, strict=True)))
    body = []
    for position, (first, *others) in enumerate(rows):
        cells = [element("th", first, scope="row", class_=classes[0])]
        cells += [element("td", value, class_=class_) for value, class_ in zip(others, classes[1:], strict=True)]
        body.append(element("tr", join(cells), class_="used" if position == used else None))
    title = element("caption", caption) if caption else None
    grid = element("table", title, element("thead", top), element("tbody", join(body)))
    return element("div", grid, class_="scroll", tabindex=0, role="group", aria_label=caption or f"Table by {heads[0].name}")


def rest(shown: int, total: int, what: str, query: str) -> Html:
    """``Showing 60 of 641 groups`` with the query that lists them all, or that all are shown."""
    is_cut = shown < total
    says = f"Showing {count(shown)} of {count(total)} {what}. All of them: " if is_cut else "All are shown. As rows: "
    return element("p", says, command(query), class_="rest")


def command(query: str) -> Html:
    """A command line that answers a query of the library."""
    return element("code", f"scanner query RUN {query}")
