"""The shard of a batch that one process computes, and the memory that all processes share."""

from dataclasses import dataclass
from math import prod
from multiprocessing.context import SpawnContext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.rnn.cache import CACHE_LINE, at_cache_line
from src.rnn.network import Buffers, Ids, dropout_masks, loss_and_gradient
from src.rnn.parameters import Array, RNNConfig, unflatten

LINE = CACHE_LINE // 4  # numbers of a cache line: each gradient begins at one

COMPUTE, GET_STATE, SET_STATE = range(3)  # commands to a worker


@dataclass(frozen=True)
class ShardSpec:
    """Specification of the shards, the same in all processes.

    Attributes:
        architecture: Sizes of the network.
        steps: T, time steps of a batch.
        batch: B, sequences of a batch, those of all processes.
        dropout: Probability with which a unit is dropped between layers.
        stateful: Whether a batch begins in the state in which the one before ended.
    """

    architecture: RNNConfig
    steps: int
    batch: int
    dropout: float = 0.0
    stateful: bool = False

    @property
    def predictions(self) -> int:
        """T B, the number that the mean loss is over."""
        return self.steps * self.batch


class Shard:
    """The share of the batch that process k computes: some columns of ids and targets (T, B)."""

    def __init__(self, spec: ShardSpec, shared: "Shared", k: int) -> None:
        self.spec = spec
        first, last = shared.edges[k], shared.edges[k + 1]
        self.columns = slice(first, last)
        self.carried = shared.view("carried")[:, :, self.columns]
        self.p = unflatten(spec.architecture, shared.view("params"))
        self.g = unflatten(spec.architecture, shared.view("gradients")[k])
        self.buffers = Buffers.allocate(spec.architecture, spec.steps, last - first, training=True)

    def prepare(self, ids: Ids, targets: Ids, reset_state: bool, seed: int) -> tuple[Ids, Ids, Array | None]:
        """Set the initial state of a batch.

        Args:
            ids: Characters (T, B) of the whole batch.
            targets: The characters that follow them, (T, B).
            reset_state: Begin from a zero state, also where the state is carried.
            seed: Of the dropout masks of this step.

        Returns:
            The columns of `ids` and `targets` of this shard, contiguous, and its dropout masks.
        """
        spec = self.spec
        if reset_state or not spec.stateful:
            self.buffers.reset()
        else:
            self.buffers.carry()
        masks = None
        if spec.dropout and spec.architecture.layers > 1:
            width = self.columns.stop - self.columns.start
            rng = np.random.default_rng([seed, self.columns.start])
            masks = dropout_masks(spec.architecture, spec.steps, width, spec.dropout, rng)
        columns = self.columns
        return np.ascontiguousarray(ids[:, columns]), np.ascontiguousarray(targets[:, columns]), masks

    def execute(self, ids: Ids, targets: Ids, commands: NDArray[np.int64]) -> float:
        """Carry out a command in a worker.

        Args:
            ids: Characters (T, B) of the whole batch.
            targets: The characters that follow them, (T, B).
            commands: reset_state, the seed of the dropout masks, and COMPUTE, GET_STATE or SET_STATE.

        Returns:
            The shard's share of the mean loss in nats; its gradient is in shared memory. 0 for a command
            that exchanges the carried state.
        """
        reset_state, seed, command = commands.tolist()
        if command == GET_STATE:
            self.carried[...] = self.buffers.state()
            return 0.0
        if command == SET_STATE:
            self.buffers.set_state(self.carried, -1)
            return 0.0
        own_ids, own_targets, masks = self.prepare(ids, targets, bool(reset_state), seed)
        p, g, buffers = self.p, self.g, self.buffers
        return loss_and_gradient(p, g, own_ids, own_targets, buffers, masks, self.spec.predictions)


class Shared:
    """Arrays in memory that all processes see.

    Attributes:
        layout: dtype and shape of each array: the weights (n,), a gradient and a loss for each process, ids
            and targets of the batch (2, T, B), the command, and the carried state (L, S, B, H), which is
            written only on GET_STATE and SET_STATE.
        edges: Process k computes the columns edges[k] to edges[k+1] of the batch.
    """

    def __init__(self, context: SpawnContext, spec: ShardSpec, workers: int) -> None:
        a = spec.architecture
        self.size = a.size()
        self.edges = [round(spec.batch * k / workers) for k in range(workers + 1)]
        self.layout: dict[str, tuple[Any, tuple[int, ...]]] = {
            "params": (np.float32, (self.size,)),
            "gradients": (np.float32, (workers, -(-self.size // LINE) * LINE)),
            "ids": (np.intp, (2, spec.steps, spec.batch)),
            "losses": (np.float64, (workers,)),
            "commands": (np.int64, (3,)),
            "carried": (np.float32, (a.layers, a.states, spec.batch, a.hidden)),
        }
        self.memory = {
            name: context.RawArray("b", np.dtype(dtype).itemsize * prod(shape) + CACHE_LINE)
            for name, (dtype, shape) in self.layout.items()
        }

    def view(self, name: str) -> NDArray[Any]:
        """Return an array; of the gradients without the padding that separates them."""
        whole = at_cache_line(np.frombuffer(self.memory[name], np.uint8), *self.layout[name])
        return whole[:, : self.size] if name == "gradients" else whole
