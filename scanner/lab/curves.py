"""The memorization curves of several models of one set, side by side: measured, told and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from scanner.core.errors import ConfigError
from scanner.core.progress import Progress
from scanner.lab.curve import MAX_CAPTIONS, Curve, Sampling, choose_trials, comparison_lines, measure_curve
from scanner.lab.curve_plot import curve_svg
from scanner.lab.curve_unconditional import NUM_IMAGES, UnconditionalCurve, measure_unconditional
from scanner.lab.toy_data import ToySet, read_toy_set
from scanner.lab.toy_manifest import read_manifest
from scanner.models.generators import generator_folder, load_generator

MAX_MODELS = 4
SAMPLE = Sampling(num_seeds=2, num_inference_steps=10)
SAMPLE_UNIQUE, SAMPLE_HELD_OUT = 24, 24
"""What the demo tries: one caption of every planted picture, and so many of the others."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Name of the model to its curve: either all take prompts, or none does."""

    prompted: dict[str, Curve]
    unconditional: dict[str, UnconditionalCurve]

    def lines(self) -> list[str]:
        """As text; two models and more in columns, after each by itself."""
        lines = []
        for name, curve in (self.prompted | self.unconditional).items():
            lines += [f"{name}:", *curve.lines()]
        return lines + (comparison_lines(self.prompted) if len(self.prompted) > 1 else [])

    def write(self, out: Path) -> None:
        """Writes curve.parquet (a row a model and point), captions.parquet (a row a model and caption) and curve.svg."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        def with_names(tables: dict[str, pa.Table]) -> pa.Table:
            named = [table.add_column(0, "model", pa.array([name] * len(table), pa.string())) for name, table in tables.items()]
            return pa.concat_tables(named)

        out.mkdir(parents=True, exist_ok=True)
        found = self.prompted or self.unconditional
        pq.write_table(with_names({name: curve.table() for name, curve in found.items()}), out / "curve.parquet")
        (out / "curve.svg").write_text(curve_svg(found), "utf-8")
        if self.prompted:
            captions = with_names({name: curve.captions_table() for name, curve in self.prompted.items()})
            pq.write_table(captions, out / "captions.parquet")


def measure_shipped(set_dir: Path, out: Path, *, progress: Progress | None = None) -> Curves | None:
    """A sample of the curves of ``toy`` and ``toy-dedup``, written to ``out``.

    Returns:
        None where the models that ship were trained on another set than that in ``set_dir``, or diffusers is not installed.
    """
    if find_spec("diffusers") is None:
        return None
    toy_set = read_toy_set(set_dir)
    names = ("toy", "toy-dedup")
    if any(read_manifest(generator_folder(name))["set"]["made_with"] != toy_set.made_with for name in names):
        return None
    trials = choose_trials(toy_set, max_captions=1, max_unique=SAMPLE_UNIQUE, max_held_out=SAMPLE_HELD_OUT)
    prompted = {
        name: measure_curve(load_generator(name), toy_set, sampling=SAMPLE, trials=trials, progress=progress) for name in names
    }
    curves = Curves(prompted=prompted, unconditional={})
    curves.write(out)
    return curves


def measure_curves(
    models: Sequence[str],
    toy_set: ToySet,
    *,
    sampling: Sampling,
    max_captions: int = MAX_CAPTIONS,
    num_images: int = NUM_IMAGES,
    progress: Progress | None = None,
) -> Curves:
    """Every model on the same captions (or seeds) of ``toy_set``.

    Args:
        models: names or folders; see ``load_generator``.
        max_captions: tried of one picture.
        num_images: drawn of a model that takes no prompts; the steps are those of ``sampling``.

    Raises:
        ConfigError: some take prompts and others do not, or there are more than four.
        GeneratorError: one cannot be loaded.
    """
    if len(models) > MAX_MODELS:
        raise ConfigError(f"{len(models)} models are too many for one plot.", next_step=f"Give at most {MAX_MODELS}.")
    generators = {Path(name).name: load_generator(name) for name in models}
    if len(generators) < len(models):
        raise ConfigError("Two of the models have one name.", next_step="Rename a folder.")
    prompted = {name: generator for name, generator in generators.items() if generator.takes_prompts}
    if len(prompted) not in (0, len(generators)):
        raise ConfigError(
            f"{', '.join(prompted)} can be asked for a picture and the others cannot.", next_step="Measure them one by one."
        )
    if prompted:
        trials = choose_trials(toy_set, max_captions=max_captions)
        curves = {
            name: measure_curve(generator, toy_set, sampling=sampling, trials=trials, progress=progress)
            for name, generator in prompted.items()
        }
        return Curves(prompted=curves, unconditional={})
    emitted = {
        name: measure_unconditional(
            generator, toy_set, num_images=num_images, first_seed=sampling.first_seed,
            num_inference_steps=sampling.num_inference_steps, progress=progress,
        )
        for name, generator in generators.items()
    }  # fmt: skip
    return Curves(prompted={}, unconditional=emitted)
