"""Tables ``group_captions``, ``group_risk`` and ``prompts``: groups and captions ranked, in SQL (queries/risk/).

Every prompt that extraction ever tries is a row of ``prompts``, with the lane that says why; captions that no image of the set
has come from a file and join the controls.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scanner.core.config import RiskConfig, RunConfig, fingerprint
from scanner.core.errors import ConfigError, StoreError
from scanner.core.ids import prompt_id
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
    """What was ranked. ``is_recomputed`` is False where the committed tables already answered.

    Attributes:
        num_prompts: of lane ``duplicate``.
        num_by_lane: prompts of every lane.
    """

    is_recomputed: bool
    num_groups: int
    num_ranked: int
    num_captions: int
    num_by_lane: dict[str, int]
    seconds: float

    @property
    def num_prompts(self) -> int:
        return self.num_by_lane.get("duplicate", 0)

    @property
    def num_blank_groups(self) -> int:
        """Groups that are marked and out of the rank."""
        return self.num_groups - self.num_ranked


def run(store: Store, config: RunConfig, progress: Progress) -> RiskResult:
    """Brings the three tables up to date and commits them, each as soon as it is made.

    Raises:
        StoreError: groups or images are not there.
        ConfigError: the file of control captions cannot be read, or holds none.
    """
    start, risk = time.perf_counter(), config.risk
    arguments: dict[str, dict[str, float]] = {
        "group_captions": {"family_min_groups": risk.family_min_groups},
        "group_risk": {"k50": risk.prior.k50, "slope": risk.prior.slope, "max_probability": risk.prior.max_probability},
        "prompts": {
            "seed": risk.seed, "num_template": risk.num_template, "num_outlier": risk.num_outlier,
            "num_calibration": risk.num_calibration, "num_control": risk.num_control,
        },
    }  # fmt: skip
    given = _control_captions(risk)
    is_recomputed = False
    with progress.bar("risk", total=len(OUTPUTS), unit="tables") as bar:
        for table in OUTPUTS:
            query = find_query(f"risk/{table}")
            whole = _fingerprint(store, table, query, arguments[table], given if table == "prompts" else [])
            committed = store.manifest(table)
            if committed is None or committed.metadata.get("fingerprint") != whole:
                rows = _compute(store, query, arguments[table])
                if table == "prompts" and given:
                    rows = _with_controls(store, rows, given, progress)
                store.write_table(
                    table, rows, fingerprint=whole, part_rows=config.store.part_rows, metadata={"fingerprint": whole}
                )
                is_recomputed = True
            bar.advance()
    return _result(store, is_recomputed=is_recomputed, seconds=time.perf_counter() - start)


def _control_captions(risk: RiskConfig) -> list[str]:
    """The captions that the config's file holds, each once."""
    if not risk.control_captions:
        return []
    try:
        lines = Path(risk.control_captions).expanduser().read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"Cannot read control captions {risk.control_captions}: {error}.",
            next_step="Give a text file in UTF-8, a caption a line.",
        ) from error
    captions = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not captions:
        raise ConfigError(f"{risk.control_captions} holds no captions.", next_step="Give a text file, a caption a line.")
    return captions


def _with_controls(store: Store, prompts: pa.Table, captions: list[str], progress: Progress) -> pa.Table:
    """``prompts`` and, as controls of which no image carries the caption, ``captions``; what the set does hold is left out."""
    import pyarrow as pa

    query = find_query("risk/captions_known")
    with connect(store) as connection:
        ids = ",".join(str(prompt_id(caption)) for caption in captions)
        known = set(fetch_table(connection, query.sql, query.arguments({"prompt_ids": ids}))["prompt_id"].to_pylist())
    if known:
        progress.say(f"risk: {len(known):,} control captions are left out: the set holds them")
    rows = [
        {
            "prompt_id": prompt_id(caption), "lane": "control", "prompt": caption, "group_id": None, "num_images": 0,
            "num_caption_images": 0, "sampling_weight": 1.0, "risk_rank": None,
        }
        for caption in captions
        if prompt_id(caption) not in known
    ]  # fmt: skip
    return pa.concat_tables([prompts, pa.Table.from_pylist(rows, schema=prompts.schema)])


def _fingerprint(store: Store, table: str, query: Query, arguments: dict[str, float], captions: list[str]) -> str:
    inputs = {}
    for read in query.reads:
        manifest = store.manifest(read)
        if manifest is None:
            raise StoreError(f"{store.url} has no table {read} yet.", next_step="Run the scan to its end first.")
        inputs[read] = manifest.fingerprints
    return fingerprint(TABLES[table].version, inputs, arguments, query.sql, captions)


def _compute(store: Store, query: Query, arguments: dict[str, float]) -> pa.Table:
    with connect(store) as connection:
        return fetch_table(connection, query.sql, query.arguments(arguments), name=query.name)


def _result(store: Store, *, is_recomputed: bool, seconds: float) -> RiskResult:
    import pyarrow.compute as pc

    ranks = store.read("group_risk", ["risk_rank"])["risk_rank"]
    lanes = store.read("prompts", ["lane"])["lane"]
    manifests = {table: store.manifest(table) for table in OUTPUTS}
    num_rows = {table: manifest.num_rows if manifest else 0 for table, manifest in manifests.items()}
    return RiskResult(
        is_recomputed=is_recomputed,
        num_groups=num_rows["group_risk"],
        num_ranked=pc.count(ranks).as_py(),
        num_captions=num_rows["group_captions"],
        num_by_lane=dict(sorted((row["values"], row["counts"]) for row in lanes.value_counts().to_pylist())),
        seconds=seconds,
    )
