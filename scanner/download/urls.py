"""URLs of a list, made safe to hand on: http and https only, written as a request can carry them."""

from __future__ import annotations

from urllib.parse import quote, urlsplit, urlunsplit

MAX_URL_LENGTH = 8192
_KEPT = "%/:=&?~#+!$,;'@()*[]"


def checked_url(text: str | None) -> tuple[str, str]:
    """The URL as it is asked for, and why it is not: one of the two is empty.

    Spaces and letters outside of ASCII are escaped, which urllib does not do: names of hosts by IDNA, the rest by percent signs.
    """
    if text is None or not (text := text.strip()):
        return "", "no URL"
    if len(text) > MAX_URL_LENGTH:
        return "", f"a URL of more than {MAX_URL_LENGTH:,} characters"
    if any(ord(sign) < 32 or ord(sign) == 127 for sign in text):
        return "", "a URL with control characters"
    try:
        split = urlsplit(text)
        host, port = split.hostname, split.port
    except ValueError as error:
        return "", f"no URL: {error}"
    if split.scheme.lower() not in ("http", "https"):
        return "", f"the scheme {split.scheme[:20]!r} is neither http nor https"
    if not host:
        return "", "a URL without a host"
    if split.username is not None or split.password is not None:
        return "", "a URL with a user or a password"
    try:
        plain = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        return "", f"the host {host[:100]!r} is no name"
    shown = f"[{plain}]" if ":" in plain else quote(plain, safe="")
    place = f"{shown}:{port}" if port is not None else shown
    path, query = quote(split.path, safe=_KEPT), quote(split.query, safe=_KEPT)
    return urlunsplit((split.scheme.lower(), place, path, query, "")), ""
