import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.data.batches import Batches, ContiguousStreams, Ids, ShuffledWindows

few_examples = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def windows_over(
    count: int, seq_len: int, batch_size: int, stride: int = 1, seed: int = 0
) -> ShuffledWindows:
    """Return windows over the tokens 0, 1, 2, ...: a token is its position."""
    tokens = np.arange(count, dtype=np.uint16)
    return ShuffledWindows(tokens, seq_len, batch_size, stride, np.random.default_rng(seed))


def streams_over(count: int, seq_len: int, batch_size: int, seed: int = 0) -> ContiguousStreams:
    """Return streams over the tokens 0, 1, 2, ...: a token is its position."""
    tokens = np.arange(count, dtype=np.uint16)
    return ContiguousStreams(tokens, seq_len, batch_size, np.random.default_rng(seed))


def epoch_of(batches: Batches) -> list[tuple[Ids, Ids, bool]]:
    """Return the batches of the next epoch."""
    return [batches.next() for _ in range(batches.steps_per_epoch)]


def starts_of_epoch(windows: ShuffledWindows) -> list[int]:
    """Return the start positions of the windows of the next epoch."""
    return [int(start) for ids, _, _ in epoch_of(windows) for start in ids[0]]


def make(kind: type[Batches], size: tuple[int, int, int], rng: np.random.Generator) -> Batches:
    """Return batches over count tokens, of seq_len and batch_size."""
    count, seq_len, batch_size = size
    tokens = np.arange(count, dtype=np.uint16)
    if kind is ContiguousStreams:
        return ContiguousStreams(tokens, seq_len, batch_size, rng)
    return ShuffledWindows(tokens, seq_len, batch_size, 2, rng)


def draw_batches(batches: Batches, count: int) -> list[tuple[object, object, bool]]:
    drawn = [batches.next() for _ in range(count)]
    return [(ids.tolist(), targets.tolist(), resets) for ids, targets, resets in drawn]


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int, int]:
    """Draw count, seq_len and batch_size with room for at least one batch."""
    seq_len = draw(st.integers(1, 12))
    return draw(st.integers(seq_len + 1, 300)), seq_len, draw(st.integers(1, 20))


def assert_targets_are_next(batches: Batches, ids: Ids, targets: Ids, count: int, seq_len: int) -> None:
    assert ids.shape == targets.shape == (seq_len, batches.batch_size)
    assert ids.dtype == targets.dtype == np.intp
    assert (ids == ids[0] + np.arange(seq_len)[:, None]).all()
    assert (targets == ids + 1).all()
    assert targets.max() < count


@few_examples
@given(sizes(), st.integers(1, 15))
def test_epoch_has_distinct_windows_and_omits_less_than_a_batch(
    drawn: tuple[int, int, int], stride: int
) -> None:
    count, seq_len, batch_size = drawn
    windows = windows_over(*drawn, stride)
    possible = set(range(0, count - seq_len, stride))
    for _ in range(3):
        batches = epoch_of(windows)
        for ids, targets, _ in batches:
            assert_targets_are_next(windows, ids, targets, count, seq_len)
        starts = [int(start) for ids, _, _ in batches for start in ids[0]]
        assert len(set(starts)) == len(starts)
        assert set(starts) <= possible
        assert len(possible) - len(starts) < min(batch_size, len(possible))


@pytest.mark.parametrize("stride", [1, 3])
def test_epochs_have_each_window_in_different_orders(stride: int) -> None:
    windows = windows_over(12 * stride + 7, 7, 4, stride)  # windows at 0, stride, ..., 11 stride
    assert (windows.steps_per_epoch, windows.count) == (3, 12)
    first, second = starts_of_epoch(windows), starts_of_epoch(windows)
    assert first != sorted(first)
    assert first != second
    assert sorted(first) == sorted(second) == [stride * k for k in range(12)]


@pytest.mark.parametrize("kind", [ShuffledWindows, ContiguousStreams])
def test_batches_depend_on_seed(kind: type[Batches]) -> None:
    rngs = [np.random.default_rng(seed) for seed in (5, 5, 6)]
    first, same, other = (draw_batches(make(kind, (200, 7, 4), rng), 40) for rng in rngs)
    assert first == same
    assert first != other


def test_batch_size_is_limited_by_windows() -> None:
    windows = windows_over(10, 7, 64)
    assert (windows.batch_size, windows.steps_per_epoch) == (3, 1)
    for _ in range(2):
        assert sorted(starts_of_epoch(windows)) == [0, 1, 2]
    ids, targets, _ = windows_over(8, 7, 4, stride=5).next()  # a text of one window
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


@few_examples
@given(sizes(), st.integers(0, 5))
def test_streams_are_contiguous(drawn: tuple[int, int, int], seed: int) -> None:
    """An epoch has distinct characters and omits less than a batch."""
    count, seq_len, _ = drawn
    streams = streams_over(*drawn, seed)
    for _ in range(3):
        before, read = None, []
        for ids, targets, resets in epoch_of(streams):
            assert_targets_are_next(streams, ids, targets, count, seq_len)
            assert resets == (before is None)
            assert before is None or (ids[0] == before).all()
            before = targets[-1]
            read += ids.ravel().tolist()
        assert len(set(read)) == len(read)
        left_out = count - 1 - len(read)
        assert 0 <= left_out < seq_len * streams.batch_size + seq_len + streams.batch_size


@pytest.mark.parametrize("spare", [0, 1, 5, 6, 7, 20, 471])
def test_shift_of_streams_is_limited_by_text(spare: int) -> None:
    """The text has 4 streams of one batch, the last target and `spare` more characters."""
    streams = streams_over(4 * 7 + 1 + spare, 7, 4)
    firsts = {int(epoch_of(streams)[0][0][0, 0]) for _ in range(200)}
    assert firsts == set(range(min(spare, 6) + 1))


@pytest.mark.parametrize(("count", "expected"), [(8, 1), (14, 1), (15, 2), (28, 3), (29, 4), (1000, 4)])
def test_short_text_has_fewer_streams(count: int, expected: int) -> None:
    assert streams_over(count, 7, 4).batch_size == expected


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


@few_examples
@given(st.sampled_from([ShuffledWindows, ContiguousStreams]), sizes(), st.integers(0, 40))
def test_restored_batches_continue_identically(
    kind: type[Batches], drawn: tuple[int, int, int], taken: int
) -> None:
    rng, other = np.random.default_rng(3), np.random.default_rng(99)
    batches, again = make(kind, drawn, rng), make(kind, drawn, other)
    for _ in range(taken):
        batches.next()
    state, generator = json.loads(json.dumps(batches.state())), rng.bit_generator.state
    expected = draw_batches(batches, batches.steps_per_epoch + 1)
    for restored, generated in ((batches, rng), (again, other), (again, other)):  # also the same object
        generated.bit_generator.state = generator
        restored.restore(state)
        assert draw_batches(restored, batches.steps_per_epoch + 1) == expected


def test_restored_windows_continue_within_block() -> None:
    """With batches of one window, a block has 4,096 windows."""
    batches, again = (make(ShuffledWindows, (20_000, 5, 1), np.random.default_rng(3)) for _ in range(2))
    for _ in range(5000):
        batches.next()
    again.restore(batches.state())
    assert draw_batches(again, 20) == draw_batches(batches, 20)


@pytest.mark.parametrize("batch_size", [1, 64, 5000, 9000])
def test_order_does_not_depend_on_block_size(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = starts_of_epoch(windows_over(9007, 7, batch_size))
    monkeypatch.setattr("src.data.batches.BLOCK", 600)
    assert starts_of_epoch(windows_over(9007, 7, batch_size)) == expected


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
