"""Prompts tried in waves: every round generates for all of a wave that are still open, compares, and leaves what is settled."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scanner.core.preprocess import Preprocess
from scanner.extract.match import Matcher, Matches
from scanner.extract.prompts import Prompt
from scanner.extract.records import Settings
from scanner.extract.sequential import Decision, SequentialPlan
from scanner.extract.templates import find_template
from scanner.extract.verdicts import Judgement, Limits, judge
from scanner.images.distances import all_tiled_l2, unit
from scanner.images.geometry import fit
from scanner.models.generators import PromptedGenerator

WAVE_BYTES = 1 << 30
"""Images of one wave that are held in memory, at the usual number of generations a prompt."""
USUAL_GENERATIONS = 64


class BudgetSpent(Exception):
    """The next round would cost more forward passes than are left."""


@dataclass(kw_only=True, slots=True, eq=False)
class Trial:
    """A prompt under way.

    Attributes:
        images: uint8 (n, h, w, 3) all its generations, by seed from the first.
        small: the same at the size of comparison.
        judgement: of the last round; None before any.
        decision: what followed from it.
    """

    prompt: Prompt
    images: NDArray[np.uint8]
    small: NDArray[np.uint8]
    judgement: Judgement | None = None
    decision: Decision = "continue"
    place: int = -1
    between: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))

    @property
    def num_generations(self) -> int:
        return len(self.images)


@dataclass(kw_only=True, slots=True)
class Purse:
    """Forward passes that may be spent; ``left`` is infinite where there is no budget."""

    left: float

    def pay(self, passes: int) -> None:
        """Takes so many. Raises BudgetSpent if they are not there."""
        if passes > self.left:
            raise BudgetSpent
        self.left -= passes


class Prober:
    """Generates and judges. ``limits`` may be replaced once the controls have set them."""

    def __init__(
        self,
        generator: PromptedGenerator,
        matcher: Matcher,
        settings: Settings,
        plan: SequentialPlan,
        limits: Limits,
        purse: Purse,
    ) -> None:
        self.generator, self.matcher, self.settings = generator, matcher, settings
        self.plan, self.limits, self.purse = plan, limits, purse
        self.size = matcher.library.size
        height, width = generator.image_size
        usual = USUAL_GENERATIONS * height * width * 3
        self.wave_prompts = int(np.clip(WAVE_BYTES // usual, 8, 64))

    def start(self, prompt: Prompt) -> Trial:
        """A trial without generations yet."""
        none = np.empty((0, *self.generator.image_size, 3), np.uint8)
        return Trial(prompt=prompt, images=none, small=np.empty((0, *self.size, 3), np.uint8))

    def waves(self, trials: Iterable[Trial]) -> Iterator[list[Trial]]:
        """Cut into waves."""
        wave: list[Trial] = []
        for trial in trials:
            wave.append(trial)
            if len(wave) == self.wave_prompts:
                yield wave
                wave = []
        if wave:
            yield wave

    def settle(self, wave: Sequence[Trial], settled: Callable[[Trial], None]) -> None:
        """Takes every trial of a wave to its end; ``settled`` is called of each as soon as it is there.

        Raises:
            BudgetSpent: before a round that cannot be paid; what is open then stays open.
        """
        open_trials = list(wave)
        while open_trials:
            self.advance(open_trials)
            for trial in open_trials:
                if trial.decision != "continue":
                    settled(trial)
            open_trials = [trial for trial in open_trials if trial.decision == "continue"]

    def advance(self, trials: Sequence[Trial]) -> None:
        """One round more of each. A trial that was judged without limits is judged again by ``rejudge``."""
        missing = []
        for trial in trials:
            first = self.settings.first_seed
            until = self.plan.rounds[trial.place + 1]
            missing.append(list(range(first + trial.num_generations, first + until)))
        self.purse.pay(sum(map(len, missing)) * self.settings.passes_an_image)
        made = self.generator.generate(
            [trial.prompt.text for trial, seeds in zip(trials, missing, strict=True) for _ in seeds],
            [seed for seeds in missing for seed in seeds],
            num_inference_steps=self.settings.num_inference_steps,
            guidance_scale=self.settings.guidance_scale,
        )
        start = 0
        for trial, seeds in zip(trials, missing, strict=True):
            new = made[start : start + len(seeds)]
            start += len(seeds)
            trial.images = np.concatenate([trial.images, new])
            trial.small = np.concatenate([trial.small, self._small(new)])
            trial.place += 1
        found = self.matcher.match([trial.small for trial in trials], [trial.prompt.own for trial in trials])
        for trial, matches in zip(trials, found, strict=True):
            floats = unit(trial.small)
            trial.between = all_tiled_l2(floats, floats)
            self._judge(trial, matches)

    def rejudge(self, trial: Trial) -> None:
        """Judges a trial again, by the limits that hold now."""
        assert trial.judgement is not None, "no round yet"
        self._judge(trial, trial.judgement.matches)

    def _judge(self, trial: Trial, matches: Matches) -> None:
        needed = self.plan.needed[trial.place]
        template = find_template(trial.small, matches, max_l2=self.limits.max_l2)
        judgement = judge(trial.between, matches, trial.prompt.own, needed=needed, limits=self.limits, template=template)
        trial.judgement = judgement
        trial.decision = self.plan.decide(trial.place, has_verdict=judgement.is_settled, repetitions=judgement.repetitions)

    def _small(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if images.shape[1:3] == self.size:
            return images
        to = Preprocess(size=self.size, resize_mode="squash")
        return np.stack([fit(image, to) for image in images])


def to_png(image: NDArray[np.uint8]) -> bytes:
    """An image (h, w, 3) as a file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=False)
    return buffer.getvalue()
