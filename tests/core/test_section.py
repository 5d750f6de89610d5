from __future__ import annotations

import pytest
from pydantic import Field

from scanner.core.errors import ConfigError
from scanner.core.section import Section, checked


class Leaf(Section):
    colour: str = "red"
    """Of it."""


class Tree(Section):
    leaves: tuple[Leaf, ...] = ()
    """In order."""
    named: dict[str, Leaf] = Field(default={})
    """By name."""
    best: Leaf = Leaf()
    """One."""


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"best": {"color": "x"}}, "best.color"),
        ({"leaves": [{}, {"color": "x"}]}, "leaves.1.color"),
        ({"named": {"leaves": {"color": "x"}}}, "named.leaves.color"),
    ],
)
def test_an_unknown_key_names_the_nearest_wherever_it_stands(data, path):
    with pytest.raises(ConfigError, match=path) as error:
        checked(Tree, data, where="tree.yaml", page="trees.md")
    assert error.value.next_step == "Did you mean 'colour'?"


def test_another_fault_says_what_was_found_and_where_to_read():
    with pytest.raises(ConfigError, match=r"tree\.yaml: named\.a\.colour: .*found 5") as error:
        checked(Tree, {"named": {"a": {"colour": 5}}}, where="tree.yaml", page="trees.md")
    assert "docs/trees.md" in error.value.next_step
