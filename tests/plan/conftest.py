from __future__ import annotations

import pytest

from scanner.plan.job import Job, Machine
from scanner.plan.model import Model
from scanner.plan.rates import Rates, shipped_rates

ROUND = {
    "storage": 1e9, "bytes_an_image": 1e5, "row_images": 100.0, "gpu_bf16_h100": 1e15,
    "gpu_utilisation": 0.5, "gpu_images_most": 1e6, "encoder_process_bytes": 2e9, "decoder_process_bytes": 1e8,
    "cores_a_gpu": 16.0, "cpu_gemm": 1e11, "duplicate_share": 0.2, "images_a_group": 3.0, "text_bytes": 50.0,
    "collapse_rows": 1e6, "collapse_bytes": 50.0, "cells_per_sqrt_row": 1.0, "cell_sample_rows": 100.0,
    "cell_iterations": 10.0, "cells_a_row": 2.0, "cell_skew": 2.0, "scratch_passes": 2.0, "join_product_avx2": 1e-11,
    "join_bound": 4e-10, "join_width": 60.0, "join_worker_bytes": 5e8, "search_base_bytes": 1e9, "audit_rows": 1000.0,
    "union_rows": 1e7, "union_bytes": 8.0, "verify_rows": 100.0, "risk_rows": 1e6, "report_s": 10.0,
}  # fmt: skip
"""Constants to reckon with by hand, so that these tests do not change when a rate is measured."""


@pytest.fixture
def rates() -> Rates:
    return shipped_rates().given(**ROUND)


@pytest.fixture
def model() -> Model:
    return Model(name="a model", dim=500, gflops=100.0, source="a test")


@pytest.fixture
def make_job(rates, model):
    """A job on a million images: ``make_job(gpus=2, search="cells", images=...)``."""

    def make(*, gpus=0, cores=4, search="join", images=10**6, memory_bytes=10**11, rates=rates, model=model):
        machine = Machine.of(rates, gpus=gpus, gpu=None, cores=cores, memory_bytes=memory_bytes)
        return Job(images=images, model=model, machine=machine, rates=rates, search=search)

    return make
