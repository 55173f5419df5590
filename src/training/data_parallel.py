"""Data parallelism: loss and gradient of a batch, shared among processes.

Each process computes some columns of the batch with one BLAS thread and writes the gradient of its shard into
shared memory. The first process adds the gradients in a fixed order, so that the same number of processes
gives the same bits. Threads of one process cannot do this: the loop over time consists of many short NumPy
calls, which would wait for the interpreter's lock most of the time. BLAS threads speed up only the products,
which are small.
"""

import multiprocessing as mp
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.synchronize import Semaphore

import numpy as np

from src.common.errors import UserError
from src.common.process import available_cores, single_blas_thread
from src.rnn.loss import cross_entropy_and_gradient
from src.rnn.network import Ids, backward, forward
from src.rnn.parameters import Array
from src.training.shard import COMPUTE, GET_STATE, SET_STATE, Shard, ShardSpec, Shared

MIN_SHARD_SIZE = 8  # columns of the batch; below this a process costs more than it brings
SPINS = 4000  # tries before a process sleeps: a partner is usually some microseconds away


def effective_workers(workers: int, batch: int) -> int:
    """Return how many processes a batch is worth sharing among."""
    return max(1, min(workers, batch // MIN_SHARD_SIZE))


class DataParallel:
    """Compute loss and gradient of a batch, shared among processes.

    A context manager: the worker processes end with it. This process computes the first shard itself.

    Attributes:
        params: Weights (n,), float32, in memory that all processes see.
        gradient: Gradient (n,) of the last batch, float32.
    """

    def __init__(self, spec: ShardSpec, workers: int) -> None:
        self.workers = effective_workers(workers, spec.batch)
        context = mp.get_context("spawn")
        shared = Shared(context, spec, self.workers)
        self.params = shared.view("params")
        self.gradients = shared.view("gradients")
        self.gradient = self.gradients[0]
        self.ids, self.losses = shared.view("ids"), shared.view("losses")
        self.commands = shared.view("commands")
        self.carried = shared.view("carried")
        self.shard = Shard(spec, shared, 0)
        self.go = [context.Semaphore(0) for _ in range(1, self.workers)]
        self.done = [context.Semaphore(0) for _ in range(1, self.workers)]
        self.spins = SPINS if available_cores() >= self.workers else 0
        self.processes = [
            context.Process(
                target=worker_loop,
                args=(spec, shared, k, self.go[k - 1], self.done[k - 1], self.spins),
                daemon=True,
            )
            for k in range(1, self.workers)
        ]
        self.limits = ExitStack()

    def __enter__(self) -> "DataParallel":
        with spawning():
            for process in self.processes:
                process.start()
        try:
            for k, done in enumerate(self.done):  # a worker says once that it is ready
                self.wait_for(k, done)
        except BaseException:
            self.end_workers()
            raise
        self.limits.enter_context(single_blas_thread())
        return self

    def __exit__(self, *error: object) -> None:
        self.end_workers()
        self.limits.close()

    def end_workers(self) -> None:
        """End the worker processes and free their semaphores."""
        for process in self.processes:
            process.kill()  # they hold nothing, and they ignore SIGTERM
        for process in self.processes:
            process.join()
        self.go.clear()  # freed now, although the traceback of an error may still refer to this object
        self.done.clear()

    def loss_and_gradient(self, ids: Ids, targets: Ids, reset_state: bool = True, seed: int = 0) -> float:
        """Compute the loss of a batch at `params`, and its gradient into `gradient`.

        Args:
            ids: Characters (T, B).
            targets: The characters that follow them, (T, B).
            reset_state: Begin from a zero state, also where the state is carried.
            seed: Of the dropout masks.

        Returns:
            The mean loss in nats per character.
        """
        self.commands[:] = reset_state, seed, COMPUTE
        if self.processes:
            self.ids[0], self.ids[1] = ids, targets
            for go in self.go:
                go.release()
        shard = self.shard
        own_ids, own_targets, masks = shard.prepare(ids, targets, reset_state, seed)
        logits = forward(shard.p, own_ids, shard.buffers, masks)
        loss = float(cross_entropy_and_gradient(logits, own_targets.reshape(-1), shard.spec.predictions))
        backward(shard.p, shard.g, own_ids, shard.buffers, masks)
        for k, done in enumerate(self.done):
            self.wait_for(k, done)
            self.gradient += self.gradients[k + 1]
            loss += float(self.losses[k + 1])
        return loss

    def state(self) -> Array:
        """Return the state (L, S, B, H) in which the last batch ended, a view of shared memory."""
        self.sync_state(GET_STATE)
        return self.carried

    def set_state(self, state: Array) -> None:
        """Set the state (L, S, B, H) from which the next batch begins where the state is carried."""
        self.carried[...] = state
        self.sync_state(SET_STATE)

    def sync_state(self, command: int) -> None:
        """Exchange the carried state of all processes; `command` is GET_STATE or SET_STATE."""
        self.commands[:] = 0, 0, command
        for go in self.go:
            go.release()
        self.shard.execute(self.ids[0], self.ids[1], self.commands)
        for k, done in enumerate(self.done):
            self.wait_for(k, done)

    def wait_for(self, k: int, done: Semaphore) -> None:
        """Wait until worker k is done. Raises what `worker_error` makes of one that has ended."""
        while not acquire(done, self.spins):
            if not self.processes[k].is_alive():
                raise worker_error(k + 1, self.workers, self.processes[k].exitcode or 0)


def worker_error(k: int, workers: int, code: int) -> Exception:
    """Build the error for a worker that has ended. One that failed has printed its own traceback."""
    if code >= 0:
        return RuntimeError(f"worker process {k} of {workers} ended with exit code {code}")
    return UserError(
        f"workers: expected {workers} processes that run to the end, got one that was killed by "
        f"{signal.Signals(-code).name}: out of memory? Try fewer workers, or a smaller hidden, batch_size or "
        "seq_len"
    )


@contextmanager
def spawning() -> Iterator[None]:
    """Start workers with the default context: they inherit it, and do not know that of joblib's processes."""
    usual = mp.get_start_method(allow_none=True)
    mp.set_start_method("spawn", force=True)
    try:
        yield
    finally:
        mp.set_start_method(usual, force=True)


def acquire(semaphore: Semaphore, spins: int) -> bool:
    """Take the semaphore: first by trying again and again, which wakes at once, then asleep, a second."""
    return any(semaphore.acquire(False) for _ in range(spins)) or semaphore.acquire(True, 1.0)


@single_blas_thread()
def worker_loop(spec: ShardSpec, shared: Shared, k: int, go: Semaphore, done: Semaphore, spins: int) -> None:
    """Compute shard k at each release of `go`, until the first process is gone; runs in a worker process."""
    for number in (signal.SIGINT, signal.SIGTERM):  # both are for the first process, which ends this one
        signal.signal(number, signal.SIG_IGN)
    np.seterr(all="ignore")  # the first process detects an overflow and reports it once
    shard = Shard(spec, shared, k)
    ids, losses, commands = shared.view("ids"), shared.view("losses"), shared.view("commands")
    parent = mp.parent_process()
    done.release()
    while parent is not None and parent.is_alive():
        if acquire(go, spins):
            losses[k] = shard.execute(ids[0], ids[1], commands)
            done.release()
