"""Tables ``leaks`` and ``comparisons``: several other sets side by side, each replaced alone, none outlives what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from scanner.core.config import fingerprint
from scanner.core.errors import ConfigError, nearest
from scanner.core.schemas import TABLES, arrow_schema
from scanner.core.store import Store
from scanner.core.urls import public
from scanner.leak.result import LeakFacts, LeakResult

if TYPE_CHECKING:
    import pyarrow as pa

OUTPUTS = ("leaks", "comparisons")
OTHERS = "others"
"""In the metadata of both tables: facts by the name of the other set."""
ALL = "all"
"""In parameters of queries, where a name may stand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Other:
    """The set that a run is compared with.

    Attributes:
        name: what the tables call it.
        role: ``eval`` or ``takedown``.
        url: where it lies, without secrets.
    """

    name: str
    role: str
    url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What a comparison was of: its row of ``comparisons`` but for the other set and the time."""

    form: str
    num_left: int
    num_right: int
    num_right_unusable: int
    threshold: float | None = None
    max_hash_distance: int | None = None


def key_of(*things: Any) -> str:
    """Fingerprint of what a comparison depends on, the versions of its tables included."""
    return fingerprint([TABLES[table].version for table in OUTPUTS], *things)


def covered(store: Store, form: str) -> dict[str, list[str]]:
    """Fingerprints, by table, of what a comparison of the run as it is now is about."""
    tables = ("images", "embeddings") if form == "run" else ("images",)
    return {table: manifest.fingerprints for table in tables if (manifest := store.manifest(table))}


def held(store: Store) -> dict[str, dict[str, Any]]:
    """What is recorded of every comparison, by name."""
    manifest = store.manifest("comparisons")
    return dict(manifest.metadata.get(OTHERS, {})) if manifest else {}


def known(store: Store, other: Other, key: str) -> LeakResult | None:
    """The comparison, if the tables hold it as ``key`` has it."""
    record = held(store).get(other.name)
    if record is None or record["key"] != key:
        return None
    row = next((row for row in store.read("comparisons").to_pylist() if row["other"] == other.name), None)
    facts = LeakFacts.from_dict(record["facts"])
    # Files that could not be read then may be there now.
    if row is None or row["role"] != other.role or facts.num_failed:
        return None
    return _result(row, facts, is_recomputed=False, seconds=0.0)


def commit(
    store: Store, other: Other, of: Comparison, rows: pa.Table, facts: LeakFacts, *, key: str, part_rows: int, seconds: float
) -> LeakResult:
    """Makes ``rows`` all that table ``leaks`` holds of the other set, then says in ``comparisons`` that it was looked at.

    Args:
        key: fingerprint of what the rows were made from.
    """
    import pyarrow as pa

    row: dict[str, Any] = {
        "other": other.name, "role": other.role, "form": of.form, "url": other.url, "num_left": of.num_left,
        "num_right": of.num_right, "num_right_unusable": of.num_right_unusable, "threshold": of.threshold,
        "max_hash_distance": of.max_hash_distance, "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    record = {
        "key": key, "covers": covered(store, of.form), "facts": facts.to_dict(), "is_truncated": facts.is_truncated,
    }  # fmt: skip
    comparisons = pa.Table.from_pylist([row], schema=arrow_schema("comparisons"))
    # Comparisons last: a row of it says that the leaks are all there.
    for table, content in (("leaks", rows), ("comparisons", comparisons)):
        store.replace_rows(
            table, content, owner=("other", other.name), fingerprint=fingerprint(key, row["at"]), part_rows=part_rows,
            metadata=_metadata(store, table, {other.name: record}),
        )  # fmt: skip
    return _result(row, facts, is_recomputed=True, seconds=seconds)


def forget(store: Store, name: str) -> None:
    """Removes a comparison and its leaks.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in held(store):
        raise ConfigError(f"{store.url} was not compared with {name!r}.", next_step=nearest(name, list(held(store))))
    # Comparisons first: without its row nobody takes missing leaks for a clean set.
    for table in reversed(OUTPUTS):
        store.replace_rows(
            table, None, owner=("other", name), fingerprint="", part_rows=1, metadata=_metadata(store, table, {}, without=name)
        )


def forget_stale(store: Store) -> list[str]:
    """Removes the comparisons of what the run no longer is: images came, went or have other vectors. Returns their names.

    What is left of them would be true, but not whole, and no row says so.
    """
    stale = []
    for name, record in held(store).items():
        form = "run" if "embeddings" in record["covers"] else "hashes"
        if record["covers"] != covered(store, form):
            forget(store, name)
            stale.append(name)
    return stale


def _metadata(store: Store, table: str, more: Mapping[str, Any], *, without: str = "") -> dict[str, Any]:
    manifest = store.manifest(table)
    before = dict(manifest.metadata.get(OTHERS, {})) if manifest else {}
    others = {name: record for name, record in before.items() if name != without} | dict(more)
    return {OTHERS: others, "is_truncated": any(record["is_truncated"] for record in others.values())}


def _result(row: Mapping[str, Any], facts: LeakFacts, *, is_recomputed: bool, seconds: float) -> LeakResult:
    return LeakResult(
        name=row["other"], role=row["role"], form=row["form"], url=row["url"], num_left=row["num_left"],
        num_right=row["num_right"], num_right_unusable=row["num_right_unusable"], threshold=row["threshold"],
        max_hash_distance=row["max_hash_distance"], facts=facts, is_recomputed=is_recomputed, seconds=seconds,
    )  # fmt: skip


def name_for(store: Store, given: str, default: str, url: str) -> str:
    """What the tables call the set at ``url``: the name that was given, else ``default``.

    Raises:
        ConfigError: the run calls a set at another place so and no name was given, or it is the word for all sets.
    """
    name = given or default
    if name == ALL:
        raise ConfigError(f"{ALL!r} stands for all sets in queries.", next_step="Give this one another --name.")
    if not given and name in held(store):
        row = next((row for row in store.read("comparisons").to_pylist() if row["other"] == name), None)
        if row is not None and row["url"] != url:
            raise ConfigError(
                f"{name!r} is what the run calls {row['url']} already.", next_step="Give this one a --name of its own."
            )
    return name


def place(store: Store) -> str:
    """Where a run lies, for whoever opens it from anywhere: a local one by its whole path."""
    return store.root if store.is_local else public(store.url)
