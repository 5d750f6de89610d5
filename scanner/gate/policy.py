"""Policies: named rules, each a query of the library with limits, and how much its violation weighs.

A rule passes where its query gives no row. What the query takes, with types and ranges, stands in its header; so a rule needs no
code, and two rules may ask one question with different limits.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from scanner.core.errors import ConfigError, QueryError, nearest
from scanner.core.section import Section, checked
from scanner.core.sql import Query, find_query
from scanner.gate.waivers import Waiver, WaiverFile

DEFAULT = "pretraining"
PAGE = "policies.md"
LIMIT = "limit"
"""Parameter of queries that says how many rows are shown. The gate counts all, so it is no limit of a rule."""

RuleName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Rule(Section):
    """One thing that must not be found."""

    query: str
    """Query of the library ([queries.md](queries.md)) that lists the violators: no row passes. Those of hygiene/ are made for
    it."""
    why: str = ""
    """What the rule is for, in a line."""
    severity: Literal["error", "warning"] = "error"
    """``error`` decides the exit code; ``warning`` is only told."""
    required: bool = True
    """Whether it counts (exit code 2) that the run cannot tell, as where nobody looked; off, it is only told."""
    enabled: bool = True
    """Off, the rule is not asked."""
    params: dict[str, Any] = Field(default={})
    """The limits: parameters of the query by name; what is left out has the query's default."""

    @property
    def asks(self) -> Query:
        """The query. Raises QueryError where the library has none of that name."""
        return find_query(self.query)

    @property
    def arguments(self) -> dict[str, Any]:
        """All parameters of the query but ``limit``, typed. Raises QueryError for unknown or ill-typed ones."""
        arguments = self.asks.arguments(self.params)
        return {name: value for name, value in arguments.items() if name != LIMIT}


class PolicyFile(Section):
    """What a policy file holds."""

    description: str = ""
    """What the policy is for."""
    extends: str = ""
    """A shipped policy by its name, or a file beside this one, whose rules hold too: here only what differs is said."""
    rules: dict[RuleName, Rule] = Field(default={})
    """The rules by name."""
    waivers: tuple[Waiver, ...] = ()
    """What is let pass for a while; those of the policy that is extended hold too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """A policy, read and checked: every rule asks a query that is there, with limits that it takes."""

    name: str
    description: str
    rules: Mapping[str, Rule]
    waivers: tuple[Waiver, ...] = ()

    def with_waivers(self, waivers: tuple[Waiver, ...], *, where: str) -> Policy:
        """With further waivers. Raises ConfigError where one is of no rule."""
        _check_waivers(waivers, self.rules, where=where)
        return replace(self, waivers=(*self.waivers, *waivers))


def shipped_policies() -> list[str]:
    """Names of the policies that come with the package."""
    folder = resources.files("scanner.configs") / "policies"
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def load_policy(path: str) -> Policy:
    """A policy file, or a shipped one by its name.

    Raises:
        ConfigError: no such file, not YAML, an unknown key or query, a limit out of range; names the nearest known one.
    """
    data, where = _resolved(path, folder=Path(), seen=())
    file = checked(PolicyFile, data, where=where, page=PAGE)
    if not file.rules:
        raise ConfigError(
            f"{where} has no rules, and would let everything pass.", next_step=f"Add `extends: {DEFAULT}`, or rules of your own."
        )
    for name, rule in file.rules.items():
        _check_rule(name, rule, where=where)
    _check_waivers(file.waivers, file.rules, where=where)
    return Policy(name=Path(path).stem, description=" ".join(file.description.split()), rules=file.rules, waivers=file.waivers)


def load_waivers(path: str) -> tuple[Waiver, ...]:
    """The waivers of a file. Raises ConfigError as ``load_policy`` does."""
    return checked(WaiverFile, _read(Path(path)), where=path, page=PAGE).waivers


def _check_rule(name: str, rule: Rule, *, where: str) -> None:
    try:
        if LIMIT in rule.params:
            raise QueryError("The gate counts all violators: `limit` is no limit of a rule.", next_step="Leave it out.")
        _ = rule.arguments
    except QueryError as error:
        raise ConfigError(f"{where}: rules.{name}: {error.message}", next_step=error.next_step) from None


def _check_waivers(waivers: tuple[Waiver, ...], rules: Mapping[str, Rule], *, where: str) -> None:
    for waiver in waivers:
        if waiver.rule not in rules:
            raise ConfigError(
                f"{where}: a waiver is of rule {waiver.rule!r}, which the policy does not have.",
                next_step=nearest(waiver.rule, list(rules)),
            )


def _resolved(path: str, *, folder: Path, seen: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """Plain data of a policy with what it extends under it, and what to call it in errors."""
    data, where, folder = _find(path, folder=folder)
    place = str(Path(where).resolve())
    if place in seen:
        raise ConfigError(f"Policies extend one another: {' -> '.join((*seen, place))}.", next_step="Break the circle.")
    base_name = data.get("extends")
    if not base_name or not isinstance(base_name, str):
        return data, where
    base, base_where = _resolved(base_name, folder=folder, seen=(*seen, place))
    checked(PolicyFile, base, where=base_where, page=PAGE)
    return _extended(base, data, where=where, base_where=base_where), where


def _extended(base: dict[str, Any], own: dict[str, Any], *, where: str, base_where: str) -> dict[str, Any]:
    """``own`` over ``base``, rule by rule and limit by limit. What is not of the expected shape is left to the check."""
    base_rules, own_rules = base.get("rules") or {}, own.get("rules", {})
    merged = {**base, **own, "waivers": own.get("waivers", ())}
    if isinstance(merged["waivers"], list | tuple):
        merged["waivers"] = [*(base.get("waivers") or ()), *merged["waivers"]]
    if not isinstance(own_rules, dict):
        return merged
    rules = dict(base_rules)
    for name, change in own_rules.items():
        known = base_rules.get(name)
        if not isinstance(change, dict):
            rules[name] = change
            continue
        if known is None and "query" not in change:
            raise ConfigError(
                f"{where}: rules.{name} is not in {base_where} and names no query of its own.",
                next_step=nearest(str(name), list(base_rules)),
            )
        rules[name] = {**(known or {}), **change}
        params = change.get("params", {})
        if known and change.get("query", known["query"]) == known["query"] and isinstance(params, dict):
            rules[name]["params"] = {**known.get("params", {}), **params}
        elif "params" not in change:
            rules[name]["params"] = {}
    return {**merged, "rules": rules}


def _find(path: str, *, folder: Path) -> tuple[dict[str, Any], str, Path]:
    """Plain data of a policy, what to call it, and the folder that paths in it start from."""
    file = folder / path
    if file.is_file() or Path(path).name != path or Path(path).suffix:
        return _read(file), str(file), file.parent
    if path not in shipped_policies():
        raise ConfigError(
            f"No policy file and no shipped policy is called {path!r}.", next_step=nearest(path, shipped_policies())
        )
    where = f"configs/policies/{path}.yaml"
    text = (resources.files("scanner.configs") / "policies" / f"{path}.yaml").read_text("utf-8")
    return _parse(text, where=where), where, Path()


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"Cannot read {path}: {error}.", next_step="Give a YAML file in UTF-8; configs/policies/ holds examples."
        ) from error
    return _parse(text, where=str(path))


def _parse(text: str, *, where: str) -> dict[str, Any]:
    try:
        data = yaml.load(text, Loader=_Loader) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not YAML: {error}", next_step=f"Compare with configs/policies/{DEFAULT}.yaml.") from error
    if not isinstance(data, dict):
        raise ConfigError(
            f"{where} holds a {type(data).__name__}, not keys.", next_step=f"Compare with configs/policies/{DEFAULT}.yaml."
        )
    return {key: value for key, value in data.items() if value is not None}


class _Loader(yaml.SafeLoader):
    """The safe loader, but that a key that stands twice in a mapping is an error: the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice[0]!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)
