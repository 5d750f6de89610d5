"""Untrusted text on one line of a terminal or a page of plain text."""

from __future__ import annotations


def printable(text: str, *, width: int) -> str:
    """``text`` without what could move a cursor, recolour a terminal, end a line or turn its direction; clipped visibly.

    Args:
        width: characters, at most.
    """
    plain = "".join(character if character.isprintable() else " " for character in text)
    return plain if len(plain) <= width else plain[: width - 1] + "…"
