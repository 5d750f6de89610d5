"""HTML that cannot be broken out of: a plain string is text and is escaped, only ``Html`` is markup.

Captions, keys, urls and error messages are the words of strangers. ``foreign`` shows them: what a browser would hide or obey
(control characters, bidirectional overrides, zero-width marks) becomes visible, and long text is clipped and says so.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable

_VOID = frozenset({"br", "img", "input", "link", "meta"})
_JOINERS = "\u200c\u200d"  # emoji and several scripts need them


class Html(str):
    """Markup, safe to stand in the page as it is. Made by this module's functions; never of text from outside."""

    __slots__ = ()


def element(name: str, /, *children: str | None, **attributes: str | int | float | None) -> Html:
    """One element. Children are escaped unless they are ``Html``; None children and None attributes are left out.

    Attribute names are written with a trailing underscore where Python reserves them (``class_``) and with ``_`` for ``-``.
    """
    opening = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{opening}>")
    return Html(f"<{name}{opening}>{join(children)}</{name}>")


def join(children: Iterable[str | None], separator: str = "") -> Html:
    """Children one after another, escaped unless they are ``Html``."""
    pieces = (child if isinstance(child, Html) else html.escape(child) for child in children if child is not None)
    return Html(html.escape(separator).join(pieces))


def foreign(text: str | None, *, limit: int) -> Html:
    """Text of the set, isolated from the direction of what surrounds it, at most ``limit`` characters of it.

    Clipped text ends in an ellipsis and the number of characters it has. None and text without a visible character are
    shown as ``none``.
    """
    if text is None or not text.strip():
        return element("span", "none", class_="none")
    shown = element("bdi", join(_visible(character) for character in text[:limit]))
    if len(text) <= limit:
        return shown
    return join([shown, element("span", f"… ({len(text):,} characters)", class_="cut")])


def plain(text: str, *, limit: int) -> str:
    """Text of the set for an attribute: hidden characters replaced by U+FFFD, clipped with an ellipsis."""
    shown = "".join(" " if c.isspace() else "\ufffd" if _is_hidden(c) else c for c in text[:limit])
    return shown + "…" if len(text) > limit else shown


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS


def _visible(character: str) -> str:
    if character == "\n":
        return element("span", "↵", class_="code")
    if character == "\t":
        return " "
    if not _is_hidden(character):
        return character
    return element("span", f"U+{ord(character):04X}", class_="code")
