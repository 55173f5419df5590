"""One batch shared out among processes against the same batch in one."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from src.lab.parallel import Engine, useful_workers
from src.rnn.parameters import Architecture, initialise

ARCHITECTURE = Architecture(vocab=7, hidden=12)
STEPS, BATCH = 6, 25  # an odd batch: the parts are of different sizes
FLAT = initialise(ARCHITECTURE, "orthogonal", np.random.default_rng(0))


def batch(seed):
    ids, targets = np.random.default_rng(seed).integers(7, size=(2, STEPS, BATCH))
    return ids, targets


def computed(engine, seed):
    """Loss and gradient of a batch, the gradient as a copy."""
    loss = engine.loss_and_gradient(*batch(seed))
    return loss, engine.gradient.copy()


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.fixture(scope="module")
def alone():
    with Engine(ARCHITECTURE, STEPS, BATCH, 1) as engine:
        engine.weights[:] = FLAT
        yield engine


@pytest.fixture(scope="module", params=[2, 3])
def shared(request):
    with Engine(ARCHITECTURE, STEPS, BATCH, request.param) as engine:
        assert len(engine.processes) == request.param - 1
        engine.weights[:] = FLAT
        yield engine


def test_loss_and_gradient_are_those_of_one_process(alone, shared):
    for seed in (1, 2):
        loss, gradient = computed(alone, seed)
        shared_loss, shared_gradient = computed(shared, seed)
        assert shared_loss == pytest.approx(loss, rel=1e-6)
        assert np.linalg.norm(shared_gradient - gradient) <= 1e-6 * np.linalg.norm(gradient)


def test_same_batch_gives_the_same_bits_again(shared):
    loss, gradient = computed(shared, 1)
    computed(shared, 2)
    again_loss, again = computed(shared, 1)
    assert again_loss == loss
    assert again.tobytes() == gradient.tobytes()


def test_helpers_see_the_weights_of_the_moment(alone, shared):
    for engine in (alone, shared):
        engine.weights *= 0.5
    try:
        loss, gradient = computed(alone, 1)
        shared_loss, shared_gradient = computed(shared, 1)
        assert shared_loss == pytest.approx(loss, rel=1e-6)
        np.testing.assert_allclose(shared_gradient, gradient, atol=1e-7)
    finally:
        for engine in (alone, shared):
            engine.weights[:] = FLAT


def test_gradient_may_be_overwritten_between_steps(shared):
    _, gradient = computed(shared, 1)
    shared.gradient[:] = np.nan
    assert computed(shared, 1)[1].tobytes() == gradient.tobytes()


def test_helper_that_is_killed_is_reported():
    raised = []

    def compute(engine):
        try:
            engine.loss_and_gradient(*batch(1))
        except RuntimeError as error:
            raised.append(str(error))

    with Engine(ARCHITECTURE, STEPS, BATCH, 2) as engine:
        helper = engine.processes[0]
        helper.kill()
        helper.join()
        thread = threading.Thread(target=compute, args=(engine,), daemon=True)
        thread.start()
        thread.join(20)  # a test that waits for ever would say less
        assert raised == ["helper process 1 died (exit code -9): out of memory?"]


def test_blas_has_one_thread_beside_helpers_and_its_own_number_afterwards():
    with threadpool_limits(2, user_api="blas"):
        with Engine(ARCHITECTURE, STEPS, BATCH, 2):
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {2}


def test_helpers_end_with_the_engine():
    with Engine(ARCHITECTURE, STEPS, BATCH, 2) as engine:
        processes = list(engine.processes)
        assert all(process.is_alive() for process in processes)
    assert not any(process.is_alive() for process in processes)


def test_one_worker_starts_no_process(alone):
    assert alone.processes == []


@pytest.mark.parametrize(
    ("workers", "batch_size", "useful"),
    [(1, 64, 1), (2, 64, 2), (8, 64, 8), (9, 64, 8), (2, 16, 2), (2, 15, 1), (4, 7, 1), (3, 1, 1)],
)
def test_no_process_is_given_fewer_than_eight_columns(workers, batch_size, useful):
    assert useful_workers(workers, batch_size) == useful
