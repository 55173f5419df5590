import numpy as np
import pytest

from src.rnn.cache import CACHE_LINE, empty, zeros
from src.rnn.network import Buffers
from src.rnn.parameters import RNNConfig


@pytest.mark.parametrize("shape", [(1,), (3, 5), (7, 2, 33)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_an_array_begins_at_a_cache_line(shape: tuple[int, ...], dtype: type[np.inexact]) -> None:
    for made in (empty(shape, dtype), zeros(shape, dtype)):
        assert made.ctypes.data % CACHE_LINE == 0
        assert made.shape == shape
        assert made.dtype == dtype
        assert made.flags.c_contiguous
        assert made.flags.writeable
    assert not zeros(shape, dtype).any()


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_what_the_loops_write_begins_at_a_cache_line(cell: str) -> None:
    buffers = Buffers.allocate(RNNConfig(27, 128, cell), 4, 8, training=True)
    (cache,) = buffers.caches
    arrays = [
        buffers.z,
        buffers.dh,
        buffers.onehot,
        cache.blocks,
        cache.h,
        cache.c,
        cache.product,
        cache.embedding,
        cache.scratch,
        *cache.h,
        *cache.gates,
    ]
    assert {a.ctypes.data % CACHE_LINE for a in arrays if a.size} == {0}
