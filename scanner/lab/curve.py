"""The memorization curve: how often a model emits a picture that its training set holds k times. As a table and a plot.

A generation of a picture's caption is a success where, of all distinct training pictures, that very one is nearest and nearer
than half the mean distance to the next 50 (the adaptive ratio of Carlini et al. 2023, section 5.1). Distance to a picture is
the smallest to any of its images (source and near copies), as they are or once through the model's autoencoder, which is as
close as a generation can come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from scanner.core.progress import Progress
from scanner.core.shares import Mean, Share
from scanner.images.distances import NUM_NEIGHBORS, adaptive_ratio, all_l2, nearest_of, unit
from scanner.lab.toy_data import ToySet
from scanner.models.generators import Generator
from scanner.models.samplers import StableDiffusionGenerator

if TYPE_CHECKING:
    import pyarrow as pa

MAX_RATIO = 0.5
NUM_SEEDS = 16
MAX_CAPTIONS = 4
"""Of one picture: those with varied captions have up to 256, and all pictures are to weigh alike."""
MAX_UNIQUE, MAX_HELD_OUT = 200, 1000
_BLOCK = 16
"""Captions whose generations are compared together: a product of large matrices costs less than many of small ones."""

Group = Literal["held_out", "like_memorized", "unique", "planted", "template"]
"""``like_memorized``: held out too, but it shares words with the caption of a picture of many copies, which may come out."""
_NAMES: dict[str, str] = {
    "held_out": "held out", "like_memorized": "held out, like one of many copies", "unique": "k = 1", "template": "template",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How the images are made. ``first_seed`` on, the same seeds for every caption."""

    num_seeds: int = NUM_SEEDS
    first_seed: int = 0
    num_inference_steps: int = 20
    guidance_scale: float = 7.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One caption to try.

    Attributes:
        k: images of its picture in the set; 0 for held-out captions.
        planted_id: its picture; -1 for held-out captions.
    """

    group: Group
    k: int
    planted_id: int
    caption: str


@dataclass(frozen=True, kw_only=True)
class Trials:
    """The captions to try, and how many of each (group, k) are left out."""

    chosen: tuple[Trial, ...]
    num_left_out: Mapping[tuple[Group, int], int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """Every distinct image of a set, ready to be compared with.

    Attributes:
        images: float32 (m, 32, 32, 3), as they are and, where there is an autoencoder, once through it.
        planted_id: (m,) the picture that each shows.
        pictures: planted ids of what counts as a match; blanks and placeholders, which many plain images come close to, do not.
    """

    images: NDArray[np.float32]
    planted_id: NDArray[np.int64]
    pictures: frozenset[int]

    @classmethod
    def of(cls, toy_set: ToySet, generator: Generator) -> Reference:
        """All distinct images of ``toy_set``, whichever of them the model saw."""
        rows = toy_set.distinct
        images, planted_id = toy_set.images[rows], toy_set.planted_id[rows]
        if isinstance(generator, StableDiffusionGenerator):
            images, planted_id = np.concatenate([images, generator.round_trip(images)]), np.tile(planted_id, 2)
        pictures = frozenset(toy_set.planted_id[toy_set.is_picture].tolist())
        return cls(images=unit(images), planted_id=planted_id, pictures=pictures)

    def match(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """Of each image the nearest picture, the distance to it, and that over the mean distance to the next 50 pictures."""
        distances, planted_ids = nearest_of(all_l2(unit(images), self.images), self.planted_id)
        ratio, nearest = adaptive_ratio(distances, n=NUM_NEIGHBORS, alpha=1)
        return planted_ids[nearest], distances[np.arange(len(images)), nearest], ratio

    def is_match(self, planted_id: NDArray[np.int64], ratio: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether it is near enough, and a picture."""
        known = np.array([int(found) in self.pictures for found in planted_id], dtype=bool)
        result: NDArray[np.bool_] = (ratio < MAX_RATIO) & known
        return result


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """What came of one caption.

    Attributes:
        num_own: generations that are the caption's own picture.
        num_any: generations that are any training picture.
        num_nearest: generations whose nearest picture is the caption's own, however far.
        median_l2, median_ratio: of its generations, to the nearest picture.
    """

    trial: Trial
    num_generations: int
    num_own: int
    num_any: int
    num_nearest: int
    median_l2: float
    median_ratio: float


@dataclass(frozen=True, kw_only=True)
class Point:
    """All captions of one group and k, pooled.

    Attributes:
        own: generations that are the caption's own picture. The interval takes them as independent, which generations of one
            caption are not: ``pictures`` is the one to judge a difference by.
        any: generations that are any training picture: for held-out captions, what leaks.
        pictures: mean over pictures (captions, where they have none) of the share ``own``, with its interval over them.
        is_truncated: not every caption of these pictures was tried.
    """

    group: Group
    k: int
    num_pictures: int
    num_captions: int
    own: Share
    any: Share
    pictures: Mean
    is_truncated: bool


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The curve of one model. ``num_left_out``: see ``Trials``."""

    model_id: str
    sampling: Sampling
    tried: tuple[Tried, ...]
    num_left_out: Mapping[tuple[Group, int], int]

    @cached_property
    def points(self) -> list[Point]:
        """Held-out captions first, then by k; templates, which have k = 1 too, last."""
        order: list[Group] = list(get_args(Group))
        keys = sorted({(t.trial.group, t.trial.k) for t in self.tried}, key=lambda key: (order.index(key[0]), key[1]))
        return [self._point(group, k) for group, k in keys]

    def pooled(self, groups: Sequence[Group], *, k_min: int = 0) -> Share:
        """The share ``own`` over several points."""
        chosen = [t for t in self.tried if t.trial.group in groups and t.trial.k >= k_min]
        return Share(num_hits=sum(t.num_own for t in chosen), num_trials=sum(t.num_generations for t in chosen))

    def _point(self, group: Group, k: int) -> Point:
        chosen = [t for t in self.tried if (t.trial.group, t.trial.k) == (group, k)]
        total = sum(t.num_generations for t in chosen)
        shares: dict[object, list[float]] = {}
        for t in chosen:
            picture = t.trial.planted_id if t.trial.planted_id >= 0 else t.trial.caption
            shares.setdefault(picture, []).append(t.num_own / t.num_generations)
        return Point(
            group=group, k=k, num_pictures=len(shares), num_captions=len(chosen),
            own=Share(num_hits=sum(t.num_own for t in chosen), num_trials=total),
            any=Share(num_hits=sum(t.num_any for t in chosen), num_trials=total),
            pictures=Mean.of(np.array([np.mean(values) for values in shares.values()])),
            is_truncated=self.num_left_out.get((group, k), 0) > 0,
        )  # fmt: skip

    def table(self) -> pa.Table:
        """A row a point: group, k, counts, shares with their 95 % Wilson intervals, means over pictures with theirs."""
        import pyarrow as pa

        rows = [
            {
                "group": point.group, "k": point.k, "num_pictures": point.num_pictures, "num_captions": point.num_captions,
                "num_generations": point.own.num_trials, "num_own": point.own.num_hits, "own_share": point.own.value,
                "own_low": point.own.interval[0], "own_high": point.own.interval[1], "num_any": point.any.num_hits,
                "any_share": point.any.value, "any_low": point.any.interval[0], "any_high": point.any.interval[1],
                "pictures_share": point.pictures.value, "pictures_low": point.pictures.interval[0],
                "pictures_high": point.pictures.interval[1], "is_truncated": point.is_truncated,
            }
            for point in self.points
        ]  # fmt: skip
        return pa.Table.from_pylist(rows)

    def captions_table(self) -> pa.Table:
        """A row a caption."""
        import pyarrow as pa

        rows = [
            {
                "group": t.trial.group, "k": t.trial.k, "planted_id": t.trial.planted_id, "caption": t.trial.caption,
                "num_generations": t.num_generations, "num_own": t.num_own, "num_any": t.num_any, "num_nearest": t.num_nearest,
                "median_l2": t.median_l2, "median_ratio": t.median_ratio,
            }
            for t in self.tried
        ]  # fmt: skip
        return pa.Table.from_pylist(rows)

    def lines(self) -> list[str]:
        """The curve as text, a line a point."""
        return [
            f"{_NAMES.get(point.group, f'k = {point.k}')}: own {point.own}; any {point.any.value:.3f}; "
            f"{point.num_pictures:,} pictures, {point.num_captions:,} captions{' of more' if point.is_truncated else ''}"
            for point in self.points
        ]


def comparison_lines(curves: Mapping[str, Curve]) -> list[str]:
    """Curves of the same captions side by side as text, a row a point: own pictures among all generations.

    For held-out captions, which have no picture of their own, any training picture counts.
    """
    rows = [["", *curves]]
    first = next(iter(curves.values()))
    for place, point in enumerate(first.points):
        cells = [_NAMES.get(point.group, f"k = {point.k}")]
        for curve in curves.values():
            share = curve.points[place].own if point.k else curve.points[place].any
            cells.append(f"{share.num_hits:,}/{share.num_trials:,} = {share.value:.2f}")
        rows.append(cells)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def choose_trials(
    toy_set: ToySet,
    *,
    seed: int = 0,
    max_captions: int = MAX_CAPTIONS,
    max_unique: int = MAX_UNIQUE,
    max_held_out: int = MAX_HELD_OUT,
) -> Trials:
    """The captions to try.

    Of planted pictures the source's caption and others drawn by ``seed``; of pictures that occur once, of template members (a
    quarter as many) and of held-out captions a sample. Captions that belong to a planted picture and to others are tried for the
    former only.
    """
    rng = np.random.default_rng(seed)
    known = {prompt for prompt, _ in toy_set.held_out}
    drawn_prompts = set(np.random.default_rng([seed, 1]).permutation(len(toy_set.held_out))[:max_held_out].tolist())
    trials: list[Trial] = []
    left_out: dict[tuple[Group, int], int] = {("held_out", 0): 0, ("like_memorized", 0): 0}
    for i, (prompt, kind) in enumerate(toy_set.held_out):
        which: Group = "like_memorized" if kind == "shares_words" else "held_out"
        if i in drawn_prompts:
            trials.append(Trial(group=which, k=0, planted_id=-1, caption=prompt))
        else:
            left_out[which, 0] += 1
    for row in toy_set.sources.tolist():
        if toy_set.k[row] == 1 or not toy_set.is_picture[row]:
            continue
        k, planted_id = int(toy_set.k[row]), int(toy_set.planted_id[row])
        captions = list(dict.fromkeys(toy_set.captions[i] for i in np.flatnonzero(toy_set.planted_id == planted_id).tolist()))
        others = [caption for caption in captions if caption != toy_set.captions[row]]
        chosen = [toy_set.captions[row], *(others[i] for i in rng.permutation(len(others))[: max_captions - 1].tolist())]
        known.update(captions)
        trials += [Trial(group="planted", k=k, planted_id=planted_id, caption=caption) for caption in chosen]
        left_out["planted", k] = left_out.get(("planted", k), 0) + len(captions) - len(chosen)
    once: list[tuple[Group, str, int]] = [("unique", "single", max_unique), ("template", "template", max_unique // 4)]
    for group, regime, most in once:
        rows = [
            row
            for row in toy_set.sources.tolist()
            if toy_set.k[row] == 1
            and toy_set.regime[row] == regime
            and toy_set.is_picture[row]
            and toy_set.captions[row] not in known
        ]
        drawn = [rows[i] for i in np.sort(rng.permutation(len(rows))[:most]).tolist()]
        trials += [
            Trial(group=group, k=1, planted_id=int(toy_set.planted_id[row]), caption=toy_set.captions[row]) for row in drawn
        ]
        left_out[group, 1] = len(rows) - len(drawn)
    return Trials(chosen=tuple(trials), num_left_out=left_out)


def measure_curve(
    generator: Generator,
    toy_set: ToySet,
    *,
    sampling: Sampling | None = None,
    trials: Trials | None = None,
    progress: Progress | None = None,
) -> Curve:
    """Generates every caption with every seed and holds the images against the whole set.

    Args:
        toy_set: the set with its duplicates, also for a model that was trained on it without them.
        trials: ``choose_trials`` of the set, where none are given.
    """
    sampling, progress = sampling or Sampling(), progress or Progress(quiet=True)
    trials = trials or choose_trials(toy_set)
    reference = Reference.of(toy_set, generator)
    seeds = list(range(sampling.first_seed, sampling.first_seed + sampling.num_seeds))
    tried: list[Tried] = []
    with progress.bar("curve", total=len(trials.chosen) * len(seeds), unit="images") as bar:
        for start in range(0, len(trials.chosen), _BLOCK):
            block = trials.chosen[start : start + _BLOCK]
            images = generator.generate(
                [trial.caption for trial in block for _ in seeds], seeds * len(block),
                num_inference_steps=sampling.num_inference_steps, guidance_scale=sampling.guidance_scale,
            )  # fmt: skip
            tried += _judge(block, reference, images)
            bar.advance(len(images))
    return Curve(model_id=generator.model_id, sampling=sampling, tried=tuple(tried), num_left_out=trials.num_left_out)


def _judge(trials: Sequence[Trial], reference: Reference, images: NDArray[np.uint8]) -> list[Tried]:
    """What came of each caption, of images in the order of the captions, equally many for each."""
    shape = (len(trials), len(images) // len(trials))
    planted_id, l2, ratio = reference.match(images)
    is_match = reference.is_match(planted_id, ratio).reshape(shape)
    is_nearest = planted_id.reshape(shape) == np.array([trial.planted_id for trial in trials])[:, None]
    l2, ratio = l2.reshape(shape), ratio.reshape(shape)
    return [
        Tried(
            trial=trial,
            num_generations=shape[1],
            num_own=int((is_match[i] & is_nearest[i]).sum()),
            num_any=int(is_match[i].sum()),
            num_nearest=int(is_nearest[i].sum()),
            median_l2=float(np.median(l2[i])),
            median_ratio=float(np.median(ratio[i])),
        )
        for i, trial in enumerate(trials)
    ]
