"""Every stage of a scan and what it costs. A further stage is a further function of a job in ``STAGES``."""

from __future__ import annotations

from collections.abc import Callable

from scanner.plan.cost import ONE_CORE, StageCost, Work
from scanner.plan.job import Job
from scanner.plan.pass_rates import encoder_rates, overlap_rate, preparation_rate
from scanner.plan.row_sizes import row_size
from scanner.plan.search_stages import assign, audit, collapse, fit, groups, join, scratch_sort

PASS = "pass over the images"
"""Phase of the two stages that run at the same time: while some images are encoded, the next are read and decoded."""


def read_and_decode(job: Job) -> StageCost:
    """Every byte of the source once; table ``images``."""
    rates = job.rates
    size, storage, row, worker = (rates[name] for name in ("bytes_an_image", "storage", "row_images", "decoder_process_bytes"))
    preparation, overlap = preparation_rate(job), overlap_rate(job)
    return StageCost(
        stage="read and decode",
        phase=PASS,
        efficiency=overlap.value,
        work={
            "cores": Work(seconds=job.images / preparation.value, rates=(preparation, size, overlap)),
            "storage": Work(seconds=job.source_bytes / storage.value, rates=(size, storage, overlap)),
        },
        tables={"images": row.value * job.images},
        memory_bytes=job.machine.cores * worker.value,
        size_rates=(row, worker),
    )


def embed(job: Job) -> StageCost:
    """Through the encoder, on the GPUs or on the cores that decode too; table ``embeddings``. Both tables are written."""
    rates = job.rates
    storage, images_row, process = (rates[name] for name in ("storage", "row_images", "encoder_process_bytes"))
    encoders, overlap, row = encoder_rates(job), overlap_rate(job), row_size("embeddings", rates, dim=job.dim)
    written = job.images * (row.value + images_row.value)
    work = {"storage": Work(seconds=written / storage.value, rates=(row, images_row, storage, overlap))}
    if encoders:
        resource = "gpus" if job.machine.gpus else "cores"
        work[resource] = Work(seconds=job.images / encoders[0].value, rates=(*encoders, overlap))
    return StageCost(
        stage="embed",
        phase=PASS,
        efficiency=overlap.value,
        work=work,
        tables={"embeddings": job.images * row.value},
        memory_bytes=max(1, job.machine.gpus) * process.value,
        size_rates=(row, process),
    )


def verify(job: Job) -> StageCost:
    """Every image of a group is read and decoded again, and held against its representative; fills table ``groups``."""
    rates, preparation = job.rates, preparation_rate(job)
    rows, size, storage, worker = (
        rates[name] for name in ("verify_rows", "bytes_an_image", "storage", "decoder_process_bytes")
    )  # fmt: skip
    grouped = (rates["duplicate_share"], rates["images_a_group"])
    seconds_an_image = 1 / preparation.value + 1 / (rows.value * job.machine.cores)
    return StageCost(
        stage="verify",
        work={
            "cores": Work(seconds=job.num_grouped * seconds_an_image, rates=(preparation, rows, size, *grouped)),
            "storage": Work(seconds=job.num_grouped * size.value / storage.value, rates=(size, storage, *grouped)),
        },
        memory_bytes=job.machine.cores * worker.value,
        size_rates=(worker,),
    )


def risk(job: Job) -> StageCost:
    """SQL over images and groups. Captions of a group are taken to differ all, which is the most that its tables can hold."""
    rates = job.rates
    rows, storage, images_row = (rates[name] for name in ("risk_rows", "storage", "row_images"))
    num_rows = {"group_risk": job.num_groups, "group_captions": job.num_grouped, "prompts": job.num_grouped}
    sizes = {table: row_size(table, rates) for table in num_rows}
    read = images_row.value * job.images
    return StageCost(
        stage="risk",
        work={
            "cores": Work(seconds=job.images / (rows.value * job.machine.cores), rates=(rows,)),
            "storage": Work(seconds=read / storage.value, rates=(images_row, storage)),
        },
        tables={table: num_rows[table] * size.value for table, size in sizes.items()},
        # DuckDB takes what it is given and spills the rest.
        memory_bytes=min(float(job.machine.memory_bytes), rates["search_base_bytes"].value + read),
        size_rates=(*sizes.values(), rates["text_bytes"], rates["duplicate_share"], rates["images_a_group"], images_row),
    )


def report(job: Job) -> StageCost:
    """One page."""
    duration, base = job.rates["report_s"], job.rates["search_base_bytes"]
    return StageCost(
        stage="report",
        work={ONE_CORE: Work(seconds=duration.value, rates=(duration,))},
        memory_bytes=base.value,
        size_rates=(base,),
    )


STAGES: tuple[Callable[[Job], StageCost | None], ...] = (
    read_and_decode, embed, collapse, fit, assign, scratch_sort, join, audit, groups, verify, risk, report,
)  # fmt: skip
"""In the order of a scan. A stage that a job does not have (an exact join sorts nothing) gives None."""


def costs(job: Job) -> tuple[StageCost, ...]:
    """Every stage that the job has."""
    return tuple(cost for stage in STAGES if (cost := stage(job)) is not None)
