from __future__ import annotations

import pytest

from scanner.core.errors import QueryError
from scanner.core.parameters import parse_parameter


@pytest.mark.parametrize(
    ("line", "value", "typed"),
    [
        ("n integer = 3 in [1, inf] -- rows", None, 3),
        ("n integer = 3 in [1, inf] -- rows", "7", 7),
        ("n integer = 3 -- rows", 7.0, 7),
        ("x number = 0.5 in [0, 1] -- share", 1, 1.0),
        ("t text = a in {a, b} -- letter", "b", "b"),
        ("t text = a -- anything", "b", "b"),
        ("l list = a,b in {a, b, c} -- letters", "c, a", ["c", "a"]),
        ("l list = a,b in {a, b, c} -- letters", ["b"], ["b"]),
        ("l list = a,b -- letters", ("x",), ["x"]),
    ],
)
def test_what_a_parameter_takes(line, value, typed):
    parameter = parse_parameter(line, query="area/name")
    assert parameter.read(parameter.default if value is None else value, query="area/name") == typed


@pytest.mark.parametrize(
    ("line", "value", "said"),
    [
        ("n integer = 3 in [1, inf] -- rows", 0, "integer >= 1"),
        ("n integer = 3 -- rows", 2.5, "takes integer"),
        ("n integer = 3 -- rows", float("inf"), "takes integer"),
        ("n integer = 3 -- rows", True, "takes integer"),
        ("n integer = 3 -- rows", [1], "takes integer"),
        ("x number = 0.5 in [0, 1] -- share", 30, r"number in \[0, 1\]"),
        ("x number = 0.5 in [0, 1] -- share", "nan", r"number in \[0, 1\]"),
        ("t text = abc in {abc, xyz} -- word", "abd", "'abc'"),
        ("l list = abc in {abc, xyz} -- words", "abc,xyy", "'xyz'"),
        ("l list = abc -- words", [], "takes list"),
        ("l list = abc -- words", " , ", "takes list"),
        ("l list = abc -- words", 5, "takes list"),
    ],
)
def test_what_a_parameter_does_not_take(line, value, said):
    with pytest.raises(QueryError, match=said):
        parse_parameter(line, query="area/name").read(value, query="area/name")


@pytest.mark.parametrize("line", ["n integr = 3 -- rows", "n integer = 3", "n integer = 3 in (0, 1) -- rows"])
def test_a_malformed_line_is_our_mistake(line):
    with pytest.raises(AssertionError, match="malformed"):
        parse_parameter(line, query="area/name")


def test_a_default_out_of_its_own_range_is_noticed():
    with pytest.raises(QueryError, match="takes"):
        parse_parameter("n integer = 0 in [1, 9] -- rows", query="area/name")


@pytest.mark.parametrize(
    ("line", "takes"),
    [
        ("n integer = 3 -- rows", "integer"),
        ("n integer = 3 in [1, inf] -- rows", "integer >= 1"),
        ("x number = 0.5 in [0, 1] -- share", "number in [0, 1]"),
        ("t text = a in {a, b} -- letter", "one of a, b"),
        ("l list = a in {a, b} -- letters", "list of a, b"),
    ],
)
def test_what_the_documentation_says(line, takes):
    assert parse_parameter(line, query="area/name").takes == takes
