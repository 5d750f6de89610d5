"""Groups at a higher threshold than the scan's, from table ``links``; nothing is searched again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.core.config import RunConfig
from scanner.core.errors import ConfigError, StoreError
from scanner.core.store import Store
from scanner.search.forest import components


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Components:
    """What hangs together at one threshold.

    Attributes:
        image_id: int64 (m,), ascending: images with a link at or above it.
        label: int64 (m,), the smallest id of the component of each.
    """

    image_id: NDArray[np.int64]
    label: NDArray[np.int64]

    def of(self, image_id: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64 (n,): the component of each image, its own id where it has no link."""
        place = np.searchsorted(self.image_id, image_id)
        is_known = np.take(self.image_id, place, mode="clip") == image_id if len(self.image_id) else np.zeros(len(image_id), bool)
        out = image_id.copy()
        out[is_known] = self.label[place[is_known]]
        return out


def components_at(store: Store, threshold: float) -> Components:
    """Components of the links of cosine ``threshold`` and above: exact from the lowest swept threshold up, as ``links`` holds the
    maximum spanning forest there. About 60 bytes a link in memory.

    Raises:
        StoreError: the run has no links.
    """
    import pyarrow.compute as pc

    if store.manifest("links") is None:
        raise StoreError(f"{store.url} has no table links yet.", next_step="Run the scan to its end first.")
    left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for _, rows in store.read_parts("links"):
        kept = rows.filter(pc.greater_equal(rows["similarity"], np.float32(threshold)))
        left.append(kept["left_id"].to_numpy())
        right.append(kept["right_id"].to_numpy())
    a, b = np.concatenate(left), np.concatenate(right)
    nodes, place = np.unique(np.concatenate([a, b]), return_inverse=True)
    label = components(len(nodes), place[: len(a)], place[len(a) :])
    return Components(image_id=nodes, label=nodes[label] if len(nodes) else nodes)


def check_threshold(config: RunConfig, threshold: float) -> None:
    """Raises ConfigError below the threshold of the scan: what lies there was never looked at by verification."""
    scanned = config.neighbors.cosine
    if threshold < scanned:
        raise ConfigError(
            f"The run was scanned at {scanned:g}, and {threshold:g} is lower.",
            next_step=f"Scan again with --threshold {threshold:g}: the embeddings are kept, and what it joins is verified.",
        )


def cut(group: NDArray[np.int64], component: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels (n,) of what is one group and one component: equal exactly where both are."""
    if not len(group):
        return group
    _, label = np.unique(np.stack([group, component], axis=1), axis=0, return_inverse=True)
    flat: NDArray[np.int64] = label.reshape(-1).astype(np.int64)
    return flat
