"""What is kept of a prompt that was tried: a file a prompt as soon as it is settled, rows of the tables at the end.

The files are the journal: a run that was stopped goes on after the last prompt that it settled. They go when the tables hold all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scanner.core.config import fingerprint
from scanner.core.ids import generation_id
from scanner.core.schemas import arrow_schema
from scanner.core.store import Store
from scanner.extract.prefilter import CONFIDENCE, MAGNITUDE, PromptScores

if TYPE_CHECKING:
    import pyarrow as pa

JOURNAL = ".extract"
TABLES_OF_MODELS = ("prompt_scores", "generations", "matches", "extractions")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a generated image depends on besides prompt and seed, and what it costs."""

    model_id: str
    scheduler: str
    num_inference_steps: int
    guidance_scale: float
    dtype: str
    first_seed: int
    passes_an_image: int

    @property
    def digest(self) -> str:
        """For ``generation_id``."""
        return f"{self.scheduler}/{self.num_inference_steps}/{self.guidance_scale:g}/{self.dtype}"

    def generation_id(self, prompt_id: int, seed: int) -> int:
        return generation_id(self.model_id, self.digest, prompt_id, seed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A prompt that is settled.

    Attributes:
        extraction: its row of ``extractions``; a mask in hex digits.
        matches: its rows of ``matches``, with ``seed`` in place of ``generation_id``.
        kept: paths of the images that were kept, by seed.
    """

    extraction: dict[str, Any]
    matches: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[int, str] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """One JSON document."""
        return json.dumps({"extraction": self.extraction, "matches": self.matches, "kept": self.kept}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Record:
        document = json.loads(data)
        kept = {int(seed): str(path) for seed, path in document["kept"].items()}
        return cls(extraction=document["extraction"], matches=document["matches"], kept=kept)


class Journal:
    """Settled prompts of one extraction, which ``key`` is the fingerprint of: a change of anything it depends on starts anew."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._folder = store, (JOURNAL, key[:16])

    def read(self) -> dict[int, Record]:
        """By prompt_id."""
        root = self._store.path(*self._folder)
        if not self._store.fs.exists(root):
            return {}
        found = {}
        for path in self._store.fs.ls(root, detail=False):
            name = path.rsplit("/", 1)[-1]
            if name.startswith("prompt-") and (data := self._store.get(*self._folder, name)):
                record = Record.from_json(data)
                found[int(record.extraction["prompt_id"])] = record
        return found

    def write(self, record: Record) -> None:
        """Whole or not at all."""
        self._store.put(record.to_json(), *self._folder, f"prompt-{record.extraction['prompt_id']}.json")

    def read_facts(self, name: str) -> Any:
        """What ``write_facts`` left; None where it did not."""
        data = self._store.get(*self._folder, f"{name}.json")
        return json.loads(data) if data else None

    def write_facts(self, name: str, facts: Any) -> None:
        """Anything else that a rerun should not compute again."""
        self._store.put(json.dumps(facts).encode(), *self._folder, f"{name}.json")

    def remove(self) -> None:
        """Once the tables hold everything."""
        root = self._store.path(*self._folder)
        if self._store.fs.exists(root):
            self._store.fs.rm(root, recursive=True)


def score_rows(prompt_ids: Sequence[int], scores: PromptScores, settings: Settings) -> pa.Table:
    """Table ``prompt_scores``. Both scores come of the same passes, which the first one is charged with."""
    import pyarrow as pa

    rows = []
    for place, prompt_id in enumerate(prompt_ids):
        passes = scores.num_prompt_passes + (0 if place else scores.num_shared_passes)
        for name, values, paid in (
            (MAGNITUDE, scores.noise_magnitude, passes),
            (CONFIDENCE, scores.denoising_confidence, 0),
        ):
            rows.append(
                {
                    "model_id": settings.model_id, "prompt_id": prompt_id, "score_name": name, "score": float(values[place]),
                    "num_forward_passes": paid,
                }
            )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=arrow_schema("prompt_scores"))


def extraction_rows(records: Iterable[Record]) -> pa.Table:
    """Table ``extractions``."""
    import pyarrow as pa

    rows = []
    for record in records:
        row = dict(record.extraction)
        row["mask"] = bytes.fromhex(row["mask"]) if row.get("mask") else None
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=arrow_schema("extractions"))


def generation_rows(records: Iterable[Record], settings: Settings) -> pa.Table:
    """Table ``generations``: seeds follow one another from the first."""
    import pyarrow as pa

    rows = [
        {
            "generation_id": settings.generation_id(record.extraction["prompt_id"], seed), "model_id": settings.model_id,
            "prompt_id": record.extraction["prompt_id"], "seed": seed, "scheduler": settings.scheduler,
            "num_inference_steps": settings.num_inference_steps, "guidance_scale": settings.guidance_scale,
            "image_path": record.kept.get(seed), "num_forward_passes": settings.passes_an_image,
        }
        for record in records
        for seed in range(settings.first_seed, settings.first_seed + record.extraction["num_generations"])
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=arrow_schema("generations"))


def match_rows(records: Iterable[Record], settings: Settings) -> pa.Table:
    """Table ``matches``."""
    import pyarrow as pa

    rows = [
        {
            "generation_id": settings.generation_id(record.extraction["prompt_id"], match["seed"]), "image_id": match["image_id"],
            "distance_name": match["distance_name"], "distance": match["distance"], "mask_share": match.get("mask_share"),
        }
        for record in records
        for match in record.matches
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=arrow_schema("matches"))


def commit_of_model(
    store: Store, table: str, rows: pa.Table, *, model_id: str, key: str, part_rows: int, facts: Mapping[str, Any]
) -> None:
    """Makes ``rows`` all that a table holds of a model; other models' parts stay as they are.

    Args:
        key: fingerprint of what the rows were made from.
        facts: into the table's metadata, under the model's id.
    """
    manifest = store.manifest(table)
    known = dict(manifest.metadata) if manifest else {}
    store.replace_rows(
        table, rows, owner=("model_id", model_id), fingerprint=fingerprint(key, dict(facts)), part_rows=part_rows,
        metadata={**known, model_id: {"key": key, **facts}},
    )  # fmt: skip
