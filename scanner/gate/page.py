"""docs/policies.md: the keys of a policy and of its waivers, and every policy that ships, rule by rule."""

from __future__ import annotations

from scanner.core.reference import grid, keys_grid, opening, page
from scanner.gate.policy import DEFAULT, PolicyFile, Rule, load_policy, shipped_policies
from scanner.gate.results import limit_text

_TOP = (
    "`scanner check RUN --policy FILE` takes a YAML of the keys below, or a shipped policy by its name. An unknown key, rule,"
    " query or limit is an error that names the nearest known one."
    " How the gate judges, its exit codes and outputs: [gate.md](gate.md)."
)


def policies_page() -> str:
    """The whole page."""
    lines = opening("Policies", "scanner/gate/ and configs/policies/", _TOP)
    lines += ["", "## Keys", "", *keys_grid(PolicyFile)]
    names = [DEFAULT, *(name for name in shipped_policies() if name != DEFAULT)]
    base = load_policy(DEFAULT)
    for name in names:
        policy = load_policy(name)
        lines += ["", f"## {name}", "", f"{policy.description} File: [{name}.yaml](../configs/policies/{name}.yaml).", ""]
        rules = dict(policy.rules)
        if name != DEFAULT:
            rules = {rule_name: rule for rule_name, rule in rules.items() if rule != base.rules.get(rule_name)}
            lines += [f"What differs from `{DEFAULT}`:", ""]
        rows = [
            (
                f"`{rule_name}`",
                rule.severity + ("" if rule.required else ", not required"),
                _limits(rule),
                f"[{rule.asks.name}](queries.md#{rule.asks.name.replace('/', '')})",
                rule.why,
            )
            for rule_name, rule in rules.items()
        ]
        lines += grid(("rule", "severity", "limits", "asks", "why"), rows)
    return page(lines)


def _limits(rule: Rule) -> str:
    return ", ".join(f"`{name}` {limit_text(value)}" for name, value in rule.params.items())
