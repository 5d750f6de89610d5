"""The gate: a finished run, held against a policy. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from scanner.core.store import Store
from scanner.gate.check import check as check_run
from scanner.gate.policy import DEFAULT, load_policy, load_waivers
from scanner.gate.results import CheckResult

NUM_SHOWN = 20


def check(
    store: Store,
    policy: str = DEFAULT,
    *,
    waivers: Sequence[str] = (),
    today: date | None = None,
    limit: int = NUM_SHOWN,
    memory: str = "4GB",
    threads: int = 0,
    scratch: str = "",
) -> CheckResult:
    """What a policy says of a run.

    Args:
        policy: a file, or the name of a policy that ships.
        waivers: files of waivers, beside those of the policy.
        today: the day that waivers are judged on; today in UTC if left out.
        limit: violators of each rule that the result holds; all are counted.
        memory, threads, scratch: of the queries (:func:`scanner.core.sql.connect`).

    Raises:
        ConfigError: a policy or a waiver that cannot be used.
        StoreError: the run is damaged.
    """
    # 1. The policy whole before any rule is asked: a typing error must not look like a rule that passed.
    rules = load_policy(policy)
    for path in waivers:
        rules = rules.with_waivers(load_waivers(path), where=path)

    # 2. Each rule's query over the run's tables.
    return check_run(
        store, rules, today=today or datetime.now(UTC).date(), limit=limit, memory=memory, threads=threads, scratch=scratch
    )
