import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.data.batches import Batches, ContiguousStreams, Ids, ShuffledWindows

few_examples = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])


def windows_over(
    count: int, seq_len: int, batch_size: int, stride: int = 1, seed: int = 0
) -> ShuffledWindows:
    """Return windows over the tokens 0, 1, 2, ...: a token is its position."""
    tokens = np.arange(count, dtype=np.uint16)
    return ShuffledWindows(tokens, seq_len, batch_size, stride, np.random.default_rng(seed))


def starts_of_epoch(windows: ShuffledWindows) -> list[int]:
    """Return the start positions of the windows of the next epoch."""
    return [int(start) for _ in range(windows.steps_per_epoch) for start in windows.next()[0][0]]


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Draw count, seq_len, batch_size and stride with room for at least one window."""
    seq_len = draw(st.integers(1, 12))
    count = draw(st.integers(seq_len + 1, 120))
    return count, seq_len, draw(st.integers(1, 20)), draw(st.integers(1, 15))


@few_examples
@given(sizes())
def test_window_targets_are_next_characters(drawn: tuple[int, int, int, int]) -> None:
    count, seq_len, batch_size, stride = drawn
    windows = windows_over(count, seq_len, batch_size, stride)
    for _ in range(3):
        ids, targets, _ = windows.next()
        assert ids.shape == targets.shape == (seq_len, windows.batch_size)
        assert (ids == ids[0] + np.arange(seq_len)[:, None]).all()
        assert (targets == ids + 1).all()
        assert targets.max() < count


@few_examples
@given(sizes())
def test_epoch_has_distinct_windows_and_omits_less_than_a_batch(drawn: tuple[int, int, int, int]) -> None:
    count, seq_len, batch_size, stride = drawn
    windows = windows_over(*drawn)
    possible = set(range(0, count - seq_len, stride))
    for _ in range(3):
        starts = starts_of_epoch(windows)
        assert len(set(starts)) == len(starts)
        assert set(starts) <= possible
        assert len(possible) - len(starts) < min(batch_size, len(possible))


@pytest.mark.parametrize("stride", [1, 3])
def test_epoch_has_each_window_once(stride: int) -> None:
    windows = windows_over(12 * stride + 7, 7, 4, stride)  # windows at 0, stride, ..., 11 stride
    assert windows.steps_per_epoch == 3
    for _ in range(2):
        assert sorted(starts_of_epoch(windows)) == [stride * k for k in range(12)]


def test_number_of_windows_with_stride_one() -> None:
    assert windows_over(30, 7, 1).count == 23


def test_epochs_have_different_orders() -> None:
    windows = windows_over(57, 7, 10)
    first, second = starts_of_epoch(windows), starts_of_epoch(windows)
    assert first != sorted(first)
    assert first != second
    assert sorted(first) == sorted(second)


def test_shuffled_batches_depend_on_seed() -> None:
    def draw(seed: int) -> object:
        windows = windows_over(60, 7, 10, seed=seed)
        return np.array([windows.next()[:2] for _ in range(12)]).tolist()

    assert draw(5) == draw(5)
    assert draw(5) != draw(6)


def test_batch_size_is_limited_by_windows() -> None:
    windows = windows_over(10, 7, 64)
    assert windows.batch_size == 3
    assert windows.steps_per_epoch == 1
    for _ in range(2):
        ids, _, _ = windows.next()
        assert sorted(ids[0].tolist()) == [0, 1, 2]


def test_text_of_one_window() -> None:
    ids, targets, _ = windows_over(8, 7, 4, stride=5).next()
    assert ids.ravel().tolist() == list(range(7))
    assert targets.ravel().tolist() == list(range(1, 8))


def test_byte_ids_do_not_overflow() -> None:
    tokens = np.full(20, 255, np.uint8)
    ids, targets, _ = ShuffledWindows(tokens, 4, 2, 1, np.random.default_rng(0)).next()
    assert ids.dtype == targets.dtype == np.intp
    assert (ids == 255).all()


def test_only_first_batch_of_windows_resets_state() -> None:
    windows = windows_over(60, 7, 10)
    assert [windows.next()[2] for _ in range(12)] == [True] + [False] * 11


def streams_over(count: int, seq_len: int, batch_size: int, seed: int = 0) -> ContiguousStreams:
    """Return streams over the tokens 0, 1, 2, ...: a token is its position."""
    return ContiguousStreams(
        np.arange(count, dtype=np.uint16), seq_len, batch_size, np.random.default_rng(seed)
    )


def epoch_of(streams: ContiguousStreams) -> list[tuple[Ids, Ids, bool]]:
    """Return the batches of the next epoch."""
    return [streams.next() for _ in range(streams.steps_per_epoch)]


@st.composite
def stream_sizes(draw: st.DrawFn) -> tuple[int, int, int]:
    """Draw count, seq_len and batch_size with room for at least one batch."""
    seq_len = draw(st.integers(1, 12))
    return draw(st.integers(seq_len + 1, 400)), seq_len, draw(st.integers(1, 20))


@few_examples
@given(stream_sizes(), st.integers(0, 5))
def test_streams_are_contiguous(drawn: tuple[int, int, int], seed: int) -> None:
    count, seq_len, _ = drawn
    streams = streams_over(*drawn, seed)
    for _ in range(3):
        before = None
        for ids, targets, resets in epoch_of(streams):
            assert ids.shape == targets.shape == (seq_len, streams.batch_size)
            assert ids.dtype == targets.dtype == np.intp
            assert (ids == ids[0] + np.arange(seq_len)[:, None]).all()
            assert (targets == ids + 1).all()
            assert targets.max() < count
            assert resets == (before is None)
            if before is not None:
                assert (ids[0] == before).all()
            before = targets[-1]


@few_examples
@given(stream_sizes(), st.integers(0, 5))
def test_epoch_of_streams_has_distinct_characters(drawn: tuple[int, int, int], seed: int) -> None:
    streams = streams_over(*drawn, seed)
    for _ in range(3):
        read = np.concatenate([ids.ravel() for ids, _, _ in epoch_of(streams)])
        assert np.unique(read).size == read.size


@few_examples
@given(stream_sizes())
def test_epoch_of_streams_omits_less_than_a_batch(drawn: tuple[int, int, int]) -> None:
    count, seq_len, _ = drawn
    streams = streams_over(*drawn)
    read = streams.steps_per_epoch * seq_len * streams.batch_size
    left_out = count - 1 - read
    assert 0 <= left_out < seq_len * streams.batch_size + seq_len + streams.batch_size


def test_epochs_of_streams_start_at_every_shift() -> None:
    streams = streams_over(500, 7, 4)
    firsts = [int(epoch_of(streams)[0][0][0, 0]) for _ in range(200)]
    assert set(firsts) == set(range(7))


@pytest.mark.parametrize("spare", [0, 1, 5, 6, 7, 20])
def test_shift_of_streams_is_limited_by_text(spare: int) -> None:
    """The text has 4 streams of one batch, the last target and `spare` more characters."""
    streams = streams_over(4 * 7 + 1 + spare, 7, 4)
    firsts = {int(epoch_of(streams)[0][0][0, 0]) for _ in range(200)}
    assert firsts == set(range(min(spare, 6) + 1))


@pytest.mark.parametrize(("count", "expected"), [(8, 1), (14, 1), (15, 2), (28, 3), (29, 4), (1000, 4)])
def test_short_text_has_fewer_streams(count: int, expected: int) -> None:
    assert streams_over(count, 7, 4).batch_size == expected


def test_streams_depend_on_seed() -> None:
    def draw(seed: int) -> object:
        streams = streams_over(200, 7, 4, seed)
        return np.array([epoch[0][:2] for epoch in (epoch_of(streams) for _ in range(12))]).tolist()

    assert draw(5) == draw(5)
    assert draw(5) != draw(6)


def make(
    kind: type[ShuffledWindows] | type[ContiguousStreams],
    count: int,
    seq_len: int,
    batch_size: int,
    rng: np.random.Generator,
) -> Batches:
    tokens = np.arange(count, dtype=np.uint16)
    if kind is ContiguousStreams:
        return ContiguousStreams(tokens, seq_len, batch_size, rng)
    return ShuffledWindows(tokens, seq_len, batch_size, 2, rng)


def test_state_holds_position_in_epoch() -> None:
    windows, streams = windows_over(60, 7, 10), streams_over(200, 7, 4)
    assert windows.state() == {"keys": [], "position": 0}
    assert streams.state() == {"shift": 0, "position": streams.steps_per_epoch}  # as after an epoch
    for supply, per_batch in ((windows, 10), (streams, 1)):
        for _ in range(2):
            for k in range(supply.steps_per_epoch):
                ids = supply.next()[0]
                assert supply.state()["position"] == per_batch * (k + 1)
                assert supply is windows or k or ids[0, 0] == supply.state()["shift"]


def draw_batches(batches: Batches, count: int) -> object:
    return [[part.tolist() for part in batches.next()[:2]] for _ in range(count)]


@few_examples
@given(st.sampled_from([ShuffledWindows, ContiguousStreams]), stream_sizes(), st.integers(0, 40))
def test_restored_batches_continue_identically(
    kind: type[ShuffledWindows] | type[ContiguousStreams], drawn: tuple[int, int, int], taken: int
) -> None:
    rng = np.random.default_rng(3)
    batches = make(kind, *drawn, rng)
    for _ in range(taken):
        batches.next()
    state, generator = json.loads(json.dumps(batches.state())), rng.bit_generator.state
    num_batches = 2 * batches.steps_per_epoch + 1
    resets = [batches.next()[2] for _ in range(num_batches)]
    rng.bit_generator.state = generator
    batches.restore(state)  # the same object, reset
    expected = draw_batches(batches, num_batches)

    other = np.random.default_rng(99)
    again = make(kind, *drawn, other)
    other.bit_generator.state = generator
    again.restore(state)
    assert draw_batches(again, num_batches) == expected
    other.bit_generator.state = generator
    again.restore(state)
    assert [again.next()[2] for _ in range(num_batches)] == resets


def test_restored_windows_continue_within_block() -> None:
    """With batches of one window, a block has 4,096 windows."""
    rng = np.random.default_rng(3)
    batches = make(ShuffledWindows, 20_000, 5, 1, rng)
    for _ in range(5000):
        batches.next()
    state, expected = batches.state(), draw_batches(batches, 20)
    again = make(ShuffledWindows, 20_000, 5, 1, np.random.default_rng(3))
    again.restore(state)
    assert draw_batches(again, 20) == expected


@pytest.mark.parametrize("batch_size", [1, 64, 5000, 9000])
def test_order_does_not_depend_on_block_size(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def first_epoch() -> Ids:
        windows = windows_over(9007, 7, batch_size)
        return np.concatenate([windows.next()[0][0] for _ in range(windows.steps_per_epoch)])

    expected = first_epoch()
    monkeypatch.setattr("src.data.batches.BLOCK", 600)
    assert (first_epoch() == expected).all()


def test_memory_does_not_grow_with_number_of_windows() -> None:
    tokens = np.broadcast_to(np.uint8(1), (10**9 + 20,))
    tracemalloc.start()
    windows = ShuffledWindows(tokens, 20, 64, 1, np.random.default_rng(0))
    assert windows.steps_per_epoch == 10**9 // 64
    for _ in range(200):
        windows.next()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000
