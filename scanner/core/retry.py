"""Requests to a store that fail now and then: tried again with growing pauses, and told apart from those that never succeed.

A driver tries again by itself, but not after everything (s3fs gives up at once on a body that is cut short by a proxy, on some
gateways' answers and while a name is not resolved), and what it raises in the end is of its own library. Here every failure
becomes one of three: an answer that callers know (``FileNotFoundError`` …), ``ObjectError`` for one object of a store that
answers otherwise, ``UnreachableError`` for a store that does not.
"""

from __future__ import annotations

import errno
import logging
import random
import time
from collections.abc import Callable
from typing import Literal, TypeVar

from scanner.core.errors import ObjectError, ScannerError, UnreachableError
from scanner.core.urls import NEXT_STEP, public_text

T = TypeVar("T")
Kind = Literal["answer", "refusal", "passing", "lasting", "mistake"]

TRIES = 5
FIRST_PAUSE_S = 0.5
"""Before the second try; doubled before each further one, and up to a half longer by chance, so that many do not come at once."""
LAST_TRY_S = 180.0
"""After the first try, when none is begun any more: a driver's own tries can take minutes."""

_ANSWERS = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)
_PASSING = {
    errno.EIO, errno.EBUSY, errno.EAGAIN, errno.ETIMEDOUT, errno.EPIPE, errno.ECONNRESET, errno.ECONNREFUSED,
    errno.EHOSTUNREACH, errno.ENETUNREACH, getattr(errno, "EREMOTEIO", errno.EIO),
}  # fmt: skip
_PASSING_CODES = {408, 425, 429}
_DRIVERS = {"botocore", "aiobotocore", "aiohttp", "urllib3", "requests", "httpx", "httpcore", "httpx2", "httpcore2", "gcsfs",
            "huggingface_hub", "google", "azure"}  # fmt: skip
_NO_CREDENTIALS = ("Credential", "ProfileNotFound", "TokenRetrieval", "Unauthorized", "RefreshError", "GatedRepo")
_LASTING = ("ParamValidation", "InvalidURL", "InvalidEndpoint", "UnknownEndpoint", "InvalidRegion", "NoRegion", "DataNotFound")

log = logging.getLogger("scanner.store")


def retried(call: Callable[[], T], *, what: str, is_up: Callable[[], bool] | None = None) -> T:
    """The result of ``call``, made up to ``TRIES`` times.

    Args:
        call: may be made again: it reads, or writes whole objects.
        what: for the message, such as ``s3://bucket/a.tar``.
        is_up: whether the store answers otherwise; asked once, after the last try.

    Raises:
        ObjectError: the store refused it, or failed at it alone.
        UnreachableError: the store does not answer.
        OSError: an answer, such as FileNotFoundError. Whatever is no failure of a store passes unchanged.
    """
    start, pause = time.monotonic(), FIRST_PAUSE_S
    for number in range(1, TRIES + 1):
        try:
            return call()
        except Exception as error:
            kind = kind_of(error)
            if kind in ("answer", "mistake"):
                raise
            said = said_by(error)
            if kind == "refusal":
                raise ObjectError(f"{what} was refused: {said}.", next_step=_credentials_step()) from None
            if kind == "lasting":
                raise ObjectError(f"{what} failed: {said}.", next_step="Check the URL and the settings of its driver.") from None
            if number == TRIES or time.monotonic() - start > LAST_TRY_S:
                raise _given_up(what, number, said, is_up) from None
            log.info("%s: try %d of %d failed: %s", what, number, TRIES, said)
        time.sleep(pause * random.uniform(1.0, 1.5))
        pause *= 2
    raise AssertionError("the last try returns or raises")


def kind_of(error: Exception) -> Kind:
    """What an error of a file system means: an answer, a refusal, a failure that may pass or will last, or our own mistake."""
    if isinstance(error, ScannerError):
        return "mistake"
    if isinstance(error, _ANSWERS):
        return "answer"
    if isinstance(error, PermissionError):
        return "refusal"
    is_driver = type(error).__module__.partition(".")[0] in _DRIVERS
    name = type(error).__name__
    if is_driver and any(part in name for part in _NO_CREDENTIALS):
        return "refusal"
    if is_driver and any(part in name for part in _LASTING):
        return "lasting"
    code = _status_code(error)
    if code is not None and (is_driver or isinstance(error, OSError)):
        return "passing" if code >= 500 or code in _PASSING_CODES else "refusal" if code in (401, 403) else "lasting"
    if isinstance(error, ConnectionError | TimeoutError):
        return "passing"
    if isinstance(error, OSError):
        return "passing" if error.errno is None or error.errno in _PASSING else "lasting"
    return "passing" if is_driver else "mistake"


def said_by(error: Exception) -> str:
    """The first part of what an error says, without secrets."""
    text = public_text(str(error)).rstrip(".")
    if not text or len(text) < 4:
        text = f"{type(error).__name__} {text}".strip()
    return text if len(text) <= 300 else f"{text[:300]}…"


def _given_up(what: str, number: int, said: str, is_up: Callable[[], bool] | None) -> ScannerError:
    tries = f"{number} tries, the last: {said}"
    if is_up is not None and is_up():
        return ObjectError(f"{what} failed although its store answers ({tries}).", next_step="Run the same command again later.")
    return UnreachableError(
        f"{what} cannot be reached ({tries}).",
        next_step="Check the network and the address of the store (AWS_ENDPOINT_URL for s3://), then run the same command again: "
        "what is finished is kept.",
    )


def _credentials_step() -> str:
    return NEXT_STEP.replace("Leave it out and set it in", "Check what may be read and written there, and the credentials of")


def _status_code(error: Exception) -> int | None:
    """Of HTTP, wherever drivers put it."""
    response = getattr(error, "response", None)
    found = [getattr(error, "status", None), getattr(error, "code", None), getattr(response, "status_code", None)]
    if isinstance(response, dict):
        found.append(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
    return next((code for code in found if isinstance(code, int) and 400 <= code < 600), None)
