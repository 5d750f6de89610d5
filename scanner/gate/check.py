"""A run held against a policy: every rule's query is asked, its violators counted, its waivers applied.

Nothing is written. A rule whose tables the run lacks, or that nobody looked into, could not tell; it never passes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from string import Template
from typing import TYPE_CHECKING, Any

from scanner.core.errors import QueryError, StoreError
from scanner.core.sql import Query, connect, execute, fetch_blocks
from scanner.core.store import Store
from scanner.gate.policy import LIMIT, Policy, Rule
from scanner.gate.results import CheckResult, Outcome, RuleResult
from scanner.gate.waivers import RuleWaivers

if TYPE_CHECKING:
    import duckdb

NO_LIMIT = 2**62
BLOCK_ROWS = 16_384
UNFINISHED = "the scan did not come to its end, or an older version made the run; run the same scan again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Violators:
    """The rows of a rule's query: how many count and how many are waived, and the first of those that count."""

    num: int = 0
    num_waived: int = 0
    columns: tuple[str, ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()


def check(
    store: Store, policy: Policy, *, today: date, limit: int, memory: str = "4GB", threads: int = 0, scratch: str = ""
) -> CheckResult:
    """Holds the run against the policy.

    Args:
        today: waivers that expired before it let nothing pass.
        limit: violators of each rule that are kept to be shown; all are counted.
        memory, threads, scratch: of the queries (:func:`scanner.core.sql.connect`).

    Raises:
        StoreError: the run is damaged, or was written meanwhile.
        ConfigError: a waiver names a column that the violators of its rule do not have.
    """
    start = time.perf_counter()
    run = store.read_run()
    is_finished = run.get("is_finished") is True
    with connect(store, memory=memory, threads=threads, scratch=scratch) as connection:
        results = []
        for name, rule in policy.rules.items():
            waivers = RuleWaivers([one for one in policy.waivers if one.rule == name], today=today, rule=name)
            results.append(_result(connection, name, rule, waivers, is_finished=is_finished, limit=limit))
    if store.read_run() != run:
        raise StoreError(
            f"A scan of {store.url} began or ended while it was judged: its tables may be of two scans.",
            next_step="Check it again when the scan has ended.",
        )
    return CheckResult(
        run=store.url, policy=policy.name, description=policy.description, as_of=today, rules=tuple(results),
        seconds=time.perf_counter() - start,
    )  # fmt: skip


def _result(
    connection: duckdb.DuckDBPyConnection, name: str, rule: Rule, waivers: RuleWaivers, *, is_finished: bool, limit: int
) -> RuleResult:
    start = time.perf_counter()
    found, reason = Violators(), "" if is_finished else UNFINISHED
    if rule.enabled and is_finished:
        try:
            found = _violators(connection, rule, waivers, limit=limit)
            reason = "; ".join(unmet_needs(connection, rule.asks, rule.arguments))
        except QueryError as error:
            reason = " ".join(f"{error.message} {error.next_step}".split()).rstrip(".")
    outcome = _outcome(rule, found, waivers, is_unknown=bool(reason))
    return RuleResult(
        name=name, why=rule.why, severity=rule.severity, is_required=rule.required, outcome=outcome, query=rule.asks.name,
        arguments=rule.arguments, reason=reason if outcome != "off" and not found.num else "", num_violators=found.num,
        num_waived=found.num_waived, columns=found.columns, rows=found.rows,
        waivers=waivers.uses(is_unknown=outcome in ("unknown", "waived")), seconds=time.perf_counter() - start,
    )  # fmt: skip


def _outcome(rule: Rule, found: Violators, waivers: RuleWaivers, *, is_unknown: bool) -> Outcome:
    """What is violated wins over what could not be told: a violator that was found is one whatever else there may be."""
    if not rule.enabled:
        return "off"
    if found.num:
        return "violated"
    if is_unknown:
        return "waived" if waivers.are_of_whole_rule else "unknown"
    return "waived" if found.num_waived else "pass"


def _violators(connection: duckdb.DuckDBPyConnection, rule: Rule, waivers: RuleWaivers, *, limit: int) -> Violators:
    """Every row of the query goes by, block by block; only the first that count are kept."""
    query, arguments = rule.asks, rule.arguments
    if any(parameter.name == LIMIT for parameter in query.parameters):
        arguments[LIMIT] = NO_LIMIT
    num, num_waived = 0, 0
    columns: Sequence[str] = ()
    rows: list[Mapping[str, Any]] = []
    for block in fetch_blocks(connection, query.sql, arguments, rows=BLOCK_ROWS, name=query.name):
        kept = waivers.kept(block)
        columns = block.schema.names
        num += kept.num_rows
        num_waived += block.num_rows - kept.num_rows
        rows += kept.slice(0, max(0, limit - len(rows))).to_pylist()
    return Violators(num=num, num_waived=num_waived, columns=tuple(columns), rows=tuple(rows))


def unmet_needs(connection: duckdb.DuckDBPyConnection, query: Query, arguments: Mapping[str, Any]) -> list[str]:
    """Why the run cannot tell, where no rows of ``query`` are no answer; empty where they are.

    Args:
        arguments: as ``query.arguments`` gives them.
    """
    reasons = []
    for need in query.needs:
        used = {name: value for name, value in arguments.items() if re.search(rf"\${name}\b", need.condition)}
        # All rows, though it is one: a result that is left half read blocks the next statement.
        ((holds,),) = execute(connection, f"select {need.condition}", used, name=query.name).fetchall()
        if not holds:
            reasons.append(Template(need.reason).safe_substitute(arguments))
    return reasons
