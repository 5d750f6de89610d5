"""What a check found: of every rule, and of the run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from scanner.core.sql import find_query
from scanner.gate.policy import LIMIT
from scanner.gate.waivers import WaiverUse

Outcome = Literal["pass", "violated", "unknown", "waived", "off"]
"""``unknown``: could not tell. ``waived``: all that was violated, or could not be told, is let pass for now. ``off``: not
asked."""

EXIT_CODES: Mapping[str, int] = {"pass": 0, "violated": 1, "unknown": 2}
SAID: Mapping[Outcome, str] = {
    "pass": "passed", "violated": "violated", "unknown": "could not tell", "waived": "waived", "off": "off",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleResult:
    """Of one rule.

    Attributes:
        query, arguments: what was asked; ``arguments`` are the limits, typed.
        reason: why it could not be told.
        num_violators: rows that count, all of them.
        num_waived: rows that a waiver lets pass.
        columns, rows: the first violators that count, as far as they are shown.
    """

    name: str
    why: str
    severity: Literal["error", "warning"]
    is_required: bool
    outcome: Outcome
    query: str
    arguments: Mapping[str, Any]
    reason: str = ""
    num_violators: int = 0
    num_waived: int = 0
    columns: tuple[str, ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()
    waivers: tuple[WaiverUse, ...] = ()
    seconds: float = 0.0

    @property
    def is_truncated(self) -> bool:
        """Whether there are more violators than ``rows``."""
        return self.num_violators > len(self.rows)

    @property
    def is_failing(self) -> bool:
        """Whether it makes the check fail."""
        return self.outcome == "violated" and self.severity == "error"

    @property
    def is_open(self) -> bool:
        """Whether the check cannot pass because of it, as it could not tell."""
        return self.outcome == "unknown" and self.severity == "error" and self.is_required

    @property
    def limits(self) -> str:
        """The arguments as ``max_images=100 classes=picture,text``."""
        return " ".join(f"{name}={limit_text(value)}" for name, value in self.arguments.items())

    def command(self, run: str) -> str:
        """The command line that lists all violators, and what is waived among them."""
        given = dict(self.arguments)
        num_rows = self.num_violators + self.num_waived
        limit = next((p for p in find_query(self.query).parameters if p.name == LIMIT), None)
        if limit is not None and limit.default is not None and num_rows > int(limit.default):
            given[LIMIT] = num_rows
        params = [piece for name, value in given.items() for piece in ("--param", f"{name}={limit_text(value)}")]
        return shlex.join(["scanner", "query", run, self.query, *params])

    def line(self) -> str:
        """What was found, in a sentence."""
        if self.outcome == "off":
            return "turned off"
        waived = f"{self.num_waived:,} waived" if self.num_waived else ""
        found = f"{self.num_violators:,} found" if self.num_violators else ""
        told = f"could not tell: {self.reason}" if self.reason else ""
        return "; ".join(piece for piece in (found, told, waived) if piece) or "nothing found"


def limit_text(value: Any) -> str:
    """A limit as ``--param`` takes it."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """Of a run and a policy.

    Attributes:
        as_of: the day that waivers were judged on.
    """

    run: str
    policy: str
    description: str
    as_of: date
    rules: tuple[RuleResult, ...]
    seconds: float = 0.0

    @property
    def failing(self) -> list[RuleResult]:
        return [rule for rule in self.rules if rule.is_failing]

    @property
    def open(self) -> list[RuleResult]:
        return [rule for rule in self.rules if rule.is_open]

    @property
    def outcome(self) -> Literal["pass", "violated", "unknown"]:
        """What is violated wins over what could not be told."""
        if self.failing:
            return "violated"
        return "unknown" if self.open else "pass"

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.outcome]

    def count(self, outcome: Outcome) -> int:
        """Rules of that outcome."""
        return sum(rule.outcome == outcome for rule in self.rules)

    def line(self) -> str:
        """The outcome, in a sentence."""
        parts = [f"{self.count(outcome):,} {SAID[outcome]}" for outcome in SAID if self.count(outcome)]
        told = [rule.name for rule in self.rules if rule.outcome in ("violated", "unknown")]
        only = [name for name in told if name not in {rule.name for rule in (*self.failing, *self.open)}]
        beside = f"; told only: {', '.join(only)}" if only else ""
        return f"{SAID[self.outcome].upper()}: {self.policy} on {self.run} ({', '.join(parts)}{beside})"
