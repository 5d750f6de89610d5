"""The exception tree. A user's error says what was found and what to do next; ``assert`` is for our own mistakes."""

from __future__ import annotations


class ScannerError(Exception):
    """Base of every error a user can cause or mend. The command line prints its text without a traceback.

    Args:
        message: what was found.
        next_step: what to do about it, as an instruction.
    """

    exit_code = 2

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message if not next_step else f"{message}\n  {next_step}")
        self.message = message
        self.next_step = next_step


class ConfigError(ScannerError):
    """A config file, flag or parameter that cannot be used."""


class SourceError(ScannerError):
    """A source that is absent, empty or of no known format."""


class BrokenShardError(SourceError):
    """A shard that ends early. Raised by ``Source.samples`` after every readable sample was yielded."""


class EncoderError(ScannerError):
    """An encoder whose weights cannot be had, or whose config does not fit them."""


class TrainingError(ScannerError):
    """A training that cannot go on: a diverged loss, a checkpoint of other settings."""


class GeneratorError(ScannerError):
    """A diffusion model that cannot be loaded or sampled."""


class StoreError(ScannerError):
    """A run folder that is missing, foreign or damaged."""


class RecallError(ScannerError):
    """A search whose audit found less than was asked for. The tables are written and say so; the exit code is its own."""

    exit_code = 3


class ViolationError(ScannerError):
    """A run that a policy finds wanting. No other error has this exit code, so that it means nothing else."""

    exit_code = 1


class UndecidedError(ScannerError):
    """A run of which a policy cannot tell: what it asks for was not looked at."""


class LockedError(StoreError):
    """Another scan is writing this run."""


class UnreachableError(ScannerError, ConnectionError):
    """A store that does not answer, after every try. A ConnectionError too: whoever reads files knows it as that."""


class ObjectError(ScannerError, OSError):
    """An object that its store refuses, or cannot give or take whole, while it answers otherwise."""


class QueryError(ScannerError):
    """SQL that does not parse or run, an unknown query, a missing parameter."""


def nearest(word: str, known: list[str]) -> str:
    """``did you mean 'x'?`` for the known word closest to ``word``, or the list of known words."""
    import difflib

    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(known))}."
