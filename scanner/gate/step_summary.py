"""A check as GitHub shows it: Markdown for the summary of a step, and annotations in its log."""

from __future__ import annotations

import re
from collections.abc import Sequence

from scanner.gate.results import SAID, CheckResult, RuleResult
from scanner.gate.text_form import LINE_WIDTH, cell_text, log_text, weight_text

MAX_ROWS = 20
"""Violators of a rule, at most: a summary of more than a MiB is not shown at all."""
CELL_WIDTH = 80


def markdown_text(result: CheckResult) -> str:
    """A heading, a table of the rules, and below it the violators of each."""
    lines = [f"## {_plain(result.line(), width=LINE_WIDTH)}", ""]
    heads = ("rule", "outcome", "severity", "found", "limits")
    rows = [
        (
            f"`{rule.name}`",
            f"**{SAID[rule.outcome]}**" if rule.is_failing or rule.is_open else f"{SAID[rule.outcome]}{weight_text(rule)}",
            rule.severity,
            _plain(rule.line(), width=LINE_WIDTH),
            _plain(rule.limits, width=200),
        )
        for rule in result.rules
    ]
    lines += _grid(heads, rows)
    for rule in result.rules:
        lines += _details(rule, result.run)
    return "\n".join(lines) + "\n\n"


def annotation_lines(result: CheckResult) -> list[str]:
    """Workflow commands that put what was violated, or could not be told, at the head of the job."""
    found = []
    for rule in result.rules:
        if rule.outcome not in ("violated", "unknown"):
            continue
        level = "error" if rule.is_failing or rule.is_open else "warning" if rule.outcome == "violated" else "notice"
        message = f"{rule.line()}. {rule.why} ({rule.limits})"
        found.append(f"::{level} title={_property(f'scanner check: {rule.name}')}::{_data(message)}")
    return found


def _details(rule: RuleResult, run: str) -> list[str]:
    if not rule.rows and not rule.waivers:
        return []
    lines = ["", f"### {rule.name}", ""]
    if rule.why and rule.outcome not in ("pass", "off"):
        lines += [_plain(rule.why, width=LINE_WIDTH), ""]
    if rule.rows:
        shown = rule.rows[:MAX_ROWS]
        lines += _grid(rule.columns, [[_cell(row[column]) for column in rule.columns] for row in shown])
        command = log_text(rule.command(run), width=1000).replace("`", "'")
        lines += ["", f"{len(shown):,} of {rule.num_violators:,} shown. All of them: `{command}`", ""]
    return [*lines, *(f"- {_plain(use.line(), width=LINE_WIDTH)}" for use in rule.waivers)]


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in (heads, ["---"] * len(heads), *rows)]


def _cell(value: object) -> str:
    text = cell_text(value, width=CELL_WIDTH)
    return text if isinstance(value, int | float) else _escaped(text)


def _plain(text: str, *, width: int) -> str:
    return _escaped(log_text(text, width=width))


def _escaped(text: str) -> str:
    """As text, whatever it holds: every mark of Markdown and HTML behind a backslash (CommonMark 0.31, section 2.4)."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def _data(text: str) -> str:
    """The message of a workflow command: a line end would start another command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
