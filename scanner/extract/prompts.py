"""Which prompts are tried, why, in which order, and what each stands beside in the training set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import StoreError
from scanner.core.extract_config import ExtractConfig
from scanner.core.sql import connect, fetch_table, find_query
from scanner.core.store import Store
from scanner.extract.library import Library
from scanner.extract.prefilter import is_drawn

ControlUse = Literal["limits", "rates"]
MIN_CONTROLS = 20
"""Controls that set the limits, at least: a quantile of fewer says nothing."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prompt:
    """A prompt to try.

    Attributes:
        own: positions in the library of the pictures that it stands beside, and of those in their groups.
        lanes: why it is tried.
        control_use: of controls, whether they set the limits or measure what passes them.
        is_ranked_first: confirmed whatever the prefilter says.
    """

    prompt_id: int
    text: str
    own: NDArray[np.int64]
    lanes: frozenset[str] = frozenset()
    control_use: ControlUse | None = None
    is_ranked_first: bool = False

    @property
    def is_always_confirmed(self) -> bool:
        """Controls and calibration prompts say nothing unless all of them are tried."""
        return self.is_ranked_first or not self.lanes.isdisjoint(("control", "calibration"))


def read_prompts(store: Store, library: Library, wanted: ExtractConfig, *, seed: int) -> list[Prompt]:
    """Every prompt of the lanes asked for, once. Controls are halved at random: one half sets the limits, one measures.

    Raises:
        StoreError: fewer than ``MIN_CONTROLS`` would set the limits.
    """
    texts: dict[int, str] = {}
    lanes: dict[int, set[str]] = {}
    first: set[int] = set()
    for row in store.read("prompts", ["prompt_id", "lane", "prompt", "risk_rank"]).to_pylist():
        is_duplicate = row["lane"] == "duplicate"
        if row["lane"] not in wanted.lanes or (is_duplicate and row["risk_rank"] > wanted.max_prompts):
            continue
        texts[row["prompt_id"]] = row["prompt"]
        lanes.setdefault(row["prompt_id"], set()).add(row["lane"])
        if is_duplicate and row["risk_rank"] <= wanted.always_confirm:
            first.add(row["prompt_id"])
    own = _own_pictures(store, library)
    none = np.empty(0, np.int64)
    prompts = [
        Prompt(
            prompt_id=prompt_id,
            text=text,
            own=own.get(prompt_id, none),
            lanes=frozenset(lanes[prompt_id]),
            control_use=_control_use(prompt_id, seed) if "control" in lanes[prompt_id] else None,
            is_ranked_first=prompt_id in first,
        )
        for prompt_id, text in texts.items()
    ]
    num = sum(prompt.control_use == "limits" for prompt in prompts)
    if num < MIN_CONTROLS:
        raise StoreError(
            f"{num} controls would set the limits of every verdict; {MIN_CONTROLS} are needed.",
            next_step="Give captions that no image of the set has (--controls FILE), raise risk.num_control, or scan more.",
        )
    return prompts


def in_order(
    prompts: list[Prompt], score: NDArray[np.float64], escalation: float, *, audit_share: float, seed: int
) -> tuple[list[Prompt], list[Prompt]]:
    """Prompts to confirm, and those that the prefilter rejects.

    Controls come first, as no figure stands without them, then calibration; then what the prefilter let through, the highest
    score first; then a random share of what it did not, so that a run can say what it missed.
    """
    by_score = dict(zip((prompt.prompt_id for prompt in prompts), score.tolist(), strict=True))
    ranked: list[tuple[int, float, int, Prompt]] = []
    rejected: list[Prompt] = []
    for prompt in prompts:
        value = by_score[prompt.prompt_id]
        if "control" in prompt.lanes:
            place = 0
        elif "calibration" in prompt.lanes:
            place = 1
        elif prompt.is_ranked_first or value > escalation:
            place = 2
        elif is_drawn(prompt.prompt_id, share=audit_share, seed=seed, purpose="audit"):
            place = 3
        else:
            rejected.append(prompt)
            continue
        ranked.append((place, -value if place == 2 else 0.0, prompt.prompt_id, prompt))
    return [entry[3] for entry in sorted(ranked, key=lambda entry: entry[:3])], rejected


def _control_use(prompt_id: int, seed: int) -> ControlUse:
    return "limits" if is_drawn(prompt_id, share=0.5, seed=seed, purpose="limits") else "rates"


def _own_pictures(store: Store, library: Library) -> Mapping[int, NDArray[np.int64]]:
    """By prompt: the pictures of images that carry it, and all of their groups."""
    query = find_query("extraction/own_images")
    with connect(store) as connection:
        rows = fetch_table(connection, query.sql, name=query.name)
    members: dict[int, list[int]] = {}
    for place, group in enumerate(library.group_id.tolist()):
        if group >= 0:
            members.setdefault(group, []).append(place)
    own: dict[int, set[int]] = {}
    columns = (rows[name].to_pylist() for name in ("prompt_id", "image_id", "group_id"))
    for prompt_id, image_id, group in zip(*columns, strict=True):
        mine = own.setdefault(prompt_id, set())
        place = int(np.searchsorted(library.image_id, image_id))
        if place < len(library.image_id) and library.image_id[place] == image_id:
            mine.add(place)
        if group is not None:
            mine.update(members.get(group, ()))
    return {prompt_id: np.array(sorted(places), np.int64) for prompt_id, places in own.items()}
