"""Data parallelism: several processes share the computation of the loss and the gradient of a batch.

Each process computes some columns of the batch with one BLAS thread and writes the gradient of its shard into
shared memory. The first process adds the gradients in a fixed order, so that the same number of processes
gives bit-identical results. Threads of one process cannot do this: the loop over time consists of many short
NumPy calls, which would wait for the interpreter's lock most of the time. BLAS threads speed up only the
products, which are small.
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

MIN_SHARD_SIZE = 8  # columns of the batch; with fewer, a process costs more time than it saves
SPINS = 4000  # attempts before a process sleeps: the wait usually takes microseconds


def effective_workers(workers: int, batch: int) -> int:
    """Return the number of processes that a batch is large enough for.

    Args:
        workers: Number of processes that the config allows, >= 1.
        batch: Batch size B.

    Returns:
        Number of processes, from 1 to `workers`, each with at least `MIN_SHARD_SIZE` columns if there are
            several.
    """
    return max(1, min(workers, batch // MIN_SHARD_SIZE))


class DataParallel:
    """The loss and the gradient of a batch, computed by several processes.

    It is a context manager: the worker processes start and end with it. The calling process is the first
    process and computes the first shard itself.

    Args:
        spec: Specification of the shards.
        workers: Largest number of processes; see `effective_workers`.

    Attributes:
        workers: Number of processes, including this one.
        params: Weights, float32, shape (n,), in memory that all processes share.
        gradient: Gradient of the last batch, float32, shape (n,).
        carried: State of the last `state` or `set_state`, float32, shape (L, S, B, H), in shared memory.
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
            context.Process(target=_worker_loop, args=(spec, shared, k, go, done, self.spins), daemon=True)
            for k, (go, done) in enumerate(zip(self.go, self.done, strict=True), 1)
        ]
        self.limits = ExitStack()

    def __enter__(self) -> "DataParallel":
        with _spawning():
            for process in self.processes:
                process.start()
        try:
            for k, done in enumerate(self.done):  # each worker reports once that it is ready
                self._wait_for(k, done)
        except BaseException:
            self._end_workers()
            raise
        self.limits.enter_context(single_blas_thread())
        return self

    def __exit__(self, *error: object) -> None:
        self._end_workers()
        self.limits.close()

    def _end_workers(self) -> None:
        """End the worker processes and free their semaphores."""
        for process in self.processes:
            process.kill()  # they hold no files or locks, and they ignore SIGTERM
        for process in self.processes:
            process.join()
        self.go.clear()  # freed now, although the traceback of an error may still refer to this object
        self.done.clear()

    def loss_and_gradient(self, ids: Ids, targets: Ids, reset_state: bool = True, seed: int = 0) -> float:
        """Compute the loss of a batch at `params`, and write its gradient to `gradient`.

        Args:
            ids: Token ids of the whole batch, intp, shape (T, B).
            targets: Ids of the characters that follow them, intp, shape (T, B).
            reset_state: Whether to begin from a zero state. Without a stateful spec, every batch begins from
                one.
            seed: Seed of the dropout masks, >= 0; not used without dropout.

        Returns:
            Mean loss in nats per character.

        Raises:
            RuntimeError: A worker process ended by itself.
            UserError: A worker process was killed by a signal, usually for lack of memory.
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
            self._wait_for(k, done)
            self.gradient += self.gradients[k + 1]
            loss += float(self.losses[k + 1])
        return loss

    def state(self) -> Array:
        """Return the state in which the last batch ended.

        Returns:
            Hidden and cell states, float32, shape (L, S, B, H), a view of shared memory.

        Raises:
            RuntimeError: A worker process ended by itself.
            UserError: A worker process was killed by a signal, usually for lack of memory.
        """
        self._sync_state(GET_STATE)
        return self.carried

    def set_state(self, state: Array) -> None:
        """Set the state from which the next batch begins; it is used only with a stateful spec.

        Args:
            state: Hidden and cell states, float32, shape (L, S, B, H).

        Raises:
            RuntimeError: A worker process ended by itself.
            UserError: A worker process was killed by a signal, usually for lack of memory.
        """
        self.carried[...] = state
        self._sync_state(SET_STATE)

    def _sync_state(self, command: int) -> None:
        """Execute GET_STATE or SET_STATE in all processes: write or read `carried`."""
        self.commands[:] = 0, 0, command
        for go in self.go:
            go.release()
        self.shard.execute(self.ids[0], self.ids[1], self.commands)
        for k, done in enumerate(self.done):
            self._wait_for(k, done)

    def _wait_for(self, k: int, done: Semaphore) -> None:
        """Wait until worker k is done."""  # noqa: DOC501 (`worker_error` returns the errors)
        while not _acquire(done, self.spins):
            if not self.processes[k].is_alive():
                raise worker_error(k + 1, self.workers, self.processes[k].exitcode or 0)


def worker_error(k: int, workers: int, code: int) -> Exception:
    """Return the error for a worker process that has ended.

    A worker that failed has already printed its own traceback.

    Args:
        k: Number of the process; the first process is 0, the first worker 1.
        workers: Number of all processes.
        code: Exit code; a negative one is the number of the signal that killed the process, with a minus
            sign.

    Returns:
        A RuntimeError for an exit code >= 0, a UserError for a signal; to be raised by the caller.
    """
    if code >= 0:
        return RuntimeError(f"worker process {k} of {workers} ended with exit code {code}")
    return UserError(
        f"workers: expected {workers} processes that run to the end, got one that was killed by "
        f"{signal.Signals(-code).name}: out of memory? Try fewer workers, or a smaller hidden, batch_size or "
        "seq_len"
    )


@contextmanager
def _spawning() -> Iterator[None]:
    """Make `spawn` the default start method of processes while the workers start.

    A worker inherits the name of the default method. In a job that joblib runs, this is joblib's own method,
    which a worker does not know.
    """
    usual = mp.get_start_method(allow_none=True)
    mp.set_start_method("spawn", force=True)
    try:
        yield
    finally:
        mp.set_start_method(usual, force=True)


def _acquire(semaphore: Semaphore, spins: int) -> bool:
    """Return whether a semaphore was taken: by attempts, which notice a release at once, or within 1 s."""
    return any(semaphore.acquire(False) for _ in range(spins)) or semaphore.acquire(True, 1.0)


@single_blas_thread()
def _worker_loop(spec: ShardSpec, shared: Shared, k: int, go: Semaphore, done: Semaphore, spins: int) -> None:
    """Compute shard k at each release of `go` in a worker process, until the first process has ended."""
    for number in (signal.SIGINT, signal.SIGTERM):  # both are for the first process, which ends this one
        signal.signal(number, signal.SIG_IGN)
    np.seterr(all="ignore")  # the first process detects an overflow and reports it once
    shard = Shard(spec, shared, k)
    ids, losses, commands = shared.view("ids"), shared.view("losses"), shared.view("commands")
    parent = mp.parent_process()
    done.release()
    while parent is not None and parent.is_alive():
        if _acquire(go, spins):
            losses[k] = shard.execute(ids[0], ids[1], commands)
            done.release()
