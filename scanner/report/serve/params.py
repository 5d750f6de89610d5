"""What a request asks for: parameters of its address, each of a type, within bounds, and bound to SQL, never written into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scanner.core.errors import ScannerError, nearest

MAX_ID = 2**63 - 1
MAX_TEXT = 200
"""Characters of a text that is searched for."""


class RequestError(ScannerError):
    """A request that gets a page with the reason in place of an answer.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, status: int, message: str, *, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.status = status


class Params:
    """Parameters by name. Each reader raises RequestError (400) that says what was found and what is known."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given

    def text(self, name: str) -> str:
        """Free text without the white space around it; empty where it is left out."""
        value = self._given.get(name, "").strip()
        if len(value) > MAX_TEXT:
            raise RequestError(400, f"{name} has {len(value):,} characters.", next_step=f"{MAX_TEXT} are searched for at most.")
        return value

    def choice(self, name: str, known: Sequence[str]) -> str:
        """One of ``known``; the first where it is left out."""
        value = self._given.get(name, "") or known[0]
        if value not in known:
            raise RequestError(400, f"{name} is none of what is known.", next_step=nearest(value[:MAX_TEXT], list(known)))
        return value

    def whole(self, name: str, *, default: int, low: int = 0, high: int = MAX_ID) -> int:
        """A whole number within bounds, both included."""
        return default if not self._given.get(name, "").strip() else self.required(name, low=low, high=high)

    def required(self, name: str, *, low: int = 0, high: int = MAX_ID) -> int:
        """A whole number within bounds that may not be left out."""
        text = self._given.get(name, "").strip()
        # int() would take signs, underscores and digits of other scripts, and a long time for a long number.
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ID))) or not low <= int(text) <= high:
            raise RequestError(400, f"{name} is not a whole number from {low:,} to {high:,}.", next_step="Go back and try again.")
        return int(text)
