"""docs/scale.md: what sets from ten million to five billion images take, stage by stage, and what ends at which size.

Every number on the page comes from the plans and from the estimates by which the search itself refuses; tests hold the limits
against the code that has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scanner.core.amounts import show_bytes, show_seconds
from scanner.core.reference import grid
from scanner.plan.cost import StageCost
from scanner.plan.job import MOST_CELLS, Cpu, Gpu, Machine
from scanner.plan.model import find_model
from scanner.plan.plan import Plan, make_plan
from scanner.plan.rates import Status, shipped_rates

SIZES = (10**7, 10**8, 4 * 10**8, 2 * 10**9, 5 * 10**9)
NAMES = ("10^7", "10^8", "4·10^8", "2·10^9", "5·10^9")
MOST_ROWS = 2**31
"""Distinct images of one search, exclusive: places in cells and nodes of a forest are counted in 32 bits with a sign."""
MEMORY_BYTES = 2 * 10**12
"""Of the machines on the page: what the largest set takes at least."""

_MACHINES: tuple[tuple[str, str, int, Gpu, int | None, Cpu], ...] = (
    ("ViT-B-32", "8 H100, 128 cores", 8, "h100", None, "avx2"),
    ("ViT-L-14", "8 H100, 128 cores", 8, "h100", None, "avx2"),
    ("ViT-B-32", "1 A100, 16 cores", 1, "a100", None, "avx2"),
    ("ViT-B-32", "64 cores with bf16, no GPU", 0, "none", 64, "avx512-bf16"),
)
_TOP = """\
# Scale, honestly

<!-- Generated from scanner/plan/ by `make docs`. Edit that, not this. -->

What a scan of ten million to five billion images would take, and where this program ends. **Nothing on this page was run at
these sizes.** The largest search that was run is ten million planted embeddings, the largest whole scan 250,000 images, in
1.15 times what its plan had said ([benchmarks](../benchmarks/README.md)). All else is what `scanner plan` reckons
([plan.md](plan.md)) from a few measured rates and many assumed ones: take it for its order of magnitude.
"""
_PASS = """\
## The pass on GPUs

- **Batches.** Decoding processes hand pixels over; they are packed into page-locked memory, copied on a stream of their own
  while the batch before is computed, resized and normalised on the GPU, encoded in bf16, and their vectors come back while
  the next batch runs. Files are written by a thread while the next part is made. `compute.resize: cpu` leaves the resize to
  the decoding processes; images above a megapixel and long strips always stay with them. Pixels of the two places differ by
  two levels at most.
- **Batch size.** `encoder.batch_size: auto` doubles from 64 while that gains a twentieth, up to 2,048. Where memory runs out,
  what is under way is finished, the batch is halved, and so are all that follow; each image is encoded once. Each part
  records the sizes that it was made with, the device, and where images were resized. A scan that goes on keeps the size that
  it began with.
- **Several GPUs.** One process each (`compute.gpus`), with its share of the decoding processes, asks for a part whenever it
  has none. Which one made a part does not show in it. What a process leaves undone is made at the end.
- **torch.compile** is an option (`compute.compile_encoder`), off because nobody has measured what it gains. JPEGs are decoded
  on the cores: hashes want their pixels there. What nvJPEG would give is among what the benchmark asks.

No GPU was at hand: all of this is tested on CPUs, with stand-ins for streams and for memory that runs out. One command
measures it, `python benchmarks/gpu.py` ([benchmarks](../benchmarks/README.md#not-measured-yet)).
"""


def scale_page() -> str:
    """The whole page."""
    plans = [_plan("ViT-B-32", 8, "h100", None, "avx2", images) for images in SIZES]
    return "\n".join([_TOP, *_stages(plans), *_totals(), *_single_node(plans), *_limits(), _PASS, *_assumed(plans)]) + "\n"


def least_memory(num_rows: int, dim: int, threads: int) -> dict[str, int]:
    """Bytes that a search in cells wants of ``--memory`` at least, vectors and bounds lying on disk, by what they are for."""
    from scanner.search import cells_join, searches

    return {
        "ids, digests, counts, links": num_rows * searches.BYTES_A_ROW,
        "cells: order, places, visits; and the threads": cells_join.estimate_memory(num_rows, dim, threads=threads),
        "the process, pairs that wait": searches.PROCESS_BYTES + searches.LINKS_BYTES,
    }


def _plan(model: str, gpus: int, gpu: Gpu, cores: int | None, cpu: Cpu, images: int) -> Plan:
    rates = shipped_rates()
    machine = Machine.of(rates, gpus=gpus, gpu=gpu, cores=cores, cpu=cpu, memory_bytes=MEMORY_BYTES)
    return make_plan(images=images, model=find_model(model), machine=machine, rates=rates)


def _stages(plans: Sequence[Plan]) -> list[str]:
    """Time, disk and memory by stage and size."""
    longest = max(plans, key=lambda plan: len(plan.stages))
    names = list(dict.fromkeys(stage.stage for plan in (longest, *plans) for stage in plan.stages))
    machine, memory = plans[0].job.machine.words(), show_bytes(MEMORY_BYTES).replace(" ", "")
    storage = show_bytes(plans[0].job.rates["storage"].value)
    times = [
        *((name, *_each(plans, name, lambda stage: show_seconds(stage.duration_s)), _status(plans, name)) for name in names),
        ("pass", *(show_seconds(plan.phases[0].duration_s) for plan in plans), ""),
        ("**whole scan**", *(f"**{show_seconds(plan.duration_s)}**" for plan in plans), ""),
        ("hours of GPUs at work", *(f"{plan.gpu_hours:,.1f}" for plan in plans), ""),
        ("search", *(_search(plan) for plan in plans), ""),
    ]
    memories = [
        *((name, *_each(plans, name, lambda stage: show_bytes(stage.memory_bytes))) for name in names),
        ("**most at once**", *(f"**{show_bytes(plan.memory_bytes)}**" for plan in plans)),
    ]
    tables = list(dict.fromkeys(table for plan in plans for stage in plan.stages for table in stage.tables))
    disk = [
        ("read from the source", *(show_bytes(plan.job.source_bytes) for plan in plans)),
        *((f"`{table}`", *(show_bytes(_table_bytes(plan, table)) for plan in plans)) for table in tables),
        ("**tables**", *(f"**{show_bytes(plan.table_bytes)}**" for plan in plans)),
        ("**scratch**", *(f"**{show_bytes(plan.scratch_bytes)}**" for plan in plans)),
    ]
    text = f"""\
## Stage by stage

ViT-B-32, {machine}, {memory} for the search, storage of {storage}/s. A column is what
`scanner plan --images N --gpus 8 --model ViT-B-32 --memory {memory}` prints; other machines and models are other flags.

Time. The first two stages run together ("pass"). The last column says whether the rates that bind a stage were measured. By
itself `scanner scan` takes cells past 250,000 images; where "all pairs" stands, that is `--search join`.
"""
    return [
        text, *grid(("stage", *NAMES, "time is"), times),
        "", "Memory: an upper estimate of all processes of a stage together.", "", *grid(("stage", *NAMES), memories),
        "", "Disk. Tables stay; scratch is gone after the search.", "", *grid(("", *NAMES), disk), "",
    ]  # fmt: skip


def _each(plans: Sequence[Plan], name: str, show: Callable[[StageCost], str]) -> list[str]:
    """A stage's cell of every plan; a dash where the plan does not have it."""
    found = [{stage.stage: stage for stage in plan.stages} for plan in plans]
    return [show(stages[name]) if name in stages else "–" for stages in found]


def _status(plans: Sequence[Plan], name: str) -> str:
    return ", ".join(dict.fromkeys(stage.status for plan in plans for stage in plan.stages if stage.stage == name))


def _search(plan: Plan) -> str:
    return f"{plan.job.num_cells:,} cells" if plan.job.search == "cells" else "all pairs"


def _table_bytes(plan: Plan, table: str) -> float:
    return sum(stage.tables.get(table, 0.0) for stage in plan.stages)


def _totals() -> list[str]:
    rows = []
    for model, words, gpus, gpu, cores, cpu in _MACHINES:
        plans = [_plan(model, gpus, gpu, cores, cpu, images) for images in SIZES]
        rows.append((f"{model}, {words}", *(show_seconds(plan.duration_s) for plan in plans)))
    lines = ["## Other machines", "", f"The whole scan, with {show_bytes(MEMORY_BYTES)} of memory each.", ""]
    return [*lines, *grid(("", *NAMES), rows), ""]


def _single_node(plans: Sequence[Plan]) -> list[str]:
    """What one machine does alone, and what it holds for it."""
    cores, dim = plans[0].job.machine.cores, plans[0].job.dim
    columns = [least_memory(n, dim, cores) for n in SIZES]
    rows = [(words, *(show_bytes(column[words]) for column in columns)) for words in columns[0]]
    rows.append(("**least `--memory`**", *(f"**{show_bytes(sum(column.values()))}**" for column in columns)))
    sample = max(plan.job.sample_rows for plan in plans)
    centres = show_bytes(4 * plans[0].job.bound_numbers * sample)
    text = f"""\
## What one machine does alone

Only the pass over the images is shared out: parts are files that stand for themselves, so each GPU of a machine has a process
that makes some of them. Several machines are not driven by this program. After the pass one process goes on:

- **k-means**: fitted on a sample, at most {sample:,.0f} rows for {MOST_CELLS:,} cells ({centres} in memory), whatever the
  size of the set. Assigning all rows to them is shared out among the cores.
- **Cell sort**: vectors go to scratch in the order of their cells, by one pass over the disk.
- **Union-find**: links are merged into one forest on one core.
- **SQL**: groups and captions are ranked by DuckDB on this machine's cores; it spills to disk what memory does not hold.

GPUs do nothing in a search in cells: they embed, and they compare all pairs where `--search join` asks for that.

Vectors and bounds are streamed from disk. What is held for each distinct image, by the search's own estimate ({dim} numbers a
vector, {cores} threads); with less the scan stops with an error before it searches:
"""
    more = f"""
Not in that estimate: while it is read, table `images` is in memory with the digests and captions of all rows, more than once.
`scanner plan` does not know this floor either: its memory columns are upper estimates of what stages use, capped by
`--memory`. With {show_bytes(MEMORY_BYTES)} every column of this page is above it.
"""
    return [text, *grid(("in memory", *NAMES), rows), more]


def _limits() -> list[str]:
    wide, narrow = (round(2 * MOST_CELLS**2 / (0.5 + guests)) for guests in (6.0, 2.0))
    text = f"""\
## Where it ends

- **{MOST_ROWS:,} distinct images** (2^31) in one search: places in cells and nodes of the forest are counted in 32 bits.
  A larger set stops there with an error after its pass; embeddings, images and SQL over them stand. So **the column of 5·10^9 is
  what it would take if that count were wider**, and 2·10^9 is about the most.
- **{MOST_CELLS:,} cells**: they are counted in 16 bits. More would be worth having from {wide:,} rows, where bounds need
  many numbers, to {narrow:,}, where few do; past it the cost of joining grows with the square of the rows.
- **16,777,216 rows a shard**: an image id keeps 24 bits for the row.
- **All pairs** (`--search join`) hold every vector in memory.
- **Memory**, as above, which ends most machines first.

What to do past the end: scan in several runs of up to two billion images and compare them by twos with `scanner leak`, which has
the same limits for the two together; nobody has tried that at such a size.
"""
    return [text]


def _assumed(plans: Sequence[Plan]) -> list[str]:
    """Which rates of the first section were measured, and which are assumed."""
    rates = list({rate.name: rate for plan in plans for rate in plan.rates}.values())

    def named(status: Status) -> str:
        return ", ".join(f"`{rate.name}`" for rate in rates if rate.status == status)

    num = sum(rate.status == "assumed" for rate in rates)
    has_gpu = any(rate.status == "measured" and rate.name.startswith("gpu_") for rate in rates)
    on_gpu = "" if has_gpu else " No rate was measured on a GPU."
    text = f"""\
## What is assumed

{num} of the {len(rates)} rates behind the first section are assumed. A measured rate that was scaled to another machine counts as
assumed: decoding was measured on two cores.{on_gpu}

Measured: {named("measured")}.

Assumed: {named("assumed")}.

Each with its source: [plan.md](plan.md#rates). Before a large scan, scan a thousandth of the set on the machine that is to do it,
and give `scanner plan` what that tells."""
    return [text]
