"""What the live pages have in common: the frame around them, pictures, filters, and links that carry them from page to page.

Every page stands at one level below the token, so links are relative and no page knows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from scanner.core.config import RunConfig
from scanner.report.markup import Html, element, foreign, join, plain
from scanner.report.numbers import count
from scanner.report.serve.examples import Examples
from scanner.report.serve.pictures import Pictures
from scanner.report.serve.reader import View
from scanner.report.settings import redacted
from scanner.report.tables import command

MAX_OFFSET = 100_000
"""Rows that can be paged through; whoever wants to see more than that wants a query."""
TEXT_LIMIT = 140
MAX_CAPTION = 10_000
"""Characters of a caption that queries of area serve give: a page of captions must not take the memory that they may."""

_PAGES = (
    ("./", "Overview"),
    ("groups", "Groups"),
    ("captions", "Captions"),
    ("images", "Images"),
    ("alike", "Find alike"),
    ("outliers", "Outliers"),
    ("unusable", "Not used"),
    ("shards", "Shards"),
    ("extractions", "Extractions"),
    ("leaks", "Leaks"),
    ("settings", "Settings"),
)
_OPTIONAL = {"extractions": "extractions", "leaks": "comparisons"}
"""Pages that are named only where their table is there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """What every page may use.

    Attributes:
        title: names of the sets, or the report's title.
        config: of the run, as it was when the server started.
    """

    title: str
    config: RunConfig
    pictures: Pictures
    examples: Examples


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A page to be framed. ``here`` is the address of the entry in the navigation that it belongs to."""

    title: str
    content: Html
    here: str
    lede: Html | str = ""


def document(page: Page, site: Site, view: View | None) -> Html:
    """The whole document; without a view, one that tells of an error."""
    name = plain(site.title, limit=120)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{page.title}: {name}"),
        element("link", rel="stylesheet", href="style.css"),
        element("link", rel="icon", href="icon.svg", type="image/svg+xml"),
    )
    tables = view.manifests if view is not None else {}
    entries = [(path, text) for path, text in _PAGES if path not in _OPTIONAL or _OPTIONAL[path] in tables]
    links = join(
        element("li", element("a", text, href=path, aria_current="page" if path == page.here else None)) for path, text in entries
    )
    main = element(
        "main",
        element("h1", page.title),
        element("p", page.lede, class_="lede") if page.lede else None,
        page.content,
        id="main",
        tabindex=-1,
        class_="live",
    )
    body = element(
        "body",
        element("a", "Skip to the page", href="#main", class_="skip"),
        element("header", element("a", foreign(site.title, limit=120), href="./", class_="brand"), class_="masthead live"),
        element("div", element("nav", element("ul", links), aria_label="Pages of the run"), main, class_="layout"),
        _footer(view),
    )
    return join([Html("<!doctype html>\n"), element("html", head, body, lang="en")])


def _footer(view: View | None) -> Html:
    run = ["In the commands RUN stands for ", element("code", foreign(redacted(view.store.url), limit=300)), ". "] if view else []
    return element("footer", element("p", *run, "These pages read the run as it stands now and write nothing."))


def url(path: str, parameters: Mapping[str, str | int] | None = None) -> str:
    """A relative address; parameters that are empty are left out."""
    given = {key: value for key, value in (parameters or {}).items() if value != ""}
    return f"{path}?{urlencode(given)}" if given else path


def link(text: Html | str, path: str, **parameters: str | int) -> Html:
    """A link to another page."""
    return element("a", text, href=url(path, parameters))


def pager(
    path: str, filters: Mapping[str, str | int], *, page: int, size: int, total: int, what: str, query: str | None = None
) -> tuple[Html, Html]:
    """Where in a list one is, with ways on and back, to stand above the list and below it.

    Names the query where the list is longer than can be paged.
    """
    first, last = (page - 1) * size + 1, min(page * size, total)
    num_pages = max(1, min(-(-total // size), MAX_OFFSET // size))
    where = f"{count(first)} to {count(last)} of {count(total)} {what}" if first <= total else f"none of {count(total)} {what}"
    steps = [("First", 1, page > 2), ("Previous", page - 1, page > 1), ("Next", page + 1, page < num_pages)]
    links = join(
        element("a", text, href=url(path, {**filters, "page": to}), rel="next" if text == "Next" else None)
        for text, to, is_there in steps
        if is_there
    )
    rest = None
    if total > num_pages * size:
        rest = element("span", f"Pages end after {count(num_pages * size)}: narrow it, or ", command(query or "…"))
    return paging(where, links, rest)


def paging(where: str, links: Html, rest: Html | None = None, *, what: str = "the list") -> tuple[Html, Html]:
    """The same line for above a list and for below it; a landmark is only the first."""
    content = (element("span", where), links, rest)
    above = element("div", *content, class_="pager", role="navigation", aria_label=f"Pages of {what}")
    return above, element("div", *content, class_="pager")


def last_page(size: int) -> int:
    """The highest number of a page that is answered."""
    return MAX_OFFSET // size


def filters(path: str, *fields: Html, button: str = "Show", is_set: bool = False) -> Html:
    """A form that asks for the same page otherwise."""
    reset = element("a", "Show all", href=path, class_="reset") if is_set else None
    return element("form", *fields, element("button", button, type="submit"), reset, action=path, method="get", class_="filters")


def search_field(name: str, label: str, value: str) -> Html:
    """A field for text that is searched for."""
    return field(
        name, label, element("input", type="search", name=name, id=f"field-{name}", value=value, maxlength=200), is_wide=True
    )


def number_field(name: str, label: str, value: int | str, *, low: int = 0) -> Html:
    """A field for a whole number."""
    return field(name, label, element("input", type="number", name=name, id=f"field-{name}", value=value, min=low, step=1))


def choice_field(name: str, label: str, options: Sequence[tuple[str, str]], value: str) -> Html:
    """A field with (value, text) options."""
    choices = (element("option", text, value=key, selected="selected" if key == value else None) for key, text in options)
    return field(name, label, element("select", join(choices), name=name, id=f"field-{name}"))


def field(name: str, label: str, box: Html, *, is_wide: bool = False) -> Html:
    """A field under its label; ``box`` has the id ``field-NAME``."""
    return element("div", element("label", label, for_=f"field-{name}"), box, class_="field wide" if is_wide else "field")


def frame(
    site: Site, row: Mapping[str, object], *, alt: str, side: int, badge: Html | None = None, is_alone: bool = False
) -> Html:
    """An image of the set in its frame, a link to its page; a box with the reason where there is no picture.

    Args:
        row: with image_id, dataset, width and height, and status where that is not known to be ok.
        alt: what is said of it to those who do not see it.
        side: pixels of the frame.
        badge: what stands across its foot.
        is_alone: on the image's own page, where the link leads to the picture as large as it is made.
    """
    status = str(row.get("status") or "ok")
    reason = status.replace("_", " ") if status != "ok" else site.pictures.why_none(str(row["dataset"]))
    target = url("image", {"id": str(row["image_id"])})
    if reason:
        text = element("span", foreign(reason, limit=80), class_="gone")
        if is_alone:
            return element("div", text, badge, class_="frame")
        return element("a", text, badge, href=target, class_="frame", aria_label=f"{alt}: no picture")
    width, height = row.get("width"), row.get("height")
    size: dict[str, int] = {}
    if isinstance(width, int) and isinstance(height, int) and width and height:
        shrink = min(1.0, side / max(width, height))
        size = {"width": max(1, round(width * shrink)), "height": max(1, round(height * shrink))}
    source = url("picture", {"id": str(row["image_id"])})
    picture = element(
        "img",
        src=source,
        alt=alt,
        loading="lazy",
        decoding="async",
        width=size.get("width"),
        height=size.get("height"),
    )
    return element("a", picture, badge, href=source if is_alone else target, class_="frame")


def tile(site: Site, row: Mapping[str, object], note: Html | str | None = None, *, is_kept: bool = False) -> Html:
    """An image with its caption under it, for a grid."""
    caption = row.get("caption")
    text = caption if isinstance(caption, str) else None
    picture = frame(site, row, alt=plain(text or str(row["key"]), limit=TEXT_LIMIT), side=168)
    said = element("span", words(text, limit=TEXT_LIMIT), class_="said-by")
    figure = element("figure", picture, element("figcaption", note, said), class_="kept" if is_kept else None)
    return element("li", figure)


def tiles(items: Iterable[Html]) -> Html:
    """A grid of tiles."""
    return element("ul", join(items), class_="wall")


def facts(items: Iterable[tuple[str, Html | str | None]]) -> Html:
    """Names and values below one another; those without a value are left out."""
    pairs = (join([element("dt", name), element("dd", value)]) for name, value in items if value is not None)
    return element("dl", join(pairs), class_="why")


def nothing(text: str) -> Html:
    """In place of an empty list."""
    return element("p", text, class_="rest")


def section(name: str, heading: str, *content: Html | None) -> Html:
    """A part of a page with its heading."""
    return element("section", element("h2", heading, id=f"{name}-title"), *content, id=name, aria_labelledby=f"{name}-title")


def size_of(row: Mapping[str, object]) -> str | None:
    """``640 × 480``, where it is known."""
    return f"{row['width']} × {row['height']}" if row["width"] and row["height"] else None


def kind_of(kind: str) -> str:
    """What a check found a member to be; nothing where only the search has looked, as then that is so of all."""
    return "" if kind == "unverified" else kind


def values(options: Sequence[tuple[str, str]]) -> list[str]:
    """Of (value, text) options the values."""
    return [value for value, _ in options]


def threshold_of(view: View) -> float | None:
    """Cosine from which images are near-duplicates in this run; None before the search."""
    searched = view.manifests.get("neighbors")
    value = searched.metadata.get("threshold") if searched is not None else None
    return float(value) if value is not None else None


def words(text: str | None, *, limit: int) -> Html:
    """A caption as ``foreign`` shows it; of one that the queries cut, it is not known how long it is."""
    if text is None or len(text) < MAX_CAPTION:
        return foreign(text, limit=limit)
    more = element("span", f"… ({count(MAX_CAPTION)} characters or more)", class_="cut")
    return join([foreign(text[:limit], limit=limit), more])
