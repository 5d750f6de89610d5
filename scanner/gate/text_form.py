"""A check as a person reads it in a terminal or in the log of a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scanner.core.printable import printable
from scanner.gate.results import SAID, CheckResult, RuleResult

CELL_WIDTH, LINE_WIDTH = 60, 400


def text_lines(result: CheckResult) -> list[str]:
    """A line a rule, then what was found where anything was, then the outcome."""
    heads = ("rule", "severity", "outcome", "found", "limits")
    rows = [(rule.name, rule.severity, SAID[rule.outcome], _found(rule), rule.limits) for rule in result.rules]
    lines = [f"Policy {result.policy} on {result.run}, waivers as of {result.as_of}", *_grid(heads, rows)]
    for rule in result.rules:
        lines += _details(rule, result.run)
    return [*lines, "", result.line()]


def _found(rule: RuleResult) -> str:
    if rule.outcome in ("unknown", "off"):
        return ""
    return f"{rule.num_violators:,}" + (f" + {rule.num_waived:,} waived" if rule.num_waived else "")


def _details(rule: RuleResult, run: str) -> Iterator[str]:
    """What stands under the table of a rule; nothing where there is nothing to say."""
    if rule.outcome in ("pass", "off") and not rule.waivers:
        return
    yield ""
    yield f"{rule.name}{weight_text(rule)}: {log_text(rule.line(), width=LINE_WIDTH)}"
    if rule.why and rule.outcome not in ("pass", "off"):
        yield f"  {rule.why}"
    if rule.rows:
        yield from violator_lines(rule)
    if rule.num_violators:
        more = f"{len(rule.rows):,} of {rule.num_violators:,} shown; " if rule.is_truncated else ""
        yield f"  {more}as rows: {rule.command(run)}"
    for use in rule.waivers:
        yield f"  {log_text(use.line(), width=LINE_WIDTH)}"


def weight_text(rule: RuleResult) -> str:
    """In brackets, why what a rule says does not decide the exit code; empty where it does, or nothing is said."""
    if rule.outcome not in ("violated", "unknown") or rule.is_failing or rule.is_open:
        return ""
    return " (warning)" if rule.severity == "warning" else " (not required)"


def violator_lines(rule: RuleResult) -> list[str]:
    """The violators that are shown, as a table of text."""
    return [f"  | {line}" for line in _grid(rule.columns, [_cells(rule.columns, row) for row in rule.rows])]


def _cells(columns: Sequence[str], row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(cell_text(row[column], width=CELL_WIDTH) for column in columns)


def cell_text(value: Any, *, width: int) -> str:
    """A value of a table on one line, clipped visibly."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else log_text(str(value), width=width)


def log_text(text: str, *, width: int) -> str:
    """Untrusted text that a build server shows: it takes what stands between ``##[`` and ``]`` in a log as a command to itself,
    and a line that starts with ``::``, which no line with untrusted text does here."""
    return printable(text.replace("##[", "## ["), width=width)


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[place]) for line in (heads, *rows)) for place in range(len(heads))]
    lines = [heads, ["-" * width for width in widths], *rows]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
