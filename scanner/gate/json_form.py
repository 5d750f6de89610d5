"""A check as JSON, for programs."""

from __future__ import annotations

import json
import math
from typing import Any

from scanner.gate.results import CheckResult, RuleResult
from scanner.gate.waivers import WaiverUse

FORMAT_VERSION = 1


def json_text(result: CheckResult) -> str:
    """One object; in ASCII, so that no text in it can steer a terminal."""
    content = {
        "format_version": FORMAT_VERSION, "run": result.run, "policy": result.policy, "as_of": result.as_of.isoformat(),
        "outcome": result.outcome, "exit_code": result.exit_code, "seconds": round(result.seconds, 3),
        "rules": [_rule(rule, result.run) for rule in result.rules],
    }  # fmt: skip
    # `##[` in the log of a job may be a command to the build server.
    return json.dumps(content, indent=1, allow_nan=False).replace("##[", "##\\u005b") + "\n"


def _rule(rule: RuleResult, run: str) -> dict[str, Any]:
    return {
        "rule": rule.name, "why": rule.why, "severity": rule.severity, "is_required": rule.is_required, "outcome": rule.outcome,
        "reason": rule.reason, "query": rule.query, "params": dict(rule.arguments), "command": rule.command(run),
        "num_violators": rule.num_violators, "num_waived": rule.num_waived, "is_truncated": rule.is_truncated,
        "violators": [{name: _plain(row[name]) for name in rule.columns} for row in rule.rows],
        "waivers": [_waiver(use) for use in rule.waivers], "seconds": round(rule.seconds, 3),
    }  # fmt: skip


def _waiver(use: WaiverUse) -> dict[str, Any]:
    waiver = use.waiver
    return {
        "where": {column: list(values) for column, values in waiver.where.items()}, "reason": waiver.reason,
        "approved_by": waiver.approved_by, "expires": waiver.expires.isoformat(), "status": use.status,
        "days_left": use.days_left, "num_matched": use.num_matched, "is_used": use.is_used,
    }  # fmt: skip


def _plain(value: Any) -> Any:
    """What JSON can hold: bytes as hex; dates, and numbers that are none, as text."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
