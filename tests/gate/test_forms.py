from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from datetime import date

import pytest
from gate.making import HOSTILE, write
from markdown_it import MarkdownIt

from scanner.gate.check import check
from scanner.gate.json_form import json_text
from scanner.gate.junit import junit_text
from scanner.gate.policy import Policy, Rule
from scanner.gate.step_summary import annotation_lines, markdown_text
from scanner.gate.text_form import text_lines
from scanner.gate.waivers import Waiver

RULES = {
    "passes": {"query": "hygiene/large_groups", "params": {"max_images": 3}},
    "fails": {"query": "hygiene/likely_memorized", "params": {"max_images": 1}, "why": "Learned by heart, 100 % <sure>."},
    "warns": {"query": "hygiene/large_groups", "params": {"max_images": 1}, "severity": "warning"},
    "cannot_tell": {"query": "hygiene/leaked_images"},
    "need_not_tell": {"query": "hygiene/confirmed_extractions", "required": False},
    "waived": {"query": "hygiene/large_groups", "params": {"max_images": 2}},
    "half_waived": {"query": "hygiene/large_groups", "params": {"max_images": 1}},
    "off": {"query": "hygiene/large_groups", "enabled": False},
}


@pytest.fixture
def result(store):
    """One rule of every outcome; the hostile caption is the commonest of a group and stands first in a row."""
    captions = store.read("group_captions").to_pylist()
    captions[2] |= {"caption": "~", "num_images": 1}
    captions[1] |= {"num_images": 2}
    write(store, "group_captions", captions)
    waivers = [
        {"rule": "waived", "reason": f"ours: {HOSTILE}", "expires": "2026-12-31", "approved_by": "ana"},
        {"rule": "half_waived", "where": {"group_id": 0}, "reason": "ours", "expires": "2026-12-31"},
        {"rule": "passes", "reason": "long gone", "expires": "2026-01-01"},
    ]
    policy = Policy(
        name="own",
        description="",
        rules={name: Rule.model_validate(rule) for name, rule in RULES.items()},
        waivers=tuple(Waiver.model_validate(waiver) for waiver in waivers),
    )
    return check(store, policy, today=date(2026, 6, 15), limit=20)


def test_json_holds_all_of_it(result):
    found = json.loads(json_text(result))
    assert (found["outcome"], found["exit_code"], found["policy"], found["as_of"]) == ("violated", 1, "own", "2026-06-15")
    rules = {rule["rule"]: rule for rule in found["rules"]}
    outcomes = {name: rule["outcome"] for name, rule in rules.items()}
    assert outcomes == {
        "passes": "pass", "fails": "violated", "warns": "violated", "cannot_tell": "unknown", "need_not_tell": "unknown",
        "waived": "waived", "half_waived": "violated", "off": "off",
    }  # fmt: skip
    captions = [row["caption"] for row in rules["fails"]["violators"]]
    assert captions == ["a boat", HOSTILE], "whole, whatever it holds"
    assert rules["fails"]["num_violators"] == 2
    assert not rules["fails"]["is_truncated"]
    assert rules["passes"]["waivers"][0] | {"reason": ""} == {
        "where": {}, "reason": "", "approved_by": "", "expires": "2026-01-01", "status": "expired", "days_left": -165,
        "num_matched": 0, "is_used": False,
    }  # fmt: skip
    assert json_text(result).isascii()
    assert "##[" not in json_text(result)


CHILDREN = {
    "testsuites": {"testsuite"}, "testsuite": {"properties", "testcase", "system-out", "system-err"}, "properties": {"property"},
    "testcase": {"skipped", "error", "failure", "system-out", "system-err"},
}  # fmt: skip
ATTRIBUTES = {
    "testsuites": {"name", "time", "tests", "failures", "disabled", "errors"},
    "testsuite": {"name", "tests", "failures", "errors", "time", "disabled", "skipped", "timestamp", "hostname", "id", "package"},
    "testcase": {"name", "assertions", "time", "classname", "status"}, "property": {"name", "value"}, "skipped": {"message"},
    "error": {"type", "message"}, "failure": {"type", "message"},
}  # fmt: skip
"""What jenkins-junit.xsd, which most build servers read by, allows."""


def test_junit_is_what_build_servers_read(result):
    root = ET.fromstring(junit_text(result).encode())
    for element in root.iter():
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set()), element.tag
        assert set(element.attrib) <= ATTRIBUTES.get(element.tag, set()), element.tag
    (suite,) = root
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert list(cases) == list(RULES)
    kinds = {name: next((child.tag for child in case if child.tag != "system-out"), "") for name, case in cases.items()}
    assert kinds == {
        "passes": "", "fails": "failure", "warns": "skipped", "cannot_tell": "error", "need_not_tell": "skipped",
        "waived": "skipped", "half_waived": "failure", "off": "skipped",
    }  # fmt: skip
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "8", "failures": "2", "errors": "1", "skipped": "4",
    }  # fmt: skip
    assert float(suite.get("time")) >= 0
    assert "violated (warning): 2 found" in cases["warns"].find("skipped").get("message")
    assert "Learned by heart, 100 % <sure>." in cases["fails"].find("failure").text
    assert "a]]> <b>&" in cases["fails"].find("failure").text
    assert "EXPIRED" in cases["passes"].find("system-out").text


@pytest.mark.parametrize("character", ["\x00", "\x0b", "\x1f", "\ufffe", "\uffff", "\ud800", "\x85", "\U0001f600", "]]>", "\r\n"])
def test_junit_is_xml_whatever_a_text_holds(result, character):
    from dataclasses import replace

    fails = replace(result.rules[1], why=character, rows=({"caption": character},), columns=("caption",), reason=character)
    text = junit_text(replace(result, rules=(fails,), run=f"run{character}"))
    (failure,) = ET.fromstring(text.encode()).iter("failure")
    assert failure.text.startswith(character if character in "\U0001f600]]>\x85" else ("\n" if character == "\r\n" else "\ufffd"))


def test_no_line_of_the_log_is_a_command_of_a_caption(result):
    for text in ("\n".join(text_lines(result)), junit_text(result)):
        assert not re.search(r"^\s*::", text, re.MULTILINE)
        assert "##[" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
    lines = text_lines(result)
    assert sum("a]]> <b>& [31m" in line for line in lines) == 4, "as a caption of three rules, and as the reason of a waiver"
    assert lines[-1].startswith("VIOLATED: own on ")
    assert any(line.startswith("warns (warning): 2 found") for line in lines)
    assert any(line.startswith("need_not_tell (not required): could not tell") for line in lines)


def test_annotations_are_one_line_each_and_weigh_what_the_rule_weighs(result):
    found = annotation_lines(result)
    levels = {re.search(r"title=scanner check%3A (\w+)::", line)[1]: line.split("::")[1].split()[0] for line in found}
    assert levels == {
        "fails": "error", "warns": "warning", "cannot_tell": "error", "need_not_tell": "notice", "half_waived": "error",
    }  # fmt: skip
    assert all("\n" not in line and line.startswith("::") for line in found)
    assert "100 %25 <sure>" in found[0]


def test_markdown_shows_text_as_text(result):
    text = markdown_text(result)
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    kinds = {token.type for token in tokens}
    inline = [child for token in tokens if token.type == "inline" for child in token.children]
    assert "html_block" not in kinds
    assert {child.type for child in inline} <= {"text", "text_special", "code_inline", "strong_open", "strong_close", "softbreak"}
    cells = ["".join(child.content for child in token.children) for token in tokens if token.type == "inline"]
    shown = "a]]> <b>& [31m    ::error::x ## [add-mask]y | `z` [l](javascript:1)  gnp  "
    assert sum(cell.startswith(shown[:60]) for cell in cells) == 3
    assert any(shown[:60] in cell and cell.startswith("waiver of the whole rule: until 2026-12-31") for cell in cells)
    assert "fails" in cells
    (heading, *_) = cells
    assert heading.startswith("VIOLATED: own on ")
    assert len(text.encode()) < 2**20


def test_a_long_list_stays_within_what_is_shown(result):
    from dataclasses import replace

    rows = tuple({"caption": f"{i} {'x' * 10_000}"} for i in range(5_000))
    fails = replace(result.rules[1], rows=rows, num_violators=5_000, columns=("caption",))
    text = markdown_text(replace(result, rules=(fails,)))
    assert len(text.encode()) < 100_000
    assert "20 of 5,000 shown" in text.replace("\\", "")
