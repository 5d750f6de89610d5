"""Tables ``prompt_scores``, ``generations``, ``matches`` and ``extractions``: the prompts of a run, tried on a model.

1. Every prompt gets its cheap scores. 2. Half of the controls set the limits: what the prefilter lets through, and how near
prompts come that repeat nothing. 3. The other half measures what passes these limits, beside the calibration prompts. 4. What the
prefilter let through is confirmed, the most promising first, and a random share of what it did not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scanner.core.config import RunConfig, fingerprint
from scanner.core.errors import StoreError
from scanner.core.progress import Progress
from scanner.core.schemas import TABLES
from scanner.core.store import Store
from scanner.extract.evidence import write_evidence
from scanner.extract.library import Library
from scanner.extract.match import Matcher
from scanner.extract.prefilter import BLOCK_PROMPTS, PromptScores, escalation_limit, robust_quantile, score_prompts
from scanner.extract.prompts import MIN_CONTROLS, Prompt, in_order, read_prompts
from scanner.extract.records import (
    TABLES_OF_MODELS,
    Journal,
    Record,
    Settings,
    commit_of_model,
    extraction_rows,
    generation_rows,
    match_rows,
    score_rows,
)
from scanner.extract.sequential import make_plan
from scanner.extract.settled import record_of, rejected_record
from scanner.extract.trials import BudgetSpent, Prober, Purse, Trial
from scanner.extract.verdicts import FOUND, Limits
from scanner.models.encoders import Encoder
from scanner.models.generators import PromptedGenerator
from scanner.sources.base import Source

INPUTS = ("prompts", "images", "embeddings", "groups", "group_evidence", "shards")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtractResult:
    """What came of one model. ``is_recomputed`` is False where the tables already answered.

    Attributes:
        num_tried: prompts with a verdict, those that the prefilter rejected included.
        num_open: prompts that the budget did not reach.
        num_by_verdict: prompts.
        num_forward_passes: of prefilter and generations together, in this and earlier calls.
    """

    model_id: str
    is_recomputed: bool
    num_tried: int
    num_open: int
    num_by_verdict: dict[str, int]
    num_forward_passes: int
    max_ratio: float
    escalation: float
    num_failed_reads: int
    seconds: float

    @classmethod
    def of(
        cls, settings: Settings, facts: Mapping[str, Any], *, is_recomputed: bool, num_failed: int, start: float
    ) -> ExtractResult:
        """From the facts that the tables hold of a model."""
        return cls(
            model_id=settings.model_id, is_recomputed=is_recomputed, num_tried=facts["num_tried"], num_open=facts["num_open"],
            num_by_verdict=facts["num_by_verdict"], num_forward_passes=facts["num_forward_passes"],
            max_ratio=facts["max_ratio"], escalation=facts["escalation"], num_failed_reads=num_failed,
            seconds=time.perf_counter() - start,
        )  # fmt: skip

    def lines(self) -> list[str]:
        """As a person reads it."""
        verdicts = ", ".join(f"{number:,} {verdict}" for verdict, number in self.num_by_verdict.items())
        left = f"; {self.num_open:,} prompts not reached" if self.num_open else ""
        return [
            f"model {self.model_id[:12]}: {self.num_tried:,} prompts tried{left}: {verdicts or 'none'}",
            f"limits from the controls: noise magnitude above {self.escalation:.3g}, ratio at most {self.max_ratio:.3f}",
            f"{self.num_forward_passes:,} forward passes; {self.seconds:.1f} s{'' if self.is_recomputed else ', known before'}",
        ]


def run(
    store: Store,
    config: RunConfig,
    sources: Mapping[str, Source],
    generator: PromptedGenerator,
    encoder: Encoder,
    progress: Progress,
) -> ExtractResult:
    """Tries the prompts of the run on ``generator`` and commits what came of them.

    Raises:
        StoreError: a table of the scan is not there, or too few controls.
        ConfigError: the settings allow no test with the error rates asked for.
    """
    start = time.perf_counter()
    inputs = {}
    for table in INPUTS:
        manifest = store.manifest(table)
        if manifest is None:
            raise StoreError(f"{store.url} has no table {table} yet.", next_step="Run the scan to its end first.")
        inputs[table] = manifest.fingerprints
    settings = Settings(
        model_id=generator.model_id, scheduler=generator.scheduler, num_inference_steps=config.extract.num_inference_steps,
        guidance_scale=config.extract.guidance_scale, dtype=config.extract.dtype, first_seed=config.extract.first_seed,
        passes_an_image=generator.num_forward_passes(
            num_inference_steps=config.extract.num_inference_steps, guidance_scale=config.extract.guidance_scale
        ),
    )  # fmt: skip
    asked = config.extract.model_copy(update={"model": "", "budget": "unlimited"})
    key = fingerprint([TABLES[t].version for t in TABLES_OF_MODELS], inputs, asked, settings.model_id, config.risk.seed)
    held = _held(store, settings.model_id)
    if held is not None and held["key"] == key and not held["num_open"]:
        return ExtractResult.of(settings, held, is_recomputed=False, num_failed=0, start=start)
    height, width = generator.image_size
    scale = min(1.0, config.extract.max_side / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    with Library(store, config, sources, size=size, crop=config.extract.training_crop) as library:
        matcher = Matcher(library, encoder, generator, num_candidates=config.extract.num_candidates)
        facts = _Extraction(store, config, settings, generator, key).run(library, matcher, progress)
        num_failed = library.originals.num_failed
        if num_failed:
            progress.say(
                f"extract: {num_failed:,} training images could not be read again and were left out, for example: "
                f"{library.originals.last_failure}"
            )
    return ExtractResult.of(settings, facts, is_recomputed=True, num_failed=num_failed, start=start)


class _Extraction:
    """One call of ``run``."""

    def __init__(self, store: Store, config: RunConfig, settings: Settings, generator: PromptedGenerator, key: str) -> None:
        self.store, self.config, self.settings, self.generator = store, config, settings, generator
        self.wanted, self.key, self.seed = config.extract, key, config.risk.seed
        self.journal = Journal(store, key)

    def run(self, library: Library, matcher: Matcher, progress: Progress) -> dict[str, Any]:
        """Everything; returns the facts that the tables' metadata hold."""
        wanted = self.wanted
        prompts = read_prompts(self.store, library, wanted, seed=self.seed)
        plan = make_plan(max_generations=wanted.max_generations, min_rate=wanted.min_rate, max_miss=wanted.max_miss)
        records = self.journal.read()
        purse = Purse(left=float("inf") if wanted.budget == "unlimited" else float(wanted.budget))
        limits = Limits(max_edge=wanted.max_edge, max_l2=wanted.max_l2, strict_l2=wanted.strict_l2, max_ratio=0.0)
        prober = Prober(self.generator, matcher, self.settings, plan, limits, purse)
        try:
            scores = self._scores(prompts, purse, progress)
        except BudgetSpent:
            raise StoreError(
                f"A budget of {wanted.budget:,} forward passes does not cover the prefilter of {len(prompts):,} prompts.",
                next_step="Raise extract.budget, or take fewer prompts with extract.max_prompts.",
            ) from None
        score_of = dict(zip((prompt.prompt_id for prompt in prompts), scores.noise_magnitude.tolist(), strict=True))
        escalation = 0.0
        rejected: list[Prompt] = []
        try:
            with progress.bar("extract", total=len(prompts), unit="prompts", is_estimate=True) as bar:
                purse.pay(sum(record.extraction["num_forward_passes"] for record in records.values()))
                controls = [prompt for prompt in prompts if prompt.control_use == "limits"]
                escalation, started = self._set_limits(controls, score_of, prober)
                chosen, rejected = in_order(
                    prompts, scores.noise_magnitude, escalation, audit_share=wanted.audit_share, seed=self.seed
                )
                bar.expect(len(chosen))

                def settled(trial: Trial) -> None:
                    record = record_of(
                        trial, self.store, self.settings, prober.limits, group_id=library.group_id,
                        is_escalated=score_of[trial.prompt.prompt_id] > escalation,
                    )  # fmt: skip
                    if record.extraction["verdict"] in FOUND:
                        write_evidence(trial, record, self.store, self.settings, prober.limits, library)
                    self.journal.write(record)
                    records[trial.prompt.prompt_id] = record
                    bar.advance()

                bar.advance(sum(prompt.prompt_id in records for prompt in chosen))
                self._confirm([prompt for prompt in chosen if prompt.prompt_id not in records], started, prober, settled)
        except BudgetSpent:
            progress.say("extract: the budget is spent; raise extract.budget and run the same again to go on from here")
        records |= {p.prompt_id: rejected_record(p, self.settings, prober.limits) for p in rejected}
        facts = self._commit(prompts, scores, escalation, prober.limits, records)
        if not facts["num_open"]:
            self.journal.remove()
        return facts

    def _scores(self, prompts: list[Prompt], purse: Purse, progress: Progress) -> PromptScores:
        """The cheap scores, from the journal where they are there."""
        known = self.journal.read_facts("scores")
        if known is not None:
            found = PromptScores.from_facts(known)
            purse.pay(found.num_forward_passes)
            return found
        seeds = list(range(self.settings.first_seed, self.settings.first_seed + self.wanted.prefilter_seeds))
        purse.pay((len(prompts) + -(-len(prompts) // BLOCK_PROMPTS)) * len(seeds))
        with progress.bar("prefilter", total=len(prompts), unit="prompts") as bar:
            found = score_prompts(
                self.generator, [prompt.text for prompt in prompts], seeds, bar=bar,
                num_inference_steps=self.settings.num_inference_steps, guidance_scale=self.settings.guidance_scale,
            )  # fmt: skip
        self.journal.write_facts("scores", found.to_facts())
        return found

    def _set_limits(
        self, controls: list[Prompt], score_of: Mapping[int, float], prober: Prober
    ) -> tuple[float, dict[int, Trial]]:
        """The score that a prompt must exceed, and the ratio that a verdict must stay below, from controls that repeat nothing.

        A control whose generations agree with one another, or with a template, has found something, whatever it is, and says
        nothing of chance. What is left may still leak now and then, so its quantiles are robust ones.

        Returns:
            The score, and the trials, one round old, to go on with; none where an earlier call had the limits already.
        """
        known = self.journal.read_facts("limits")
        trials: dict[int, Trial] = {}
        if known is None:
            ratios, scores = [], []
            for wave in prober.waves(prober.start(prompt) for prompt in controls):
                prober.advance(wave)
                for trial in wave:
                    judgement = trial.judgement
                    assert judgement is not None, "advance judges"
                    trials[trial.prompt.prompt_id] = trial
                    ratio = float(judgement.matches.ratio[judgement.best])
                    if len(judgement.clique) < judgement.needed and judgement.template is None and np.isfinite(ratio):
                        ratios.append(ratio)
                        scores.append(score_of[trial.prompt.prompt_id])
            if len(ratios) < MIN_CONTROLS // 2:
                raise StoreError(
                    f"Of {len(controls):,} controls only {len(ratios):,} repeat nothing; {MIN_CONTROLS // 2} are needed.",
                    next_step="Raise risk.num_control. Where nearly all prompts repeat, lower extract.max_edge.",
                )
            known = {
                "max_ratio": robust_quantile(np.array(ratios), self.wanted.ratio_quantile),
                "escalation": escalation_limit(np.array(scores), self.wanted.prefilter_quantile),
            }
            self.journal.write_facts("limits", known)
        prober.limits = replace(prober.limits, max_ratio=float(known["max_ratio"]))
        for trial in trials.values():
            prober.rejudge(trial)
        return float(known["escalation"]), trials

    def _confirm(
        self, prompts: list[Prompt], started: dict[int, Trial], prober: Prober, settled: Callable[[Trial], None]
    ) -> None:
        """Takes every prompt to its end, in order; those that set the limits have had their first round."""

        def under_way() -> Iterator[Trial]:
            for prompt in prompts:
                trial = started.pop(prompt.prompt_id, None) or prober.start(prompt)
                if trial.decision == "continue":
                    yield trial
                else:
                    settled(trial)

        for wave in prober.waves(under_way()):
            prober.settle(wave, settled)

    def _commit(
        self,
        prompts: list[Prompt],
        scores: PromptScores,
        escalation: float,
        limits: Limits,
        records: Mapping[int, Record],
    ) -> dict[str, Any]:
        """What is settled, in the order of the prompts."""
        done = [records[prompt.prompt_id] for prompt in prompts if prompt.prompt_id in records]
        verdicts = [record.extraction["verdict"] for record in done]
        generated = sum(record.extraction["num_forward_passes"] for record in done)
        facts = {
            "num_tried": len(done), "num_open": len(prompts) - len(done),
            "num_by_verdict": {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))},
            "num_forward_passes": scores.num_forward_passes + generated, "max_ratio": limits.max_ratio,
            "escalation": escalation,
        }  # fmt: skip
        tables = {
            "prompt_scores": score_rows([prompt.prompt_id for prompt in prompts], scores, self.settings),
            "generations": generation_rows(done, self.settings),
            "matches": match_rows(done, self.settings),
            "extractions": extraction_rows(done),
        }
        for table in TABLES_OF_MODELS:
            commit_of_model(
                self.store, table, tables[table], model_id=self.settings.model_id, key=self.key,
                part_rows=self.config.store.part_rows, facts=facts,
            )  # fmt: skip
        return facts


def _held(store: Store, model_id: str) -> dict[str, Any] | None:
    """What the last of the tables says of this model."""
    manifest = store.manifest("extractions")
    found = manifest.metadata.get(model_id) if manifest else None
    return dict(found) if found else None
