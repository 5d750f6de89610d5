"""Extraction: the prompts that a scan ranked, tried on a diffusion model. Tables and evidence join those of the scan.

The same call goes on where it was stopped; another model adds its rows to the same tables.
"""

from __future__ import annotations

from typing import Any

import yaml

from scanner.core.config import RunConfig
from scanner.core.errors import ConfigError, GeneratorError
from scanner.core.lock import lock
from scanner.core.progress import Progress
from scanner.core.store import Store
from scanner.extract import stage
from scanner.extract.stage import ExtractResult
from scanner.models.generators import PromptedGenerator, load_generator
from scanner.models.loading import load_encoder
from scanner.models.samplers import UnconditionalGenerator
from scanner.pipelines.scan import open_sources, other_sets
from scanner.pipelines.summary import versions
from scanner.report import stage as report
from scanner.risk import stage as risk

MODELS_FILE = "models.yaml"
"""What was asked of each model, by model_id; ``replay`` reads it."""


def open_model(config: RunConfig) -> PromptedGenerator:
    """The model of ``config.extract``, every weight of it looked at.

    Raises:
        GeneratorError: it cannot be loaded or is damaged, or takes no prompts.
        ConfigError: none is named.
    """
    wanted = config.extract
    if not wanted.model:
        raise ConfigError("No model is named.", next_step="Add --model: toy, a folder that diffusers saved, or a hub id.")
    generator = load_generator(
        wanted.model, device=config.compute.device, dtype=wanted.dtype, batch_size=wanted.batch_size, scheduler=wanted.scheduler
    )
    if isinstance(generator, UnconditionalGenerator):
        raise GeneratorError(
            f"{wanted.model} takes no prompts, and captions are all that this attack has.",
            next_step="Give a text-to-image pipeline.",
        )
    return generator


def extract(store: Store, config: RunConfig, progress: Progress) -> ExtractResult:
    """Runs every step that is not up to date.

    Raises:
        LockedError: another process writes this run.
        GeneratorError, EncoderError, SourceError, StoreError, ConfigError: before any forward pass is spent.
    """
    with lock(store):
        # 1. The model first: what is broken should be said before anything is spent.
        generator = open_model(config)

        # 2. Prompts of all lanes; a scan made them already unless other numbers are asked for.
        risk.run(store, config, progress)

        # 3. The training set again: its files for pixels, its encoder for the search.
        sources = open_sources(config)
        encoder = load_encoder(
            config.encoder.name,
            device=config.compute.device,
            precision=store.read_run().get("encoder", {}).get("precision", "auto"),
        )
        write_model(store, generator, config)

        # 4. Scores, limits, generations, verdicts.
        result = stage.run(store, config, sources, generator, encoder, progress)

        # 5. The report again, with what came out.
        report.run(store, config, sources, progress, others=other_sets(store, progress))
    return result


def write_model(store: Store, generator: PromptedGenerator, config: RunConfig) -> None:
    """Records how the model is sampled, beside what was recorded of others."""
    models = read_models(store)
    models[generator.model_id] = {"extract": config.extract.model_dump(mode="json"), "versions": versions()}
    store.put(yaml.safe_dump(models, sort_keys=True, allow_unicode=True).encode(), MODELS_FILE)


def read_models(store: Store) -> dict[str, Any]:
    """By model_id; none before the first extraction."""
    return dict(yaml.safe_load(store.get(MODELS_FILE) or b"") or {})
