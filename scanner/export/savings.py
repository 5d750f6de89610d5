"""What a policy would remove, at the threshold of the scan and at the higher ones that it swept; for ``--dry-run``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scanner.core.store import Store
from scanner.export.facts import Facts
from scanner.export.keep_table import Judge
from scanner.export.policy import Policy
from scanner.export.thresholds import components_at


@dataclass(frozen=True, kw_only=True, slots=True)
class Savings:
    """At one threshold: images and bytes that go because a copy of theirs stays, whatever else the policy removes.

    With weights nothing goes; ``num_removed`` then counts the images that weigh less than 1, ``num_bytes`` their bytes.
    """

    threshold: float
    num_removed: int
    num_bytes: int


def savings(run: Store, facts: Facts, policy: Policy, thresholds: Sequence[float], *, scanned: float) -> list[Savings]:
    """At each of ``thresholds``, none of them below that of the scan. One pass over the members of groups.

    Raises:
        StoreError: the run has no links.
    """
    judges = [Judge(policy, components_at(run, threshold) if threshold > scanned else None) for threshold in thresholds]
    counts, sizes = np.zeros(len(judges), np.int64), np.zeros(len(judges), np.int64)
    for rows in facts.members(policy.member_columns):
        num_bytes = rows["num_bytes"].to_numpy()
        for i, judge in enumerate(judges):
            goes = judge.block(rows).lessened
            counts[i] += goes.sum()
            sizes[i] += num_bytes[goes].sum()
    return [
        Savings(threshold=threshold, num_removed=int(count), num_bytes=int(size))
        for threshold, count, size in zip(thresholds, counts, sizes, strict=True)
    ]
