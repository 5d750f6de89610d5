"""What the committed tables of this slice already know, so that a scan that was added to compares only what is new.

Images that are added get higher ids than all before, so the old ones are the first rows, and the classes of equal copies among
them keep their number and their first image: a new copy joins a class, a new picture makes one at the end. Copies may also join
two old classes (the vector of one, the bytes of the other); then links through the one that vanishes are unknown, and nothing
but a new search answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import NeighborsConfig, fingerprint
from scanner.core.errors import StoreError
from scanner.core.schemas import TABLES
from scanner.core.store import Manifest, Store
from scanner.neighbors.rows import Rows
from scanner.search.collapse import Collapse
from scanner.search.copies import Copies
from scanner.search.threshold import PairBlock

STATE = ("links", "neighbors", "thresholds", "pairs")
"""The tables that a search is continued from."""
INPUTS = ("images", "embeddings")
NOT_SEARCHED = {"threshold_reason", "seed", "linkage"}
"""Settings that change nothing of what the search finds: groups and outliers are made anew from it in any case."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Earlier:
    """What an earlier search found of the first rows.

    Attributes:
        classes: of equal copies among those rows, as they were then.
        links: maximum spanning forest of the classes at the lowest threshold.
        num_others: int64 (o,), images of other classes within the main threshold.
        nearest: int64 (o,), nearest other class; -1 where there is none, and for classes of several, whose nearest is a copy.
        similarity: float32 (o,), its cosine, -inf where ``nearest`` is -1.
        num_pairs: int64, pairs of images at each threshold, ascending.
        pairs: rows of every pair of images (left, right) where table ``pairs`` has them all, else none.
    """

    classes: Collapse
    links: PairBlock
    num_others: NDArray[np.int64]
    nearest: NDArray[np.int64]
    similarity: NDArray[np.float32]
    num_pairs: NDArray[np.int64]
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]]

    @property
    def num_rows(self) -> int:
        return len(self.classes.inverse)


def covered(store: Store) -> dict[str, list[str]]:
    """Fingerprints of the parts that a search of the store as it is now covers, by table."""
    return {table: manifest.fingerprints for table in INPUTS if (manifest := store.manifest(table))}


def search_key(settings: NeighborsConfig) -> str:
    """Equal for two searches whose results may be joined: of the settings that the search reads, and of the tables' versions."""
    versions = {table: TABLES[table].version for table in (*STATE, *INPUTS)}
    return fingerprint(versions, {k: v for k, v in settings.model_dump(mode="json").items() if k not in NOT_SEARCHED})


def read_earlier(store: Store, rows: Rows, copies: Copies, settings: NeighborsConfig) -> tuple[Earlier | None, str]:
    """What the committed tables know of the first of ``rows``, or None and why they cannot be added to; no reason at first."""
    manifests = [store.manifest(table) for table in STATE]
    if not all(manifests):
        return None, "" if not any(manifests) else "some of its tables are missing"
    reason = _mismatch([m for m in manifests if m], covered(store), settings)
    if reason:
        return None, reason
    try:
        return _read(store, rows, copies, settings)
    except StoreError as error:
        return None, error.message


def _mismatch(manifests: Sequence[Manifest], now: dict[str, list[str]], settings: NeighborsConfig) -> str:
    facts: list[dict[str, Any]] = [dict(manifest.metadata) for manifest in manifests]
    if len({fact.get("fingerprint") for fact in facts}) > 1:
        return "its tables are of different scans"
    links = facts[STATE.index("links")]
    if links.get("search_key") != search_key(settings):
        return "settings of the search changed"
    covers = links["covers"]
    if any(not set(covers[table]) <= set(now.get(table, [])) for table in covers):
        return "images that it covers are gone or changed"
    if settings.pairs == "all" and facts[STATE.index("pairs")].get("is_truncated"):
        return "table pairs was truncated"
    return ""


def _read(store: Store, rows: Rows, copies: Copies, settings: NeighborsConfig) -> tuple[Earlier | None, str]:
    neighbors = store.read("neighbors").sort_by("image_id")
    ids = neighbors["image_id"].to_numpy()
    n = len(ids)
    if not np.array_equal(ids, rows.image_id[:n]):
        return None, "images came between those that it covers"
    classes = copies.classes(n)
    if not np.array_equal(classes.labels, copies.classes().labels[:n]):
        return None, "new copies join images that were apart"

    def row(column: Any) -> NDArray[np.int64]:
        found: NDArray[np.int64] = np.searchsorted(ids, column.to_numpy())
        return found

    first, single = classes.first, classes.counts == 1
    nearest = np.where(single, neighbors["nearest_id"].fill_null(-1).to_numpy()[first], -1)
    has_nearest = nearest >= 0
    nearest[has_nearest] = classes.inverse[np.searchsorted(ids, nearest[has_nearest])]
    similarity = neighbors["nearest_similarity"].fill_null(-np.inf).to_numpy()[first]
    links = store.read("links")
    left, right = classes.inverse[row(links["left_id"])], classes.inverse[row(links["right_id"])]
    apart = left != right
    pairs = (np.empty(0, np.int64), np.empty(0, np.int64))
    if settings.pairs == "all":
        table = store.read("pairs", ["left_id", "right_id"])
        pairs = (row(table["left_id"]), row(table["right_id"]))
    return Earlier(
        classes=classes,
        links=PairBlock(left=left[apart], right=right[apart], similarity=links["similarity"].to_numpy()[apart]),
        num_others=neighbors["num_neighbors"].to_numpy()[first] - classes.counts + 1,
        nearest=nearest,
        similarity=np.where(has_nearest, similarity, np.float32(-np.inf)).astype(np.float32),
        num_pairs=store.read("thresholds").sort_by("threshold")["num_pairs"].to_numpy(),
        pairs=pairs,
    ), ""
