"""URLs as they may be shown and kept: credentials come from the environment alone, so none belongs in a URL or in a message."""

from __future__ import annotations

import os
import re

from scanner.core.errors import ConfigError

_USER = re.compile(r"(?P<protocol>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^/@?#\s'\"]*)@")
_QUERY = re.compile(r"(?P<url>[A-Za-z][A-Za-z0-9+.-]*://[^\s?'\"]+)\?[^\s'\"]*")
_SIGNED = re.compile(
    r"[?&](x-amz-(signature|credential|security-token)|x-goog-(signature|credential)|awsaccesskeyid|signature|sig|token|access_token"
    r"|api_key)=",
    re.IGNORECASE,
)
_SECRETS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "FSSPEC_S3_KEY", "FSSPEC_S3_SECRET", "FSSPEC_S3_TOKEN",
    "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_CONNECTION_STRING",
)  # fmt: skip
"""Variables whose values are cut out of whatever a driver says."""
_SHORTEST_SECRET = 8

NEXT_STEP = (
    "Leave it out and set it in the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE for s3://, "
    "GOOGLE_APPLICATION_CREDENTIALS for gs://, HF_TOKEN for hf://, ~/.netrc for https://."
)


def refuse_credentials(url: str, *, may_be_signed: bool = False) -> None:
    """Refuses a URL with a user and password, or with a signature in its query: it would be kept in run.yaml and be shown.

    Args:
        may_be_signed: a signature is allowed, for a file that is read once and whose URL nothing keeps.

    Raises:
        ConfigError: it has one; the message holds the URL without it.
    """
    if ":" in _user(url):
        raise ConfigError(f"The URL {public(url)} was given with a password in it.", next_step=NEXT_STEP)
    if not may_be_signed and "://" in url and _SIGNED.search(url):
        raise ConfigError(f"The URL {public(url)} was given with a signature or a token in it.", next_step=NEXT_STEP)


def public(url: str) -> str:
    """A url without what may be secret in it: user, password and query."""
    protocol, separator, rest = url.partition("://")
    if not separator:
        return url
    rest = rest.removeprefix(_user(url)).removeprefix("@")
    host, slash, path = rest.partition("/")
    return f"{protocol}://{host}{slash}{path.partition('?')[0].partition('#')[0]}"


def _user(url: str) -> str:
    """User and password of a URL, which may hold a slash, as secrets of S3 do; empty where it has none."""
    rest = url.partition("://")[2]
    host, _, path = rest.partition("/")
    if "@" in host:
        return host.rpartition("@")[0]
    name, colon, port = host.partition(":")
    is_password = bool(name and colon and not port.isdigit() and "@" in path)
    return rest.rpartition("@")[0] if is_password else ""


def public_text(text: str) -> str:
    """What a driver says, on one line, without the secrets that URLs in it and the environment hold."""
    text = _QUERY.sub(r"\g<url>", _USER.sub(r"\g<protocol>", text))
    for name in _SECRETS:
        secret = os.environ.get(name, "")
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "…")
    return " ".join(text.split())
