"""What people saw: verdicts of reviewers, which stand beside those of the test and never replace them in its table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from scanner.core.config import fingerprint
from scanner.core.errors import StoreError, nearest
from scanner.core.schemas import arrow_schema
from scanner.core.store import Store

VERDICTS = ("none", "suspected", "template", "retrieved", "extracted")
KEY = ("model_id", "prompt_id", "reviewer")


def read_reviews(store: Store) -> list[dict[str, Any]]:
    """All of them, the oldest first; none before the first review."""
    if store.manifest("reviews") is None:
        return []
    return sorted(store.read("reviews").to_pylist(), key=lambda row: row["at"])


def add_review(
    store: Store, *, model_id: str, prompt_id: int, reviewer: str, verdict: str, comment: str = "", at: str | None = None
) -> None:
    """Records a verdict; the same person's earlier one of the prompt goes.

    Raises:
        StoreError: the model was not asked for the prompt, or there is no such verdict.
    """
    import pyarrow as pa

    if verdict not in VERDICTS:
        raise StoreError(f"There is no verdict {verdict!r}.", next_step=nearest(verdict, list(VERDICTS)))
    tried = store.read("extractions", ["model_id", "prompt_id"]).to_pylist()
    if not any(row["model_id"] == model_id and row["prompt_id"] == prompt_id for row in tried):
        raise StoreError(
            f"Model {model_id[:12]} was not asked for prompt {prompt_id}.",
            next_step="`scanner query RUN extraction/verdicts` lists prompts and models.",
        )
    row = {
        "model_id": model_id, "prompt_id": prompt_id, "reviewer": reviewer, "verdict": verdict, "comment": comment,
        "at": at or datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    rows = [one for one in read_reviews(store) if any(one[name] != row[name] for name in KEY)] + [row]
    table = pa.Table.from_pylist(rows, schema=arrow_schema("reviews"))
    store.write_table("reviews", table, fingerprint=fingerprint(rows), part_rows=max(1, len(rows)))


def reviewed(extractions: list[dict[str, Any]], reviews: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of ``extractions`` with the verdict of the latest review where there is one."""
    latest = {(row["model_id"], row["prompt_id"]): row["verdict"] for row in sorted(reviews, key=lambda row: row["at"])}
    return [row | {"verdict": latest.get((row["model_id"], row["prompt_id"]), row["verdict"])} for row in extractions]
