"""Triton kernels of the threshold join: a product whose epilogue keeps the pairs above a cut, and their cosines in fp32.

The matrix of similarities never leaves the registers. A tile of it is looked at where it was computed: where its largest entry is
below the cut, and that is nearly everywhere, nothing is written at all. Else 16 columns become a word of bits, one prefix sum
over the words and one atomic addition give each its places, and the pairs are written bit by bit. (A prefix sum over the entries
would need 256 KiB of shared memory for a tile of 128 x 256, more than a multiprocessor has.)

Importing this module imports triton; ``gpu_join`` does so when a join is set up. Under ``TRITON_INTERPRET=1``, set before triton
is first imported, the kernels run on the CPU, slowly: that is how they are tested without a GPU.
"""

# Triton reads the annotations of kernels, which must not be strings: no ``from __future__ import annotations`` here.
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from typing import TYPE_CHECKING, Any

import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

if TYPE_CHECKING:
    import torch

ALIGN = 64
"""Rows are padded with zeros to a multiple of so many numbers: no tile has a ragged end in k, and rows start on 128 bytes."""
GROUP = 8
"""Rows of tiles that are walked together, column by column, so that what they read stays in the L2 cache."""
TUNED_FROM = 2**26
"""Pairs of a launch from which the fastest tile is looked for (some seconds, once a process and width); below, any will do."""
TILES = (
    (128, 256, 64, 3, 8), (128, 256, 64, 4, 8), (256, 128, 64, 3, 8), (128, 128, 64, 3, 4),
    (128, 128, 64, 4, 4), (128, 128, 32, 4, 4), (128, 128, 64, 3, 8), (64, 256, 32, 4, 4),
)  # fmt: skip
PERSISTENT_TILES = ((128, 256, 64, 3, 8), (128, 256, 64, 4, 8), (256, 128, 64, 4, 8), (128, 128, 64, 4, 8))
"""Rows, columns, numbers of k, stages of the pipeline, warps: candidates for Hopper (227 KiB of shared memory a block) and Ampere
(163 KiB). One that does not fit counts as infinitely slow."""
SMALL_TILE = (64, 64, 32, 2, 4)
INTERPRETED_TILE = (64, 64, 64, 1, 1)
CONFIRM_PAIRS, CONFIRM_NUMBERS = 32, 128


@triton.jit
def _tile_of(program, tiles_m, tiles_n, GROUP: tl.constexpr):  # noqa: N803
    in_group = GROUP * tiles_n
    first = (program // in_group) * GROUP
    height = tl.minimum(tiles_m - first, GROUP)
    return first + (program % in_group) % height, (program % in_group) // height


@triton.jit
def _keep_candidates(
    products, start_m, start_n, num_left, num_right, shift, cut, capacity, keys, count,
    TRIANGLE: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, UNROLL: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """Writes (i << 32 | j) of the entries of one tile that are at least ``cut``, and adds their number to ``count``."""
    if tl.max(products) >= cut:
        i = start_m + tl.arange(0, BLOCK_M)
        j = start_n + tl.arange(0, BLOCK_N)
        is_candidate = (products >= cut) & (i < num_left)[:, None] & (j < num_right)[None, :]
        if TRIANGLE:
            is_candidate = is_candidate & (i[:, None] < j[None, :] + shift)
        WORDS: tl.constexpr = BLOCK_N // 16  # noqa: N806
        bits = tl.reshape(is_candidate.to(tl.int32), (BLOCK_M, WORDS, 16))
        words = tl.reshape(tl.sum(bits << tl.arange(0, 16)[None, None, :], axis=2), (BLOCK_M * WORDS,))
        # The number of ones of a word of 16 bits, by adding neighbours: the interpreter has no such instruction.
        ones = words - ((words >> 1) & 0x5555)
        ones = (ones & 0x3333) + ((ones >> 2) & 0x3333)
        ones = (ones + (ones >> 4)) & 0x0F0F
        ones = (ones + (ones >> 8)) & 0x1F
        # Counts on past the capacity, so that the caller learns how many there are.
        first = tl.atomic_add(count, tl.sum(ones, axis=0).to(tl.int64), sem="relaxed")
        place = first + (tl.cumsum(ones, axis=0) - ones)
        word = tl.arange(0, BLOCK_M * WORDS)
        key = ((start_m + word // WORDS).to(tl.int64) << 32) | (start_n + (word % WORDS) * 16).to(tl.int64)
        if UNROLL:
            for bit in tl.static_range(16):
                is_set = ((words >> bit) & 1) != 0
                tl.store(keys + place, key + bit, mask=is_set & (place < capacity))
                place += is_set.to(tl.int64)
        else:
            for bit in range(16):
                is_set = ((words >> bit) & 1) != 0
                tl.store(keys + place, key + bit, mask=is_set & (place < capacity))
                place += is_set.to(tl.int64)


@triton.jit(do_not_specialize=["num_left", "num_right", "shift", "capacity"])
def grid_kernel(
    left, right, keys, count, num_left, num_right, shift, cut, capacity,
    K: tl.constexpr, TRIANGLE: tl.constexpr, WIDEN: tl.constexpr, GROUP: tl.constexpr,  # noqa: N803
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """A program a tile, rows fetched by pointers: any GPU that multiplies bf16."""
    tile_m, tile_n = _tile_of(tl.program_id(0), tl.cdiv(num_left, BLOCK_M), tl.cdiv(num_right, BLOCK_N), GROUP)
    start_m = tile_m * BLOCK_M
    start_n = tile_n * BLOCK_N
    if TRIANGLE and start_n + BLOCK_N - 1 + shift <= start_m:
        return
    # Past the end the last row is read again: no masks in the loop, and the epilogue drops what comes of it.
    rows = tl.minimum(start_m + tl.arange(0, BLOCK_M), num_left - 1).to(tl.int64)
    columns = tl.minimum(start_n + tl.arange(0, BLOCK_N), num_right - 1).to(tl.int64)
    numbers = tl.arange(0, BLOCK_K)
    left_at = left + rows[:, None] * K + numbers[None, :]
    right_at = right + columns[None, :] * K + numbers[:, None]
    products = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for k in range(0, K, BLOCK_K):
        a = tl.load(left_at + k)
        b = tl.load(right_at + k)
        if WIDEN:
            a = a.to(tl.float32)
            b = b.to(tl.float32)
        products = tl.dot(a, b, products)
    _keep_candidates(
        products, start_m, start_n, num_left, num_right, shift, cut, capacity, keys, count, TRIANGLE, BLOCK_M, BLOCK_N, False
    )


@triton.jit(do_not_specialize=["num_left", "num_right", "capacity"])
def persistent_kernel(
    left, right, keys, count, num_left, num_right, cut, capacity,
    K: tl.constexpr, WIDEN: tl.constexpr, GROUP: tl.constexpr, NUM_PROGRAMS: tl.constexpr, FLATTEN: tl.constexpr,  # noqa: N803
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """A program a multiprocessor, rows fetched by the tensor memory accelerator (zeros past the end): Hopper and later.

    With ``FLATTEN`` the next tile's rows are on their way while this one's epilogue runs.
    """
    tiles_m = tl.cdiv(num_left, BLOCK_M)
    tiles_n = tl.cdiv(num_right, BLOCK_N)
    for program in tl.range(tl.program_id(0), tiles_m * tiles_n, NUM_PROGRAMS, flatten=FLATTEN):
        tile_m, tile_n = _tile_of(program, tiles_m, tiles_n, GROUP)
        start_m = tile_m * BLOCK_M
        start_n = tile_n * BLOCK_N
        products = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        for k in range(0, K, BLOCK_K):
            a = left.load([start_m, k])
            b = right.load([start_n, k])
            if WIDEN:
                a = a.to(tl.float32)
                b = b.to(tl.float32)
            products = tl.dot(a, b.T, products)
        _keep_candidates(
            products, start_m, start_n, num_left, num_right, 0, cut, capacity, keys, count, False, BLOCK_M, BLOCK_N, FLATTEN
        )


@triton.jit(do_not_specialize=["num_keys"])
def confirm_kernel(
    keys, left, right, left_norms, right_norms, similarity, num_keys,
    D: tl.constexpr, PAIRS: tl.constexpr, NUMBERS: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """Cosines of the pairs ``keys`` from rows as they were given, in fp32; no matrix unit, so TF32 cannot come in."""
    place = tl.program_id(0).to(tl.int64) * PAIRS + tl.arange(0, PAIRS)
    is_pair = place < num_keys
    key = tl.load(keys + place, mask=is_pair, other=0)
    i = key >> 32
    j = key & 0xFFFFFFFF
    left_norm = tl.load(left_norms + i, mask=is_pair, other=0.0)
    right_norm = tl.load(right_norms + j, mask=is_pair, other=0.0)
    # Rows without direction have norm 0 here: they count as zeros, as in ``unit_rows``.
    is_usable = is_pair & (left_norm > 0) & (right_norm > 0)
    left_norm = tl.where(is_usable, left_norm, 1.0)[:, None]
    right_norm = tl.where(is_usable, right_norm, 1.0)[:, None]
    sums = tl.zeros((PAIRS, NUMBERS), tl.float32)
    for start in range(0, D, NUMBERS):
        number = start + tl.arange(0, NUMBERS)[None, :]
        mask = is_usable[:, None] & (number < D)
        a = tl.load(left + i[:, None] * D + number, mask=mask, other=0.0).to(tl.float32)
        b = tl.load(right + j[:, None] * D + number, mask=mask, other=0.0).to(tl.float32)
        sums += tl.div_rn(a, left_norm) * tl.div_rn(b, right_norm)
    tl.store(similarity + place, tl.sum(sums, axis=1), mask=is_pair)


def is_interpreted() -> bool:
    """Whether the kernels were made for Triton's interpreter, which runs on the CPU."""
    return not isinstance(grid_kernel, triton.runtime.JITFunction)


def _set_blocks(arguments: dict[str, Any]) -> None:
    for side, rows in (("left", "BLOCK_M"), ("right", "BLOCK_N")):
        arguments[side].block_shape = [arguments[rows], arguments["BLOCK_K"]]


def _config(tile: tuple[int, int, int, int, int], pre_hook: Any = None, **options: bool) -> Any:
    rows, columns, numbers, stages, warps = tile
    blocks = {"BLOCK_M": rows, "BLOCK_N": columns, "BLOCK_K": numbers, **options}
    return triton.Config(blocks, num_stages=stages, num_warps=warps, pre_hook=pre_hook)


_tuned_grid = triton.autotune([_config(tile) for tile in TILES], key=["K"], reset_to_zero=["count"])(grid_kernel)
_tuned_persistent = triton.autotune(
    [_config(tile, _set_blocks, FLATTEN=flatten) for tile in PERSISTENT_TILES for flatten in (False, True)],
    key=["K"],
    reset_to_zero=["count"],
)(persistent_kernel)


def find_candidates(
    left: "torch.Tensor", right: "torch.Tensor", keys: "torch.Tensor", count: "torch.Tensor", *, cut: float,
    shift: int | None = None, is_persistent: bool = False,
) -> None:  # fmt: skip
    """Launches the product of two blocks; returns at once.

    Args:
        left: bf16 (m, k), contiguous, k a multiple of ``ALIGN``.
        right: bf16 (n, k), likewise.
        keys: int64 (capacity,), receives ``i << 32 | j`` of products at or above ``cut``, in no order.
        count: int64 (1,), set to the number of candidates, also of those past the capacity, which are not written.
        cut: a number that float32 holds.
        shift: where both blocks are of one set, the first row of ``right`` less that of ``left``: only i < j + shift is kept.
        is_persistent: use the kernel for Hopper and later; with a shift the other one is used all the same.
    """
    import torch

    m, k = left.shape
    n = right.shape[0]
    assert k == right.shape[1]
    assert k % ALIGN == 0
    assert m * n > 0
    count.zero_()
    interpreted = is_interpreted()
    is_large = m * n >= TUNED_FROM and not interpreted
    rows, columns, numbers, stages, warps = tile = INTERPRETED_TILE if interpreted else SMALL_TILE
    blocks: dict[str, Any] = {} if is_large else {"BLOCK_M": rows, "BLOCK_N": columns, "BLOCK_K": numbers}
    options: dict[str, Any] = {} if is_large or interpreted else {"num_stages": stages, "num_warps": warps}
    common = {"K": k, "WIDEN": interpreted, "GROUP": GROUP, **blocks, **options}

    def tiles(chosen: dict[str, Any]) -> int:
        return int(triton.cdiv(m, chosen["BLOCK_M"]) * triton.cdiv(n, chosen["BLOCK_N"]))

    if is_persistent and shift is None:
        num_programs = 2 if interpreted else torch.cuda.get_device_properties(left.device).multi_processor_count
        descriptors = [TensorDescriptor.from_tensor(side, [size, tile[2]]) for side, size in ((left, rows), (right, columns))]
        kernel = _tuned_persistent if is_large else persistent_kernel
        flatten = {} if is_large else {"FLATTEN": False}
        kernel[lambda chosen: (min(num_programs, tiles(chosen)),)](
            *descriptors, keys, count, m, n, cut, len(keys), NUM_PROGRAMS=num_programs, **flatten, **common
        )
        return
    kernel = _tuned_grid if is_large else grid_kernel
    kernel[lambda chosen: (tiles(chosen),)](
        left, right, keys, count, m, n, shift or 0, cut, len(keys), TRIANGLE=shift is not None, **common
    )


def confirm(
    keys: "torch.Tensor", left: "torch.Tensor", right: "torch.Tensor", left_norms: "torch.Tensor", right_norms: "torch.Tensor"
) -> "torch.Tensor":
    """float32 (len(keys),): cosines of rows of ``left`` (m, d) and ``right`` (n, d), f16 or f32, whose norms are given in fp32.

    A norm of 0 makes its row one of zeros.
    """
    import torch

    similarity = torch.empty(len(keys), dtype=torch.float32, device=keys.device)
    if len(keys):
        pairs = 1024 if is_interpreted() else CONFIRM_PAIRS
        confirm_kernel[(triton.cdiv(len(keys), pairs),)](
            keys,
            left,
            right,
            left_norms,
            right_norms,
            similarity,
            len(keys),
            D=left.shape[1],
            PAIRS=pairs,
            NUMBERS=CONFIRM_NUMBERS,
        )
    return similarity
