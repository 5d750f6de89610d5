"""The settings of downloads: lists of URLs turned into images."""

from __future__ import annotations

from pydantic import Field, field_validator

from scanner.core.errors import ConfigError
from scanner.core.section import Section


class DownloadConfig(Section):
    """How a list of URLs is downloaded. img2dataset does it, in a process of its own behind a proxy of ours that reaches public
    addresses only."""

    image_size: int = Field(default=384, ge=16)
    """Pixels of the shorter side to which larger images are reduced; smaller ones stay as they are."""
    timeout_s: int = Field(default=10, ge=1)
    """Seconds without a byte after which a download fails."""
    total_timeout_s: int = Field(default=60, ge=1)
    """Seconds that a download may take in all, however steadily it drips."""
    max_image_mb: int = Field(default=64, ge=1)
    """MiB above which a file is not downloaded."""
    retries: int = Field(default=1, ge=0)
    """How often what failed for a passing reason (no answer, an answer of 5xx) is tried again; the next scan tries once more."""
    retry_pause_s: float = Field(default=10.0, ge=0)
    """Seconds before that."""
    processes: int = Field(default=0, ge=0)
    """Of img2dataset; 0: one a core."""
    threads: int = Field(default=64, ge=1)
    """Downloads at once of each."""
    respect_opt_out: bool = True
    """Leave out what is served with a header X-Robots-Tag of noai, noimageai, noindex or noimageindex."""
    allow_addresses: tuple[str, ...] = ()
    """``HOST:PORT`` that may be reached although they are not public, such as a mirror in the own network."""
    python: str = ""
    """Interpreter that has img2dataset, which needs Python 3.12 or older and old packages; empty: the one that runs the scan."""

    @field_validator("allow_addresses")
    @classmethod
    def _are_addresses(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for value in values:
                host_and_port(value)
        except ConfigError as error:
            raise ValueError(error.message) from None
        return values


def host_and_port(text: str) -> tuple[str, int]:
    """``host:port`` or ``[::1]:port`` in lower case.

    Raises:
        ConfigError: it is neither.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]").lower()
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(f"{text!r} is no HOST:PORT.", next_step="Give a name or address and a port, such as 127.0.0.1:8000.")
    return host, int(port)
