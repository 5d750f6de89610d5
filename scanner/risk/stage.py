"""Tables ``group_captions``, ``group_risk`` and ``prompts``: groups and captions ranked, in SQL (queries/risk/)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scanner.core.config import RunConfig, fingerprint
from scanner.core.errors import StoreError
from scanner.core.progress import Progress
from scanner.core.schemas import TABLES
from scanner.core.sql import Query, connect, fetch_table, find_query
from scanner.core.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

OUTPUTS = ("group_captions", "group_risk", "prompts")
"""In this order: each query reads the tables before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskResult:
    """What was ranked. ``is_recomputed`` is False where the committed tables already answered."""

    is_recomputed: bool
    num_groups: int
    num_ranked: int
    num_captions: int
    num_prompts: int
    seconds: float

    @property
    def num_blank_groups(self) -> int:
        """Groups that are marked and out of the rank."""
        return self.num_groups - self.num_ranked


def run(store: Store, config: RunConfig, progress: Progress) -> RiskResult:
    """Brings the three tables up to date and commits them, each as soon as it is made.

    Raises:
        StoreError: groups or images are not there.
    """
    start, risk = time.perf_counter(), config.risk
    arguments: dict[str, dict[str, float]] = {
        "group_captions": {"family_min_groups": risk.family_min_groups},
        "group_risk": {"k50": risk.prior.k50, "slope": risk.prior.slope, "max_probability": risk.prior.max_probability},
        "prompts": {},
    }
    is_recomputed = False
    with progress.bar("risk", total=len(OUTPUTS), unit="tables") as bar:
        for table in OUTPUTS:
            query = find_query(f"risk/{table}")
            whole = _fingerprint(store, table, query, arguments[table])
            committed = store.manifest(table)
            if committed is None or committed.metadata.get("fingerprint") != whole:
                rows = _compute(store, query, arguments[table])
                store.write_table(
                    table, rows, fingerprint=whole, part_rows=config.store.part_rows, metadata={"fingerprint": whole}
                )
                is_recomputed = True
            bar.advance()
    return _result(store, is_recomputed=is_recomputed, seconds=time.perf_counter() - start)


def _fingerprint(store: Store, table: str, query: Query, arguments: dict[str, float]) -> str:
    inputs = {}
    for read in query.reads:
        manifest = store.manifest(read)
        if manifest is None:
            raise StoreError(f"{store.url} has no table {read} yet.", next_step="Run the scan to its end first.")
        inputs[read] = manifest.fingerprints
    return fingerprint(TABLES[table].version, inputs, arguments, query.sql)


def _compute(store: Store, query: Query, arguments: dict[str, float]) -> pa.Table:
    with connect(store) as connection:
        return fetch_table(connection, query.sql, query.arguments(arguments), name=query.name)


def _result(store: Store, *, is_recomputed: bool, seconds: float) -> RiskResult:
    import pyarrow.compute as pc

    ranks = store.read("group_risk", ["risk_rank"])["risk_rank"]
    manifests = {table: store.manifest(table) for table in OUTPUTS}
    num_rows = {table: manifest.num_rows if manifest else 0 for table, manifest in manifests.items()}
    return RiskResult(
        is_recomputed=is_recomputed,
        num_groups=num_rows["group_risk"],
        num_ranked=pc.count(ranks).as_py(),
        num_captions=num_rows["group_captions"],
        num_prompts=num_rows["prompts"],
        seconds=seconds,
    )
