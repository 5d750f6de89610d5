"""A check as JUnit XML, which build servers show as test results: a rule is a test case.

JUnit knows no warnings: a violated rule of severity ``warning``, and one that could not tell and need not, count as skipped, with
the reason. What could not be told and should be is an error.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from scanner.gate.results import SAID, CheckResult, RuleResult
from scanner.gate.text_form import LINE_WIDTH, log_text, violator_lines, weight_text

_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML 1.0 document may hold, not even escaped (section 2.2)."""


def junit_text(result: CheckResult) -> str:
    """The document, in UTF-8."""
    kinds = [_kind(rule) for rule in result.rules]
    counts = {
        "tests": str(len(kinds)), "failures": str(kinds.count("failure")), "errors": str(kinds.count("error")),
    }  # fmt: skip
    times = {"time": f"{result.seconds:.3f}"}
    suites = ET.Element("testsuites", {"name": "scanner check", **counts, **times})
    skipped = {"skipped": str(kinds.count("skipped"))}
    suite = ET.SubElement(suites, "testsuite", {"name": _xml(f"scanner check {result.policy}"), **counts, **skipped, **times})
    facts = {"run": result.run, "policy": result.policy, "as_of": result.as_of.isoformat(), "outcome": result.outcome}
    properties = ET.SubElement(suite, "properties")
    for name, value in facts.items():
        ET.SubElement(properties, "property", {"name": name, "value": _xml(value)})
    for rule, kind in zip(result.rules, kinds, strict=True):
        case = ET.SubElement(
            suite, "testcase", {"classname": _xml(f"scanner.{result.policy}"), "name": rule.name, "time": f"{rule.seconds:.3f}"}
        )
        told = "\n".join(_told(rule, result.run))
        if kind == "skipped":
            message = log_text(f"{SAID[rule.outcome]}{weight_text(rule)}: {rule.line()}", width=LINE_WIDTH)
            ET.SubElement(case, kind, {"message": _xml(message)})
        elif kind:
            ET.SubElement(
                case, kind, {"message": _xml(log_text(rule.line(), width=LINE_WIDTH)), "type": rule.outcome}
            ).text = _xml(told)
        if kind in ("", "skipped") and told:
            ET.SubElement(case, "system-out").text = _xml(told)
    ET.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"


def _kind(rule: RuleResult) -> str:
    """The element of JUnit that says what became of a rule; none for what passed."""
    if rule.is_failing:
        return "failure"
    if rule.is_open:
        return "error"
    return "" if rule.outcome == "pass" else "skipped"


def _told(rule: RuleResult, run: str) -> list[str]:
    lines = [rule.why] if rule.why and rule.outcome not in ("pass", "off") else []
    if rule.limits and rule.outcome != "off":
        lines.append(f"limits: {rule.limits}")
    if rule.rows:
        lines += violator_lines(rule)
    if rule.num_violators:
        lines.append(f"{len(rule.rows):,} of {rule.num_violators:,} shown; as rows: {rule.command(run)}")
    return [*lines, *(log_text(use.line(), width=LINE_WIDTH) for use in rule.waivers)]


def _xml(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
