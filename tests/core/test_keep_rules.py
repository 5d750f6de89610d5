from __future__ import annotations

import pytest

from scanner.core.config import RunConfig, check_config, override
from scanner.core.errors import ConfigError
from scanner.core.keep_rules import parse_preference, parse_requirement


@pytest.mark.parametrize(
    ("text", "told", "order"),
    [
        ("aesthetic", "aesthetic", "desc"),
        ("  aesthetic   DESC ", "aesthetic", "desc"),
        ("num_bytes asc", "num_bytes asc", "asc"),
        ("host in b.org, a.org,b.org", "host in b.org,a.org", "in"),
        ("random", "random 0", "random"),
        ("random 007", "random 7", "random"),
    ],
)
def test_preferences_have_one_form(text, told, order):
    rule = parse_preference(text)
    assert (rule.text, rule.order) == (told, order)
    assert parse_preference(told) == rule


@pytest.mark.parametrize(
    ("text", "told", "values"),
    [
        ("width>=256", "width >= 256", ("256",)),
        ("is_blank != true", "is_blank != true", ("true",)),
        ("host not  in a.org,b.org", "host not in a.org,b.org", ("a.org", "b.org")),
        ("caption = a = b", "caption = a = b", ("a = b",)),
        ("dataset == x", "dataset = x", ("x",)),
    ],
)
def test_requirements_have_one_form(text, told, values):
    rule = parse_requirement(text)
    assert (rule.text, rule.values) == (told, values)
    assert parse_requirement(told) == rule


@pytest.mark.parametrize("text", ["", "aesthetic dsc", "host in", "host in ,", "random x", "random -1", "random 1 2", "a b c"])
def test_what_is_no_preference_is_told_with_the_forms(text):
    with pytest.raises(ValueError, match=r"forms are|takes a seed|lists no values"):
        parse_preference(text)


def test_the_nearest_order_is_named():
    with pytest.raises(ValueError, match="Did you mean 'desc'"):
        parse_preference("aesthetic dsc")


@pytest.mark.parametrize("text", ["", "width", "width >=", "width => 3 4", "width not 3", ">= 3"])
def test_what_is_no_requirement_is_told(text):
    with pytest.raises(ValueError, match=r"forms are"):
        parse_requirement(text)


def test_a_config_takes_rules_and_says_what_is_wrong_with_them():
    config = override(RunConfig(), {"keep.prefer": ["aesthetic  desc"], "keep.require": ["width>=2"]})
    assert (config.keep.prefer, config.keep.require) == (("aesthetic",), ("width >= 2",))
    for keys, said in (
        ({"keep": {"prefer": ["aesthetic dsc"]}}, "desc"),
        ({"keep": {"preferr": []}}, "prefer"),
        ({"keep": {"also": ["templates"]}}, "template"),
        ({"keep": {"threshold": 1.5}}, "threshold"),
        ({"keep": {"images_a_group": 0}}, "images_a_group"),
        ({"export": {"formats": ["tar"]}}, "tars"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_config(keys, where="x.yaml")
