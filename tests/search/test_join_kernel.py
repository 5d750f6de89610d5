"""The kernels against full products, in Triton's interpreter; and compiled, without a GPU, for those that they are meant for."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from scanner.search import join_kernel  # noqa: E402
from scanner.search.join_kernel import ALIGN, confirm, find_candidates  # noqa: E402
from scanner.search.threshold import unit_rows  # noqa: E402

DEVICE = "cpu" if join_kernel.is_interpreted() else "cuda"
HAS_PERSISTENT = DEVICE == "cpu" or torch.cuda.get_device_capability() >= (9, 0)
IS_PERSISTENT = pytest.mark.parametrize("is_persistent", [False, True] if HAS_PERSISTENT else [False])
COMPILE = """
import json, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from scanner.search import join_kernel as kernels

for capability, tile, is_persistent in json.loads(sys.argv[1]):
    rows, columns, numbers, stages, warps = tile
    constants = {"K": 512, "WIDEN": False, "GROUP": 8, "BLOCK_M": rows, "BLOCK_N": columns, "BLOCK_K": numbers}
    if is_persistent:
        kernel, constants = kernels.persistent_kernel, {**constants, "NUM_PROGRAMS": 132, "FLATTEN": True}
        sides = {"left": f"tensordesc<bf16[{rows}, {numbers}]>", "right": f"tensordesc<bf16[{columns}, {numbers}]>"}
    else:
        kernel, constants = kernels.grid_kernel, {**constants, "TRIANGLE": True}
        sides = {"left": "*bf16", "right": "*bf16"}
    others = {"keys": "*i64", "count": "*i64", "num_left": "i32", "num_right": "i32", "shift": "i32", "cut": "fp32",
              "capacity": "i32"}
    signature = {name: {**sides, **others}.get(name, "constexpr") for name in kernel.arg_names}
    pointers = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(kernel.arg_names) if signature[name].startswith("*")}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=pointers)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_stages": stages, "num_warps": warps})
    multiplies = {80: "mma.sync", 90: "wgmma.mma_async"}[capability]
    print(json.dumps({"shared": made.metadata.shared, "multiplies": multiplies in made.asm["ptx"]}))
"""


def rows(n, d, seed=0):
    """bf16 (n, d) unit rows, the last third near copies of the first."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    x[-(n // 3) :] = x[: n // 3] + 0.2 * rng.standard_normal((n // 3, d))
    return torch.from_numpy(unit_rows(x)).bfloat16().to(DEVICE)


def kept(left, right, cut, shift, capacity, is_persistent=False):
    """Keys as pairs, and the count."""
    keys = torch.full((capacity,), -1, dtype=torch.int64, device=DEVICE)
    count = torch.full((1,), 99, dtype=torch.int64, device=DEVICE)
    find_candidates(left, right, keys, count, cut=cut, shift=shift, is_persistent=is_persistent)
    written = keys[: min(int(count), capacity)].tolist()
    assert (keys[len(written) :] == -1).all()
    return [(key >> 32, key & 0xFFFFFFFF) for key in written], int(count)


def wanted(left, right, cut, shift):
    found = (left.float() @ right.float().T).cpu() >= cut
    if shift is not None:
        found &= torch.arange(len(left))[:, None] < torch.arange(len(right))[None, :] + shift
    return {(i, j) for i, j in found.nonzero().tolist()}


def test_the_kernels_run_where_the_tests_mean_them_to():
    assert join_kernel.is_interpreted() == (os.environ["TRITON_INTERPRET"] == "1")


@IS_PERSISTENT
@pytest.mark.parametrize(
    ("size", "left", "right", "shift"),
    [
        (203, (0, 90), (60, 203), None),  # ragged both ways
        (203, (0, 203), (0, 203), 0),  # the triangle
        (203, (40, 203), (10, 203), -30),  # columns that begin left of the diagonal
        (203, (10, 100), (75, 203), 65),  # and right of it
        (700, (0, 30), (0, 700), None),  # one row of tiles
        (700, (0, 700), (5, 6), None),
    ],
)
def test_it_keeps_what_is_above_the_cut(is_persistent, size, left, right, shift):
    x = rows(size, 2 * ALIGN)
    a, b = x[slice(*left)], x[slice(*right)]
    pairs, count = kept(a, b, 0.3, shift, 4096, is_persistent)
    assert len(pairs) == len(set(pairs)) == count
    assert set(pairs) == wanted(a, b, 0.3, shift)
    assert size > 300 or count > 10


@IS_PERSISTENT
def test_it_counts_past_the_capacity_and_writes_no_further(is_persistent):
    x = rows(150, ALIGN)
    truth = wanted(x, x, 0.3, None)
    pairs, count = kept(x, x, 0.3, None, 50, is_persistent)
    assert count == len(truth) > 50
    assert len(set(pairs)) == 50
    assert set(pairs) <= truth
    copies = torch.ones((130, ALIGN), dtype=torch.bfloat16, device=DEVICE)
    for shift in (0, -50):  # The second cuts tiles of 64 near their corners.
        pairs, _ = kept(copies, copies, 1.0, shift, 130 * 130, is_persistent)
        assert sorted(pairs) == [(i, j) for i in range(130) for j in range(i + 1 - shift, 130)]


def test_the_smallest_kept_product_equals_the_cut():
    x = torch.zeros((3, ALIGN), dtype=torch.bfloat16, device=DEVICE)
    x[0, 0], x[1, 0], x[2, 0] = 1, 0.5, 0.498046875
    assert kept(x[:1], x, 0.5, None, 8)[0] == [(0, 0), (0, 1)]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("d", [5, 128, 300])
def test_cosines_are_those_of_unit_rows(dtype, d):
    rng = np.random.default_rng(1)
    x, y = (10 * rng.standard_normal((40, d)).astype(dtype) for _ in range(2))
    x[3] = 0
    norms = [np.linalg.norm(side.astype(np.float32), axis=1) for side in (x, y)]
    i, j = rng.integers(0, 40, 90), rng.integers(0, 40, 90)
    i[0] = 3
    tensors = [torch.from_numpy(array).to(DEVICE) for array in ((i << 32) | j, x, y, *norms)]
    found = confirm(*tensors).cpu().numpy()
    assert found[0] == 0
    np.testing.assert_allclose(found, np.einsum("nd,nd->n", unit_rows(x)[i], unit_rows(y)[j]), atol=3e-7)
    assert len(confirm(tensors[0][:0], *tensors[1:])) == 0


def test_a_tile_of_each_kernel_compiles_and_fits_shared_memory(tmp_path):
    """In a process of its own, where kernels are compiled. Triton brings the assembler, so no GPU is needed."""
    wanted = [(80, join_kernel.TILES[0], False), (90, join_kernel.PERSISTENT_TILES[-1], True)]
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, json.dumps(wanted)],
        env={**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    made = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(made) == 2
    for kernel, shared in zip(made, (163, 227), strict=True):
        assert kernel["multiplies"]
        assert 0 < kernel["shared"] <= shared * 1024
