"""What an unconditional model emits of its training set, by k: nobody can ask it for a picture, so one waits for them to come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scanner.core.progress import Progress
from scanner.core.shares import Share
from scanner.lab.curve import Reference
from scanner.lab.toy_data import ToySet
from scanner.models.generators import Generator

if TYPE_CHECKING:
    import pyarrow as pa

NUM_IMAGES = 4096
NUM_STEPS = 20
_BLOCK = 256


@dataclass(frozen=True, kw_only=True)
class Emitted:
    """Pictures that occur k times.

    Attributes:
        pictures: of all pictures of this k, those emitted at least once.
        generations: of all generations, those that are such a picture.
    """

    k: int
    pictures: Share
    generations: Share


@dataclass(frozen=True, kw_only=True)
class UnconditionalCurve:
    """What came of ``num_generations`` images, ascending by k. A match is one by the rule of ``curve``."""

    model_id: str
    num_generations: int
    num_inference_steps: int
    emitted: tuple[Emitted, ...]

    @property
    def any(self) -> Share:
        """Of all generations, those that are any training picture."""
        return Share(num_hits=sum(e.generations.num_hits for e in self.emitted), num_trials=self.num_generations)

    def table(self) -> pa.Table:
        """A row a k, with 95 % Wilson intervals."""
        import pyarrow as pa

        rows = [
            {
                "k": e.k, "num_pictures": e.pictures.num_trials, "num_emitted": e.pictures.num_hits,
                "emitted_share": e.pictures.value, "emitted_low": e.pictures.interval[0], "emitted_high": e.pictures.interval[1],
                "num_generations": e.generations.num_trials, "num_matches": e.generations.num_hits,
            }
            for e in self.emitted
        ]  # fmt: skip
        return pa.Table.from_pylist(rows)

    def lines(self) -> list[str]:
        """As text, a line a k."""
        told = [f"k = {e.k}: emitted {e.pictures}; {e.generations.num_hits:,} generations" for e in self.emitted]
        return [f"{self.num_generations:,} generations, any training picture {self.any}", *told]


def measure_unconditional(
    generator: Generator,
    toy_set: ToySet,
    *,
    num_images: int = NUM_IMAGES,
    first_seed: int = 0,
    num_inference_steps: int = NUM_STEPS,
    progress: Progress | None = None,
) -> UnconditionalCurve:
    """Draws ``num_images`` images of as many seeds and holds them against the whole set, its duplicates included."""
    progress = progress or Progress(quiet=True)
    reference = Reference.of(toy_set, generator)
    rows = [row for row in toy_set.sources.tolist() if toy_set.is_picture[row]]
    k_of = {int(toy_set.planted_id[row]): int(toy_set.k[row]) for row in rows}
    times = dict.fromkeys(k_of, 0)
    with progress.bar("curve", total=num_images, unit="images") as bar:
        for start in range(first_seed, first_seed + num_images, _BLOCK):
            seeds = list(range(start, min(start + _BLOCK, first_seed + num_images)))
            images = generator.generate([""] * len(seeds), seeds, num_inference_steps=num_inference_steps, guidance_scale=1)
            planted_id, _, ratio = reference.match(images)
            for found in planted_id[reference.is_match(planted_id, ratio)].tolist():
                times[found] += 1
            bar.advance(len(seeds))
    emitted = []
    for k in np.unique(list(k_of.values())).tolist():
        counts = [times[planted_id] for planted_id, copies in k_of.items() if copies == k]
        emitted.append(
            Emitted(
                k=k,
                pictures=Share(num_hits=sum(count > 0 for count in counts), num_trials=len(counts)),
                generations=Share(num_hits=sum(counts), num_trials=num_images),
            )
        )
    return UnconditionalCurve(
        model_id=generator.model_id, num_generations=num_images, num_inference_steps=num_inference_steps, emitted=tuple(emitted)
    )
