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

LINE = CACHE_LINE // 4  # float32 numbers per cache line; each gradient begins at a cache line

COMPUTE, GET_STATE, SET_STATE = range(3)  # commands to a worker


@dataclass(frozen=True)
class ShardSpec:
    """Specification of the shards, the same in all processes.

    Attributes:
        architecture: Sizes and cell type of the network.
        steps: Time steps T of a batch.
        batch: Sequences B of a batch, all processes together.
        dropout: Probability with which a unit is dropped between layers, in [0, 1).
        stateful: Whether a batch begins in the state in which the previous batch ended.
    """

    architecture: RNNConfig
    steps: int
    batch: int
    dropout: float = 0.0
    stateful: bool = False

    @property
    def predictions(self) -> int:
        """Number of predictions T*B over which the loss is averaged."""
        return self.steps * self.batch


class Shard:
    """The part of the batch that process k computes: some columns of ids and targets (T, B).

    Args:
        spec: Specification of the shards.
        shared: Memory that all processes share.
        k: Number of the process, from 0.

    Attributes:
        columns: Columns of the batch that belong to the shard.
        carried: States of these columns in shared memory, float32, shape (L, S, B_k, H) for B_k columns.
        p: Weights, as views of shared memory.
        g: Gradient of this shard, as views of shared memory.
        buffers: Arrays of the forward and backward pass for this shard.
    """

    def __init__(self, spec: ShardSpec, shared: "Shared", k: int) -> None:
        self.spec = spec
        first, last = shared.edges[k], shared.edges[k + 1]
        self.columns = slice(first, last)
        self.carried = shared.view("carried")[:, :, self.columns]
        self.p = unflatten(spec.architecture, shared.view("params"))
        self.g = unflatten(spec.architecture, shared.view("gradients")[k])
        self.buffers = Buffers.allocate(spec.architecture, spec.steps, last - first, training=True)

    def prepare(self, ids: Ids, targets: Ids, reset_state: bool, seed: int) -> tuple[Ids, Ids, Array | None]:
        """Set the initial state of a batch and select the inputs of this shard.

        Args:
            ids: Token ids of the whole batch, intp, shape (T, B).
            targets: Ids of the characters that follow them, intp, shape (T, B).
            reset_state: Whether to begin from a zero state. Without a stateful spec, every batch begins from
                one.
            seed: Seed of the dropout masks of this step, >= 0.

        Returns:
            The ids and the targets of this shard, contiguous, shape (T, B_k) each, and its dropout masks
                (L-1, T, B_k, H), or None if there is no dropout.
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
        """Execute a command: compute the loss and the gradient, or exchange the carried state.

        Args:
            ids: Token ids of the whole batch, intp, shape (T, B).
            targets: Ids of the characters that follow them, intp, shape (T, B).
            commands: Three numbers, int64, shape (3,): reset_state (0 or 1), the seed of the dropout masks,
                and COMPUTE, GET_STATE or SET_STATE.

        Returns:
            This shard's part of the mean loss, in nats per character, or 0 if the command exchanges the
                state. The gradient is in shared memory.
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
    """Arrays in memory that all processes share.

    Args:
        context: Context of multiprocessing that starts the workers.
        spec: Specification of the shards.
        workers: Number of processes, including the first one.

    Attributes:
        size: Number of parameters n.
        edges: Borders of the shards, workers + 1 numbers. Process k computes the columns edges[k] to
            edges[k+1] - 1 of the batch.
        layout: Dtype and shape of each array by name. `params` are the weights (n,), `gradients` and `losses`
            have a row or a number for each process, `ids` are the ids and targets of the batch (2, T, B),
            `commands` is the command (3,), and `carried` is the carried state (L, S, B, H), which is written
            only on GET_STATE and SET_STATE.
        memory: Shared memory of each array by name.
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
        """Return an array of the shared memory by its name.

        Args:
            name: Key of `layout`.

        Returns:
            A view with the dtype and shape of `layout`; of `gradients`, shape (workers, n), without the
                padding that aligns each row.
        """
        whole = at_cache_line(np.frombuffer(self.memory[name], np.uint8), *self.layout[name])
        return whole[:, : self.size] if name == "gradients" else whole
