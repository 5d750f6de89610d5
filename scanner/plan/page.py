"""docs/plan.md: how a plan is made, two of them, and every rate with where it comes from."""

from __future__ import annotations

from scanner.plan.job import Machine
from scanner.plan.model import find_model
from scanner.plan.plan import Plan, make_plan
from scanner.plan.rates import shipped_rates
from scanner.plan.render import rate_text, summary_lines

_TOP = """\
# Plan

<!-- Generated from scanner/plan/ by `make docs`. Edit that, not this. -->

`scanner plan` says what a scan would take before anything is read: time, disk and memory of every stage, what bounds it, and
which of the numbers behind it were measured. It is arithmetic; it opens no source, loads no model and measures nothing.

It is not `scanner run CONFIG --plan`. That prints the settings of a run, resolved, and the stages that it would go through; it
knows no time and no size.
"""
_HOW = """\
## How the numbers are made

- **Time.** Each stage says how many seconds each resource (storage, cores, one core, GPUs) is at work; the longest binds it.
  Reading, decoding and encoding run together: their seconds on one resource add up, the busiest resource binds the pass, and
  the pass reaches a measured share of that bound. The other stages follow one another.
- **measured** is a rate that a benchmark took on such hardware, with as many cores and the same encoder; its file lies in
  [benchmarks/results](../benchmarks/README.md). **given** is one that you gave. All else is **assumed**, a measured rate that was
  scaled to another machine too, and says its rule or its source. "time is" in the table says it of the rates that bind a stage.
- **Encoder.** On GPUs peak x utilisation / FLOPs of the image tower; on cores the measured rate of the encoder, or that of
  another at the same FLOP/s. `--gflops-an-image` tells the FLOPs of a model that is not known.
- **Preparing** an image takes time in proportion to its bytes: give `--bytes-an-image` of your set.
- **Search.** The join of all pairs compares n (n - 1) / 2; with M n rows in k cells it is skew (M n)^2 / (2 k). A CPU
  computes bounds of a few dozen numbers, a GPU all numbers; GPUs have no part in a search in cells. The pairs that bounds leave
  to be computed in full are not counted.
  The join is taken unless it does not fit into `--memory` or the cells save more than a tenth of the whole time. How many
  copies collapse before it nobody knows, so every image counts.
- **Disk.** Vectors take 2 bytes a number. Other tables take the widths of their columns, uncompressed; `images` what it took with
  real alt texts and urls. Scratch holds a vector once for every cell that it joins, and is gone after the search.
- **Memory** is an upper estimate of all processes together. `--memory` bounds the search; decoders and encoders come before it.
  A search in cells stops where `--memory` is below what it holds for each image, which is not reckoned here:
  [scale.md](scale.md) has it.

Where most rates are assumed, those of GPUs, cells, audit and verification among them, take a total for its order of magnitude,
and measure a thousandth of your set before you rent anything.
"""
_JSON = """\
## JSON

`--json` prints `format_version` (now 1), `inputs`, `search` (`join` or `cells`), `num_cells`, `stages`, `phases`, `totals`,
`limit` and `rates`. Times are seconds, sizes bytes. A stage has `stage`, `phase`, `seconds`, `seconds_by_resource`, `bound_by`,
`status`, `table_bytes` by table, `scratch_bytes`, `memory_bytes`, and the names of its `rates`.
"""
_RATES = """\
## Rates

All of [rates.yaml](../scanner/plan/rates.yaml), which is the place to replace them once they are measured; a test holds every
measured one against its file.
"""


def plan_page() -> str:
    """The whole page. Its examples give the cores, so that it is the same on every machine."""
    rates, gigabyte = shipped_rates(), 10**9
    large = make_plan(
        images=5 * 10**9,
        model=find_model("ViT-L-14"),
        machine=Machine.of(rates, gpus=8, gpu=None, cores=None, memory_bytes=16 * gigabyte),
        rates=rates,
    )
    small = make_plan(
        images=250_000,
        model=find_model("small"),
        machine=Machine.of(rates, gpus=None, gpu=None, cores=2, memory_bytes=16 * gigabyte),
        rates=rates,
    )
    examples = [
        _example("scanner plan --images 5e9 --gpus 8 --model ViT-L-14", large),
        _example("scanner plan --images 250000 --cores 2 --model small", small),
    ]
    listed = "\n".join(f"- {_escaped(rate_text(rate))}" for rate in rates)
    return "\n".join([_TOP, *examples, _HOW, _JSON, _RATES, listed]) + "\n"


def _example(command: str, plan: Plan) -> str:
    return "\n".join(["```sh", command, "```", "", "```text", *summary_lines(plan), "```", ""])


def _escaped(text: str) -> str:
    """Text that Markdown does not read as markup: names have underscores in them."""
    name, colon, rest = text.partition(":")
    return f"`{name}`{colon}{rest}".replace("*", "\\*").replace("<", "&lt;")
