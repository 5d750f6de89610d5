"""What the stages between embeddings and groups cost: copies, cells, join, audit, groups.

The exact join holds all vectors; with cells everything is streamed from disk, so a stage takes more memory than its floor only
as far as ``--memory`` allows.
"""

from __future__ import annotations

from scanner.plan.cost import ONE_CORE, StageCost, Work
from scanner.plan.job import Job
from scanner.plan.rates import Rate
from scanner.plan.row_sizes import row_size

BLOCK_ROWS = 65_536
"""Rows that are widened to fp32 at once while they are assigned (outlier_scores() of scanner/search/kmeans.py)."""


def collapse(job: Job) -> StageCost:
    """Equal copies become one row. How many there are nobody knows before, so the stages after it count every image."""
    rows, held = job.rates["collapse_rows"], job.rates["collapse_bytes"]
    return StageCost(
        stage="collapse copies",
        work={ONE_CORE: Work(seconds=job.images / rows.value, rates=(rows,)), **_storage(job, job.vector_bytes)},
        memory_bytes=_memory(job, job.images * held.value),
        size_rates=(held,),
    )


def fit(job: Job) -> StageCost:
    """k-means on a sample; its centres serve the cells, and outlier_score where there are none."""
    cells, sample, iterations = (job.rates[name] for name in ("cells_per_sqrt_row", "cell_sample_rows", "cell_iterations"))
    work = _products(job, job.bound_numbers * job.num_cells * job.sample_rows * iterations.value)
    return StageCost(
        stage="cells: fit",
        work=work | _storage(job, 2 * job.dim * job.sample_rows),
        memory_bytes=_memory(job, 4 * job.bound_numbers * (job.sample_rows + job.num_cells)),
        size_rates=(cells, sample, iterations),
    )


def assign(job: Job) -> StageCost:
    """Every row to its nearest centres, each compared with all."""
    return StageCost(
        stage="cells: assign",
        work=_products(job, job.bound_numbers * job.num_cells * job.images) | _vectors_again(job),
        memory_bytes=_memory(job, 4 * job.bound_numbers * (job.num_cells + 2 * BLOCK_ROWS)),
        size_rates=(job.rates["cells_per_sqrt_row"],),
    )


def scratch_bytes(job: Job) -> float:
    """Of the vectors in the order of their cells, and of their bounds in half precision before and after."""
    return job.images * 2 * (job.dim + 2 * job.bound_numbers)


def scratch_sort(job: Job) -> StageCost | None:
    """Vectors into the order of their cells, by as many passes over the disk as ``scratch_passes`` says."""
    if job.search == "join":
        return None
    passes, size = job.rates["scratch_passes"], scratch_bytes(job)
    moved = job.vector_bytes + passes.value * size + (passes.value - 1) * size
    return StageCost(
        stage="scratch sort",
        work=_storage(job, moved),
        scratch_bytes=size,
        memory_bytes=_memory(job, size),
        size_rates=(job.rates["join_width"], passes),
    )


def join(job: Job) -> StageCost:
    """Every pair of rows, or of the rows of a cell: bounds on a CPU, products of all numbers on a GPU, which knows no cells."""
    rates, machine = job.rates, job.machine
    if machine.gpus and job.search == "join":
        peak, share = rates[f"gpu_bf16_{machine.gpu}"], rates["gpu_utilisation"]
        flops = 2 * job.dim * job.num_compared
        work = {"gpus": Work(seconds=flops / (peak.value * share.value * machine.gpus), rates=(peak, share))}
    else:
        width, product, bound = (
            rates[name] for name in ("join_width", f"join_product_{machine.cpu.replace('-', '_')}", "join_bound")
        )  # fmt: skip
        a_pair = min(width.value, job.dim) * product.value + bound.value
        work = {"cores": Work(seconds=job.num_compared * a_pair / machine.cores, rates=(width, product, bound))}
    constants: tuple[Rate, ...] = ()
    if job.search == "cells":
        skew, parents = rates["cell_skew"], rates["union_bytes"]
        work |= _storage(job, scratch_bytes(job))
        # Two cells of the size in which a row lies on average: the one that is joined, and the next that is read.
        rows_of_a_cell = min(skew.value * job.images * (1 + job.guests_a_row) / job.num_cells, job.images)
        held = 2 * rows_of_a_cell * 2 * job.dim
        workers = machine.cores * rates["join_worker_bytes"].value
        memory, scratch = _memory(job, held + workers), scratch_bytes(job) + parents.value * job.images
        constants = (rates["cells_a_row"], skew, parents)
    else:
        memory, scratch = min(float(machine.memory_bytes), job.least_memory_bytes + 4 * job.dim * job.images), 0.0
    sizes = {table: row_size(table, rates) for table in ("neighbors", "pairs")}
    return StageCost(
        stage="join",
        work=work,
        tables={"neighbors": sizes["neighbors"].value * job.images, "pairs": sizes["pairs"].value * job.num_links},
        scratch_bytes=scratch,
        memory_bytes=memory,
        size_rates=(*constants, *sizes.values(), rates["duplicate_share"], rates["join_worker_bytes"]),
    )


def audit(job: Job) -> StageCost:
    """Some rows against all others, so that the recall is known."""
    sample = job.rates["audit_rows"]
    num_rows = min(sample.value, job.images)
    return StageCost(
        stage="audit",
        work=_products(job, job.dim * num_rows * job.images) | _vectors_again(job),
        memory_bytes=_memory(job, 4 * job.dim * (num_rows + BLOCK_ROWS)),
        size_rates=(sample,),
    )


def groups(job: Job) -> StageCost:
    """Components of the links, and each member against its representative."""
    rows, parents, size = job.rates["union_rows"], job.rates["union_bytes"], row_size("groups", job.rates)
    return StageCost(
        stage="groups",
        work={ONE_CORE: Work(seconds=job.images / rows.value, rates=(rows,)), **_storage(job, 2 * job.dim * job.num_grouped)},
        tables={"groups": size.value * job.num_grouped},
        scratch_bytes=parents.value * job.images if job.search == "cells" else 0.0,
        memory_bytes=_memory(job, 4 * parents.value * job.images),
        size_rates=(parents, size, job.rates["duplicate_share"], job.rates["images_a_group"]),
    )


def _products(job: Job, num_products: float) -> dict[str, Work]:
    """Matrix products of so many multiplications and additions, two FLOPs each, on the cores."""
    gemm = job.rates["cpu_gemm"]
    return {"cores": Work(seconds=2 * num_products / (gemm.value * job.machine.cores), rates=(gemm,))}


def _storage(job: Job, num_bytes: float) -> dict[str, Work]:
    storage = job.rates["storage"]
    return {"storage": Work(seconds=num_bytes / storage.value, rates=(storage,))}


def _vectors_again(job: Job) -> dict[str, Work]:
    """Reading all vectors once more, where they are not held."""
    return _storage(job, job.vector_bytes) if job.search == "cells" else {}


def _memory(job: Job, extra: float) -> float:
    """Resident bytes of a stage of the search that could use ``extra`` beside its process (and the vectors, where held)."""
    held = job.vector_bytes if job.search == "join" else 0
    return min(float(job.machine.memory_bytes), job.rates["search_base_bytes"].value + held + extra)
