"""A batch split among processes compared with a single process, within the bounds of network_error.py."""

import gc
import multiprocessing as mp
import signal
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from src.common.errors import UserError
from src.rnn.network import Buffers, Ids, forward
from src.rnn.parameters import Array, RNNConfig, initialize, unflatten
from src.training import data_parallel
from src.training.data_parallel import DataParallel, _worker_loop, effective_workers
from src.training.shard import COMPUTE, Shard, ShardSpec, Shared
from tests.network_error import Bounds
from tests.rounding import UNIT, contractive

STEPS, BATCH = 6, 25  # odd, so the parts have different sizes
PLAIN = ShardSpec(RNNConfig(vocab=7, hidden=12), STEPS, BATCH)
DEEP = RNNConfig(vocab=7, hidden=12, cell="lstm", layers=2)


def batch(seed: int) -> tuple[Ids, Ids]:
    ids, targets = np.random.default_rng(seed).integers(7, size=(2, STEPS, BATCH))
    return ids, targets


def initial_params(job: ShardSpec) -> Array:
    drawn = initialize(job.architecture, "orthogonal", np.random.default_rng(0))
    return contractive(job.architecture, drawn, 0.3)


def assert_close(
    architecture: RNNConfig,
    weights: Array,
    seed: int,
    result: tuple[float, Array],
    expected: tuple[float, Array],
    state: Array | None = None,
    state_error: float = 0.0,
) -> float:
    """Compare two float32 results of loss and gradient; return the error bound of the last state."""
    bounds = Bounds.of(architecture, weights, *batch(seed), state, unit=UNIT, state_error=state_error)
    assert result[0] == pytest.approx(expected[0], rel=0, abs=2 * bounds.loss)
    difference, size = (float(np.linalg.norm(g)) for g in (result[1] - expected[1], expected[1]))
    assert difference <= 2 * bounds.gradient_norm <= 0.01 * size
    return bounds.state


def compute(
    engine: DataParallel, seed: int, reset_state: bool = True, dropout_seed: int = 0
) -> tuple[float, Array]:
    """Return the loss of a batch and a copy of its gradient."""
    loss = engine.loss_and_gradient(*batch(seed), reset_state, dropout_seed)
    return loss, engine.gradient.copy()


@contextmanager
def initialized(job: ShardSpec, workers: int) -> Iterator[DataParallel]:
    with DataParallel(job, workers) as engine:
        engine.params[:] = initial_params(job)
        yield engine


@pytest.mark.slow
def test_killed_worker_is_reported() -> None:
    raised = []

    def compute(engine: DataParallel) -> None:
        try:
            engine.loss_and_gradient(*batch(1))
        except UserError as error:
            raised.append(str(error))

    with DataParallel(PLAIN, 2) as engine:
        helper = engine.processes[0]
        helper.kill()
        helper.join()
        thread = threading.Thread(target=compute, args=(engine,), daemon=True)
        thread.start()
        thread.join(20)  # do not hang
        assert raised == [
            "workers: expected 2 processes that run to the end, got one that was killed by SIGKILL: out of "
            "memory? Try fewer workers, or a smaller hidden, batch_size or seq_len"
        ]


def test_worker_exit_is_internal_error() -> None:
    error = data_parallel.worker_error(1, 2, 1)
    assert isinstance(error, RuntimeError)
    assert str(error) == "worker process 1 of 2 ended with exit code 1"


@pytest.fixture
def own_settings() -> Iterator[None]:
    """Restore the process settings that a worker changes."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with np.errstate(), threadpool_limits(1, user_api="blas"):
        yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_settings")
def test_worker_ends_with_parent_and_ignores_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run `_worker_loop` in this process: two batches, then the parent is dead."""
    alive = iter([True, True, True, False])
    monkeypatch.setattr(mp, "parent_process", lambda: SimpleNamespace(is_alive=lambda: next(alive)))
    monkeypatch.setattr(data_parallel, "_acquire", lambda semaphore, spins: semaphore.acquire(False))
    context = mp.get_context("spawn")
    shared, alone = Shared(context, PLAIN, 2), Shared(context, PLAIN, 2)
    alone.view("params")[:] = initial_params(PLAIN)
    shared.view("params")[:] = initial_params(PLAIN)
    shared.view("ids")[:] = batch(1)
    shared.view("commands")[:] = 1, 0, COMPUTE
    go, done = context.Semaphore(2), context.Semaphore(0)
    _worker_loop(PLAIN, shared, 1, go, done, spins=0)
    assert next(alive, None) is None
    assert [done.acquire(False) for _ in range(4)] == [True, True, True, False]  # ready, and two batches
    own = Shard(PLAIN, alone, 1)
    assert shared.view("losses")[1] == own.execute(*batch(1), shared.view("commands"))
    assert shared.view("gradients")[1].tobytes() == alone.view("gradients")[1].tobytes()
    assert {signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} == {signal.SIG_IGN}


def test_processes_and_semaphores_end_with_context() -> None:
    """A traceback can hold the DataParallel; Python would report leaked semaphores."""
    with threadpool_limits(2, user_api="blas"), DataParallel(PLAIN, 2) as engine:
        # NumPy's BLAS is the first library loaded
        assert next(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas") == 1
        processes = list(engine.processes)
        assert all(process.is_alive() for process in processes)
        used = [weakref.ref(semaphore) for semaphore in (*engine.go, *engine.done)]
    assert not any(process.is_alive() for process in processes)
    gc.collect()
    assert [ref() for ref in used] == [None, None]
    assert engine.processes


@pytest.mark.parametrize(
    ("workers", "batch_size", "useful"),
    [(1, 64, 1), (2, 64, 2), (8, 64, 8), (9, 64, 8), (2, 16, 2), (2, 15, 1), (4, 7, 1), (3, 1, 1)],
)
def test_effective_workers(workers: int, batch_size: int, useful: int) -> None:
    assert effective_workers(workers, batch_size) == useful


@pytest.mark.parametrize(("cell", "workers"), [("rnn", 3), ("lstm", 2)])
def test_result_equals_single_process(cell: str, workers: int) -> None:
    """With fresh and carried states, and with changed weights; the caller may overwrite the gradient."""
    job = ShardSpec(RNNConfig(7, 12, cell, 2), STEPS, BATCH, stateful=True)
    with initialized(job, 1) as one, initialized(job, workers) as several:
        assert (len(one.processes), len(several.processes)) == (0, workers - 1)
        first = compute(several, 1)
        exact, state_error = Buffers.allocate(job.architecture, STEPS, BATCH, np.float64), 0.0
        for seed, fresh, scale in (
            (1, True, 1), (2, False, 1), (3, False, 1), (1, True, 1), (2, False, 1), (1, True, 0.5),
        ):  # fmt: skip
            one.params[:] = several.params[:] = np.float32(scale) * initial_params(job)
            several.gradient[:] = np.nan
            alone, shared = compute(one, seed, fresh), compute(several, seed, fresh)
            exact.reset() if fresh else exact.carry()
            state = np.stack([np.stack([c.h[0], *c.c[:1]]) for c in exact.caches])
            state_error = assert_close(
                job.architecture, one.params, seed, shared, alone, state, 0.0 if fresh else state_error
            )
            forward(unflatten(job.architecture, one.params.astype(np.float64)), batch(seed)[0], exact)
            if (seed, scale) == (1, 1):
                assert shared[0] == first[0]
                assert shared[1].tobytes() == first[1].tobytes()


@pytest.mark.parametrize("carry", [False, True])
def test_state_is_carried_only_if_stateful(carry: bool) -> None:
    """Compare two consecutive batches with one pass over both."""
    job = ShardSpec(DEEP, STEPS, BATCH, stateful=carry)
    buffers = Buffers.allocate(DEEP, STEPS, BATCH)
    with initialized(job, 1) as engine:
        compute(engine, 1, reset_state=True)
        carried_loss, _ = compute(engine, 2, reset_state=False)
        reset_loss, _ = compute(engine, 2, reset_state=True)
        p = unflatten(DEEP, engine.params)
        for seed in (1, 2):
            buffers.carry()
            ids, targets = batch(seed)
            log_p = forward(p, ids, buffers).astype(np.float64)
            log_p -= np.log(np.exp(log_p).sum(axis=0))
    expected = -log_p[targets.reshape(-1), np.arange(targets.size)].mean()
    assert (carried_loss != reset_loss) == carry
    if carry:
        both = np.concatenate([batch(seed)[0] for seed in (1, 2)])
        bound = 2 * Bounds.of(DEEP, initial_params(job), both, unit=UNIT).nats.max()  # two computations
        assert carried_loss == pytest.approx(expected, rel=0, abs=bound)


@pytest.mark.parametrize("workers", [1, 2])
def test_dropout_depends_on_step_seed(workers: int) -> None:
    job = ShardSpec(DEEP, STEPS, BATCH, dropout=0.5)
    drawn = []
    for seeds in ((5, 2**63 - 1, 5), (5,)):
        with initialized(job, workers) as engine:
            drawn += [compute(engine, 1, dropout_seed=seed) for seed in seeds]
    five, other, again, elsewhere = [(loss, gradient.tobytes()) for loss, gradient in drawn]
    assert five == again == elsewhere
    assert other[0] != five[0]


def test_workers_draw_different_masks() -> None:
    """Both halves of the batch are equal; equal masks would give equal gradients."""
    job = ShardSpec(DEEP, STEPS, 16, dropout=0.5)
    ids, targets = (np.concatenate((half[:, :8], half[:, :8]), axis=1) for half in batch(1))
    with initialized(job, 2) as engine:
        engine.loss_and_gradient(ids, targets, True, 3)
        both, second = engine.gradient.copy(), engine.gradients[1].copy()
    assert np.linalg.norm(both - 2 * second) > 0.01 * np.linalg.norm(both)


def test_dropout_has_no_effect_on_one_layer() -> None:
    losses = []
    for dropout in (0.0, 0.5):
        job = ShardSpec(PLAIN.architecture, STEPS, BATCH, dropout)
        with initialized(job, 1) as engine:
            losses.append(compute(engine, 1)[0])
    assert losses[0] == losses[1]
