"""What became of each row of a list: downloaded, failed for good, or failed for a reason that may pass."""

from __future__ import annotations

import re

TRANSIENT = re.compile(
    r"""
    timed\ out | timeout
    | HTTP\ Error\ (?:408|425|429|5\d\d)\b
    | Tunnel\ connection\ failed:\ (?:408|429|5\d\d)\b
    | connection\ (?:reset|refused|aborted) | connecting\ to\ .*\ failed | broken\ pipe
    | remote\ end\ closed | closed\ without\ an\ answer
    | incompleteread | eof\ occurred | unexpected_eof
    | temporary\ failure\ in\ name\ resolution
    | network\ is\ unreachable | no\ route\ to\ host
    | lost\ by\ img2dataset
    """,
    re.IGNORECASE | re.VERBOSE,
)
FINAL = re.compile(r"no such host|refused: |larger than|HTTP Error (?:501|505|510)\b", re.IGNORECASE)
"""Of those above, what the next try would find again."""
LOST = "lost by img2dataset: it lists no such row"
DOWNLOAD_FAILED = "failed_to_download"


def is_transient(status: str | None, error_message: str | None) -> bool:
    """Whether a row is worth another try: it was not answered, or with a status that says later.

    Args:
        status, error_message: as img2dataset writes them.
    """
    if status != DOWNLOAD_FAILED or not error_message:
        return False
    return bool(TRANSIENT.search(error_message)) and not FINAL.search(error_message)
