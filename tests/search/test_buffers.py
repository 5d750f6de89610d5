"""Memory that is used again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from scanner.search.buffers import Buffer, ThreadBuffers
from scanner.search.threshold import unit_rows, widened


def test_an_array_lies_where_the_last_one_lay():
    buffer = Buffer()
    first = buffer.array(30, 20)
    first[...] = 7
    second = buffer.array(5, 3)
    assert second.dtype == np.float32
    assert (second == 7).all()
    assert np.shares_memory(first, second)
    assert not np.shares_memory(first, buffer.array(31, 20)), "what is too small is left to who holds it"
    assert (first == 7).all()


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (4,), ()])
def test_any_shape(shape):
    assert Buffer().array(*shape, dtype=np.bool_).shape == shape


def test_threads_share_nothing():
    buffers = ThreadBuffers()
    mine = buffers["rows"].array(8)
    assert np.shares_memory(mine, buffers["rows"].array(8))
    assert not np.shares_memory(mine, buffers["others"].array(8))
    with ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(lambda: buffers["rows"].array(8)).result()
    assert not np.shares_memory(mine, theirs)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("convert", [widened, unit_rows])
@pytest.mark.parametrize("layout", ["plain", "read-only", "strided"])
def test_rows_are_converted_into_a_buffer(dtype, convert, layout):
    x = np.random.default_rng(0).standard_normal((6, 8)).astype(dtype)
    x[2] = 0
    given = x
    if layout == "read-only":
        given = x.copy()
        given.flags.writeable = False
    elif layout == "strided":
        given = np.repeat(x, 2, axis=0)[::2]
    out = Buffer().array(6, 8)
    found = convert(given, out)
    assert found is out
    np.testing.assert_array_equal(found, convert(x))
    assert not np.shares_memory(convert(given), given)
