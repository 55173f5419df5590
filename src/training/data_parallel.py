"""Loss and gradient of one batch, shared out among processes.

Each process takes some of the batch's columns with one BLAS thread and writes the gradient of its part
into shared memory; the first process adds the parts up in a fixed order, so that the same number of
processes gives the same bits. Two threads of one process cannot do this: the loop over time is so many
short NumPy calls that they would wait for the interpreter's lock most of the time, and two BLAS threads
speed up nothing but the products, which are small.
"""

import multiprocessing as mp
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from multiprocessing.context import SpawnContext
from multiprocessing.synchronize import Semaphore
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.common.blas import single_blas_thread
from src.common.errors import InputError
from src.common.process import available_cores
from src.rnn.aligned import CACHE_LINE, at_cache_line
from src.rnn.network import Buffers, Ids, dropout_masks, loss_and_gradient
from src.rnn.parameters import Architecture, Array, unflatten

FEWEST_COLUMNS = 8  # below this a process costs more than it brings
LINE = CACHE_LINE // 4  # numbers of a cache line: each gradient begins at one
SPINS = 4000  # tries before a process sleeps: a partner is usually some microseconds away

COMPUTE, TELL, TAKE = range(3)  # what is asked of a Part: a batch; its carried state, told or taken over


def useful_workers(workers: int, batch: int) -> int:
    """How many processes a batch is worth sharing out to."""
    return max(1, min(workers, batch // FEWEST_COLUMNS))


@dataclass(frozen=True)
class Job:
    """What all processes of an Engine are told once. dropout: share between layers. carry: whether a batch
    begins in the state in which the one before ended, unless told otherwise."""

    architecture: Architecture
    steps: int
    batch: int
    dropout: float = 0.0
    carry: bool = False


class Part:
    """One process' share of the batch: columns [first, last) of ids and targets (T, B)."""

    def __init__(self, job: Job, first: int, last: int, flat: Array, gradient: Array, carried: Array) -> None:
        self.job = job
        self.gradient, self.carried = gradient, carried[:, :, first:last]
        self.p, self.g = unflatten(job.architecture, flat), unflatten(job.architecture, gradient)
        self.columns = slice(first, last)
        self.buffers = Buffers.allocate(job.architecture, job.steps, last - first, training=True)

    def run(self, ids: Ids, targets: Ids, orders: NDArray[np.int64]) -> float:
        """This part's share of the mean loss; its share of the gradient goes into self.gradient.

        orders: whether the batch begins from a zero state, the seed of this step's dropout masks, and what is
        asked for: COMPUTE, or TELL and TAKE, which exchange the carried state through self.carried.
        """
        job, (fresh, seed, asked) = self.job, orders.tolist()
        if asked == TELL:
            self.carried[...] = self.buffers.state()
            return 0.0
        if asked == TAKE:
            self.buffers.end_with(self.carried)
            return 0.0
        if fresh or not job.carry:
            self.buffers.reset()
        else:
            self.buffers.carry()
        masks = None
        if job.dropout and job.architecture.layers > 1:
            width, rng = (
                self.columns.stop - self.columns.start,
                np.random.default_rng([seed, self.columns.start]),
            )
            masks = dropout_masks(job.architecture, job.steps, width, job.dropout, rng)
        return loss_and_gradient(
            self.p,
            self.g,
            np.ascontiguousarray(ids[:, self.columns]),
            np.ascontiguousarray(targets[:, self.columns]),
            self.buffers,
            masks,
            of=job.steps * job.batch,
        )


class Engine:
    """Holds the weights (n,) and the gradient (n,) in float32, and computes the one at the other.

    A context manager: the helper processes end with it. Windows have one shape, (steps, batch).
    """

    def __init__(self, job: Job, workers: int) -> None:
        self.workers = useful_workers(workers, job.batch)
        context = mp.get_context("spawn")
        shared = Shared(context, job, self.workers)
        self.weights = shared.weights()
        self.gradients = shared.gradients()
        self.gradient = self.gradients[0]
        self.ids, self.losses, self.orders = shared.ids(), shared.losses(), shared.orders()
        edges = [round(job.batch * k / self.workers) for k in range(self.workers + 1)]
        self.carried = shared.carried()
        self.part = Part(job, edges[0], edges[1], self.weights, self.gradient, self.carried)
        self.go = [context.Semaphore(0) for _ in range(1, self.workers)]
        self.done = [context.Semaphore(0) for _ in range(1, self.workers)]
        self.spins = SPINS if available_cores() >= self.workers else 0
        self.processes = [
            context.Process(
                target=serve,
                args=(job, shared, k, edges, self.go[k - 1], self.done[k - 1], self.spins),
                daemon=True,
            )
            for k in range(1, self.workers)
        ]
        self.limits = ExitStack()

    def __enter__(self) -> "Engine":
        with spawning():
            for process in self.processes:
                process.start()
        try:
            for k, done in enumerate(self.done):  # a helper says once that it is ready
                self.await_helper(k, done)
        except BaseException:
            self.end_helpers()
            raise
        self.limits.enter_context(single_blas_thread())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_helpers()
        self.limits.close()

    def end_helpers(self) -> None:
        for process in self.processes:
            process.kill()  # they hold nothing, and SIGTERM is not for them
        for process in self.processes:
            process.join()
        self.go.clear()  # given back now, whoever still holds this engine: the traceback of an error does
        self.done.clear()

    def loss_and_gradient(self, ids: Ids, targets: Ids, fresh: bool = True, seed: int = 0) -> float:
        """Mean loss in nats per character of a batch (T, B); self.gradient is then its gradient.

        fresh: begin from a zero state, also where the state is carried. seed: of the dropout masks.
        """
        self.orders[:] = fresh, seed, COMPUTE
        if self.processes:
            self.ids[0], self.ids[1] = ids, targets
            for go in self.go:
                go.release()
        loss = self.part.run(ids, targets, self.orders)
        for k, done in enumerate(self.done):
            self.await_helper(k, done)
            self.gradient += self.gradients[k + 1]
            loss += float(self.losses[k + 1])
        return loss

    def state(self) -> Array:
        """The state (L, S, B, H) in which the last batch ended, of all processes' columns; a view."""
        self.exchange(TELL)
        return self.carried

    def set_state(self, state: Array) -> None:
        """As if the last batch had ended in this state (L, S, B, H)."""
        self.carried[...] = state
        self.exchange(TAKE)

    def exchange(self, asked: int) -> None:
        self.orders[:] = 0, 0, asked
        for go in self.go:
            go.release()
        self.part.run(self.ids[0], self.ids[1], self.orders)
        for k, done in enumerate(self.done):
            self.await_helper(k, done)

    def await_helper(self, k: int, done: Semaphore) -> None:
        while not acquire(done, self.spins):
            if not self.processes[k].is_alive():
                raise died(k + 1, self.workers, self.processes[k].exitcode or 0)


def died(k: int, workers: int, code: int) -> Exception:
    """What to raise for a helper that is gone. One that ended by itself has shown its own traceback."""
    if code >= 0:
        return RuntimeError(f"helper process {k} of {workers} ended with exit code {code}")
    return InputError(
        f"workers: expected {workers} processes to the end, got one that was killed by "
        f"{signal.Signals(-code).name}: out of memory? Try fewer workers, or a smaller hidden, batch_size or "
        "seq_len"
    )


@contextmanager
def spawning() -> Iterator[None]:
    """Helpers take over this process' usual way to start processes; that of joblib's they do not know."""
    usual = mp.get_start_method(allow_none=True)
    mp.set_start_method("spawn", force=True)
    try:
        yield
    finally:
        mp.set_start_method(usual, force=True)


class Shared:
    """Memory that all processes of an Engine see: weights, one gradient and loss each, the batch, and the
    carried state, which is put there only when somebody asks for it."""

    def __init__(self, context: SpawnContext, job: Job, workers: int) -> None:
        size, steps, batch = job.architecture.size(), job.steps, job.batch
        self.size, self.padded = size, -(-size // LINE) * LINE
        self.shape = (size, steps, batch, workers)
        self.states = (job.architecture.layers, job.architecture.states, batch, job.architecture.hidden)
        sizes = {
            "weights": 4 * size,
            "gradients": 4 * self.padded * workers,
            "ids": 2 * steps * batch * np.intp(0).nbytes,
            "losses": 8 * workers,
            "orders": 8 * 3,
            "carried": 4 * prod(self.states),
        }
        self.memory = {name: context.RawArray("b", size + CACHE_LINE) for name, size in sizes.items()}

    def view(self, name: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        return at_cache_line(np.frombuffer(self.memory[name], np.uint8), dtype, shape)

    def weights(self) -> Array:
        return self.view("weights", np.float32, (self.shape[0],))

    def gradients(self) -> Array:
        return self.view("gradients", np.float32, (self.shape[3], self.padded))[:, : self.size]

    def ids(self) -> Ids:
        return self.view("ids", np.intp, (2, *self.shape[1:3]))

    def orders(self) -> NDArray[np.int64]:
        return self.view("orders", np.int64, (3,))

    def carried(self) -> Array:
        return self.view("carried", np.float32, self.states)

    def losses(self) -> NDArray[np.float64]:
        return self.view("losses", np.float64, (self.shape[3],))


def acquire(semaphore: Semaphore, spins: int) -> bool:
    """Take the semaphore: first by trying again and again, which wakes at once, then asleep, a second."""
    return any(semaphore.acquire(False) for _ in range(spins)) or semaphore.acquire(True, 1.0)


@single_blas_thread()
def serve(
    job: Job,
    shared: Shared,
    k: int,
    edges: list[int],
    go: Semaphore,
    done: Semaphore,
    spins: int,
) -> None:
    """A helper process: compute part k whenever told to, until the first process is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # both are for the first process, which ends this one
        signal.signal(number, signal.SIG_IGN)
    np.seterr(all="ignore")  # what overflows is seen, and said once, by the first process
    gradient = shared.gradients()[k]
    part = Part(job, edges[k], edges[k + 1], shared.weights(), gradient, shared.carried())
    ids, losses, orders = shared.ids(), shared.losses(), shared.orders()
    parent = mp.parent_process()
    done.release()
    while parent is not None and parent.is_alive():
        if acquire(go, spins):
            losses[k] = part.run(ids[0], ids[1], orders)
            done.release()
