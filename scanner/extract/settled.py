"""A trial that came to its end, as the rows that tables keep of it and the images that are kept of what it found."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.core.store import Store
from scanner.extract.prompts import Prompt
from scanner.extract.records import Record, Settings
from scanner.extract.trials import Trial, to_png
from scanner.extract.verdicts import Judgement, Limits

KEPT = 8
"""Images of a clique that are kept as files, the one that is quoted among them."""
GENERATED = "generated"


def rejected_record(prompt: Prompt, settings: Settings, limits: Limits) -> Record:
    """Of a prompt that the prefilter rejects: nothing was generated."""
    return Record(
        extraction={
            "model_id": settings.model_id, "prompt_id": prompt.prompt_id, "num_generations": 0, "num_forward_passes": 0,
            "stop_reason": "rejected", "is_escalated": False, "is_audited": False, "control_use": None, "clique_size": 0,
            "clique_size_asked": 0, "num_matching": 0, "ratio_limit": limits.max_ratio, "verdict": "none",
        }
    )  # fmt: skip


def record_of(
    trial: Trial, store: Store, settings: Settings, limits: Limits, *, is_escalated: bool, group_id: NDArray[np.int64]
) -> Record:
    """The rows of a settled trial; images of what it found are written to the run.

    Args:
        group_id: of every picture of the library; -1 without one.
    """
    judgement, prompt = trial.judgement, trial.prompt
    assert judgement is not None, "settled"
    template = judgement.template if judgement.verdict == "template" else None
    best = template.best if template else judgement.best
    picture = template.picture if template else int(judgement.matches.picture[best])
    image_id = template.image_id if template else int(judgement.matches.image_id[best])
    group = int(group_id[picture]) if picture >= 0 else -1
    matches = judgement.matches
    extraction = {
        "model_id": settings.model_id, "prompt_id": prompt.prompt_id, "num_generations": trial.num_generations,
        "num_forward_passes": trial.num_generations * settings.passes_an_image, "stop_reason": trial.decision,
        "is_escalated": is_escalated, "is_audited": not is_escalated and not prompt.is_always_confirmed,
        "control_use": prompt.control_use, "clique_size": len(judgement.clique), "clique_size_asked": judgement.needed,
        "clique_diameter": _number(judgement.clique.diameter), "num_matching": judgement.num_matching,
        "image_id": image_id if picture >= 0 else None, "image_group_id": group if group >= 0 else None,
        "is_own": bool(np.isin(picture, prompt.own)) if picture >= 0 else None, "l2": _number(matches.l2[best]),
        "l2_vae": _number(matches.l2_vae[best]), "tiled_l2": _number(matches.tiled_l2[best]),
        "ratio": _number(matches.ratio[best]), "ratio_limit": limits.max_ratio, "similarity": _number(matches.cosine[best]),
        "mask": template.packed().hex() if template else None, "mask_share": template.mask_share if template else None,
        "masked_l2": _number(template.l2[best]) if template else None,
        "masked_ratio": _number(template.ratio[best]) if template else None, "tier": judgement.tier(limits),
        "verdict": judgement.verdict,
    }  # fmt: skip
    if judgement.verdict == "none":
        return Record(extraction=extraction)
    members = (template.members if template else judgement.clique.members).tolist()
    return Record(
        extraction=extraction,
        matches=[row for i in members for row in _match_rows(judgement, i, settings.first_seed + i)],
        kept=_keep([best, *(i for i in members if i != best)][:KEPT], trial, store, settings),
    )


def _keep(chosen: list[int], trial: Trial, store: Store, settings: Settings) -> dict[int, str]:
    """Path of each image that is kept, by seed."""
    folder = (GENERATED, settings.model_id[:16], str(trial.prompt.prompt_id))
    kept = {}
    for i in sorted(chosen):
        seed = settings.first_seed + i
        store.put(to_png(trial.images[i]), *folder, f"{seed}.png")
        kept[seed] = "/".join((*folder, f"{seed}.png"))
    return kept


def _match_rows(judgement: Judgement, i: int, seed: int) -> list[dict[str, Any]]:
    """Distances of one generation to the image nearest to it, and to the template that it repeats."""
    matches, template = judgement.matches, judgement.template
    named = {
        "l2": matches.l2[i], "l2_vae": matches.l2_vae[i], "tiled_l2": matches.tiled_l2[i], "ratio": matches.ratio[i],
        "cosine": matches.cosine[i],
    }  # fmt: skip
    rows: list[dict[str, Any]] = [
        {"seed": seed, "image_id": int(matches.image_id[i]), "distance_name": name, "distance": float(value)}
        for name, value in named.items()
        if np.isfinite(value) and matches.picture[i] >= 0
    ]
    if judgement.verdict == "template" and template is not None:
        rows += [
            {
                "seed": seed, "image_id": template.image_id, "distance_name": name, "distance": float(value),
                "mask_share": template.mask_share,
            }
            for name, value in (("masked_l2", template.l2[i]), ("masked_ratio", template.ratio[i]))
        ]  # fmt: skip
    return rows


def _number(value: Any) -> float | None:
    """A float that a table takes: null where there is none."""
    return float(value) if np.isfinite(value) else None
