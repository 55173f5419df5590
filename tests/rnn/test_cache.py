"""The activation cache of a layer, and the alignment of arrays."""

import numpy as np
import pytest

from src.rnn.cache import CACHE_LINE, LayerCache, empty, zeros
from src.rnn.network import Buffers
from src.rnn.parameters import Array, RNNConfig


@pytest.mark.parametrize(("cell", "gates", "cells"), [("rnn", 1, 0), ("gru", 3, 0), ("lstm", 4, 8)])
def test_layer_cache_shapes(cell: str, gates: int, cells: int) -> None:
    cache = LayerCache.allocate(RNNConfig(6, 5, cell), 7, 3)
    arrays = (cache.blocks, cache.gates, cache.extra, cache.h, cache.c, cache.product, cache.embedding)
    assert [array.shape for array in arrays] == [
        (gates + 1, 7, 3, 5),
        (gates, 7, 3, 5),
        (7, 3, 5),
        (8, 3, 5),
        (cells, 3, 5),
        (gates, 3, 5),
        (gates, 3, 5),
    ]
    assert {array.dtype for array in (*arrays, cache.scratch)} == {np.dtype(np.float32)}
    assert not cache.h.any()  # the initial state is zero
    assert not cache.c.any()
    cache.blocks[...] = 0
    cache.extra[...] = 1
    assert not cache.gates.any()


def test_views_are_cached_per_function_and_array() -> None:
    cache = LayerCache.allocate(RNNConfig(6, 5), 7, 3)
    calls: list[Array] = []

    def rows(of_cache: LayerCache, of: Array) -> list[Array]:
        assert of_cache is cache
        calls.append(of)
        return list(of)

    def size(of_cache: LayerCache, of: Array) -> int:
        return of.size

    first, second = np.zeros((2, 3)), np.zeros((2, 3))
    views = cache.cached_views(rows, first)
    assert cache.cached_views(size, first) == 6
    assert cache.cached_views(rows, first) is views
    assert [view.base is first for view in views] == [True, True]
    assert [view.base is second for view in cache.cached_views(rows, second)] == [True, True]
    assert [id(array) for array in calls] == [id(first), id(second)]


@pytest.mark.parametrize("shape", [(1,), (3, 5), (7, 2, 33)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_arrays_are_cache_line_aligned(shape: tuple[int, ...], dtype: type[np.inexact]) -> None:
    for made in (empty(shape, dtype), zeros(shape, dtype)):
        assert made.ctypes.data % CACHE_LINE == 0
        assert made.shape == shape
        assert made.dtype == dtype
        assert made.flags.c_contiguous
        assert made.flags.writeable
    assert not zeros(shape, dtype).any()


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_buffers_are_cache_line_aligned(cell: str) -> None:
    buffers = Buffers.allocate(RNNConfig(27, 128, cell), 4, 8, training=True)
    (cache,) = buffers.caches
    of_steps = [*cache.h, *cache.gates, cache.product, cache.embedding, cache.scratch]
    arrays = [buffers.z, buffers.dh, buffers.onehot, cache.blocks, cache.c, *of_steps]
    assert {a.ctypes.data % CACHE_LINE for a in arrays if a.size} == {0}
