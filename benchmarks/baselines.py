"""The programs that benchmarks/throughput.py compares, each in its own process.

    python -m benchmarks.baselines PROGRAM CELL HIDDEN SEQ_LEN BATCH LAYERS THREADS

For every line on standard input a program takes that many whole training steps (batch, forward, backward,
clip, Adam), or samples that many characters per stream, and prints the seconds.
"""

import atexit
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

VOCABULARY = 27
CHARACTERS = 200_000
LR, CLIP = 2e-3, 5.0


@dataclass(frozen=True)
class Case:
    cell: str
    hidden: int
    seq_len: int
    batch: int
    layers: int = 1
    threads: int = 2

    def words(self) -> list[str]:
        """Return the command line of a program."""
        sizes = (self.hidden, self.seq_len, self.batch, self.layers, self.threads)
        return [self.cell, *map(str, sizes)]


Steps = Callable[[int], None]


def numpy_train(case: Case) -> Steps:
    """This project's training loop, without weight averaging and weight decay."""
    from pathlib import Path

    import numpy as np

    from benchmarks.determinism import default
    from src.data.corpus import Corpus
    from src.data.normalization import Normalization
    from src.data.vocabulary import Vocabulary
    from src.training.callbacks import NullLogger
    from src.training.trainer import Trainer

    config = default(
        f"hidden={case.hidden}", f"seq_len={case.seq_len}", f"batch_size={case.batch}", f"lr={LR}",
        f"workers={case.threads}", f"clip={CLIP}", f"model={case.cell}", f"model.layers={case.layers}",
        "model.init=uniform", "ema_decay=0", "optimizer.weight_decay=0", "schedule=constant",
        "batching=shuffled", "stateful=false", f"eval_every={10**9}", f"log_every={10**9}", "max_epochs=1e6",
    )  # fmt: skip
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, CHARACTERS).astype(np.uint8)
    bounds = {"train": (0, CHARACTERS), "val": (0, 0), "test": (0, 0)}
    plain, letters = Normalization(False, False, False), Vocabulary(" abcdefghijklmnopqrstuvwxyz")
    trainer = Trainer(config, Corpus(Path("unused"), "random", "0" * 64, letters, plain, tokens, bounds))
    engine = trainer.start(NullLogger(), []).__enter__()
    atexit.register(engine.__exit__, None, None, None)  # before multiprocessing waits for its processes

    def steps(count: int) -> None:
        for _ in range(count):
            trainer.train_step()

    return steps


def untiled_train(case: Case) -> Steps:
    """This project's training loop with whole matrix products, not cut into tiles; one process."""
    from src.rnn import blocked_matmul
    from src.rnn.blocked_matmul import Tiling

    assert case.threads == 1, "workers would import the module unchanged"
    for owner, name, uncut in (
        (Tiling, "for_shape", lambda batch, units: Tiling(batch, units, batch, units)),
        (blocked_matmul, "k_chunk", lambda v, n: n),
        (blocked_matmul, "n_chunk", lambda v, n, h: n),
    ):
        setattr(owner, name, uncut)
    return numpy_train(case)


def reference_train(case: Case, dtype: str) -> Steps:
    """The same training loop on src/rnn/reference.py: the equations, step by step."""
    import numpy as np

    from src.data.batches import ShuffledWindows
    from src.rnn.network import zero_state
    from src.rnn.optimizers import Adam, clip_norm, global_norm
    from src.rnn.parameters import RNNConfig, initialize
    from src.rnn.reference import loss_and_gradient

    rng = np.random.default_rng(0)
    architecture = RNNConfig(VOCABULARY, case.hidden, case.cell, case.layers)
    params = initialize(architecture, "uniform", rng, np.dtype(dtype))
    start = zero_state(architecture, case.batch, params.dtype)
    adam = Adam(0.9, 0.999, 1e-8)
    state = adam.state(params)
    tokens = rng.integers(0, VOCABULARY, CHARACTERS).astype(np.uint8)
    batches = ShuffledWindows(tokens, case.seq_len, case.batch, 1, rng)

    def steps(count: int) -> None:
        for _ in range(count):
            ids, targets, _ = batches.next()
            _, gradient = loss_and_gradient(architecture, params, ids, targets, start)
            clip_norm(gradient, global_norm(gradient), CLIP)
            adam.update(state, params, gradient, LR)

    return steps


def torch_train(case: Case) -> Steps:
    """PyTorch's recurrent layer on one-hot inputs with a linear output layer, eager, with its fused Adam."""
    import torch

    torch.set_num_threads(case.threads)
    torch.manual_seed(0)
    kinds = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
    network = kinds[case.cell](VOCABULARY, case.hidden, case.layers)
    output = torch.nn.Linear(case.hidden, VOCABULARY)
    parameters = [*network.parameters(), *output.parameters()]
    adam = torch.optim.Adam(parameters, lr=LR, fused=True)
    tokens = torch.randint(0, VOCABULARY, (CHARACTERS,))
    offsets = torch.arange(case.seq_len + 1)[:, None]
    functional = torch.nn.functional

    def steps(count: int) -> None:
        for _ in range(count):
            window = tokens[torch.randint(0, CHARACTERS - case.seq_len, (case.batch,)) + offsets]
            h, _ = network(functional.one_hot(window[:-1], VOCABULARY).float())
            logits = output(h).reshape(-1, VOCABULARY)
            loss = functional.cross_entropy(logits, window[1:].reshape(-1))
            adam.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, CLIP)
            adam.step()
            loss.item()

    return steps


def naive_train(case: Case) -> Steps:
    """A vanilla RNN as in most tutorials: one sequence at a time, one-hot columns, Python loops, a softmax
    and five weight gradients per character, Adagrad. (After Karpathy's min-char-rnn, 2015.)"""
    import numpy as np

    rng = np.random.default_rng(0)
    v, h = VOCABULARY, case.hidden
    tokens = rng.integers(0, v, CHARACTERS)
    shapes = ((h, v), (h, h), (v, h), (h, 1), (v, 1))
    weights = [rng.standard_normal(shape) * 0.01 for shape in shapes]
    squares = [np.zeros_like(w) for w in weights]

    def sequence(start: int) -> None:
        wx, wh, wy, b, by = weights
        xs, hs, ps = {}, {-1: np.zeros((h, 1))}, {}
        for t in range(case.seq_len):
            xs[t] = np.zeros((v, 1))
            xs[t][tokens[start + t]] = 1
            hs[t] = np.tanh(wx @ xs[t] + wh @ hs[t - 1] + b)
            y = wy @ hs[t] + by
            ps[t] = np.exp(y) / np.sum(np.exp(y))
        gradients = [np.zeros_like(w) for w in weights]
        dwx, dwh, dwy, db, dby = gradients
        carry = np.zeros((h, 1))
        for t in reversed(range(case.seq_len)):
            dy = np.copy(ps[t])
            dy[tokens[start + t + 1]] -= 1
            dwy += dy @ hs[t].T
            dby += dy
            da = (1 - hs[t] * hs[t]) * (wy.T @ dy + carry)
            db += da
            dwx += da @ xs[t].T
            dwh += da @ hs[t - 1].T
            carry = wh.T @ da
        for w, g, s in zip(weights, gradients, squares, strict=True):
            np.clip(g, -CLIP, CLIP, out=g)
            s += g * g
            w -= 1e-1 * g / np.sqrt(s + 1e-8)

    def steps(count: int) -> None:
        for _ in range(count):
            for start in rng.integers(0, CHARACTERS - case.seq_len - 1, case.batch):
                sequence(int(start))

    return steps


def numpy_sample(case: Case) -> Steps:
    """This project's sampler, `batch` streams at once."""
    import numpy as np

    from src.generation.sampling import continue_batch
    from src.rnn.parameters import RNNConfig, initialize
    from src.rnn.step import Stepper

    rng = np.random.default_rng(0)
    architecture = RNNConfig(VOCABULARY, case.hidden, case.cell, case.layers)
    stepper = Stepper(architecture, initialize(architecture, "uniform", rng), case.batch)

    def steps(count: int) -> None:
        logits = stepper.step(np.zeros(case.batch, np.intp))
        for _ in continue_batch(stepper, logits, 0.7, rng.random((count, case.batch))):
            pass

    return steps


def torch_sample(case: Case) -> Steps:
    """The same in PyTorch: a step of the layer, softmax, multinomial."""
    import torch

    torch.set_num_threads(case.threads)
    kinds = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
    network = kinds[case.cell](VOCABULARY, case.hidden, case.layers)
    output = torch.nn.Linear(case.hidden, VOCABULARY)

    def steps(count: int) -> None:
        with torch.inference_mode():
            ids, state = torch.zeros(case.batch, dtype=torch.int64), None
            for _ in range(count):
                x = torch.nn.functional.one_hot(ids, VOCABULARY).float()[None]
                h, state = network(x, state)
                ids = torch.multinomial(torch.softmax(output(h[0]) / 0.7, dim=-1), 1)[:, 0]
                ids.tolist()

    return steps


def sgemm(case: Case) -> Steps:
    """The float32 matrix product of the machine: 2 * hidden^3 operations per step."""
    import numpy as np

    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((case.hidden, case.hidden)).astype(np.float32) for _ in range(2))
    out = np.empty_like(a)

    def steps(count: int) -> None:
        for _ in range(count):
            np.matmul(a, b, out=out)

    return steps


PROGRAMS: dict[str, Callable[[Case], Steps]] = {
    "numpy": numpy_train,
    "untiled": untiled_train,
    "reference": partial(reference_train, dtype="float32"),
    "reference-float64": partial(reference_train, dtype="float64"),
    "torch": torch_train,
    "naive": naive_train,
    "numpy-sample": numpy_sample,
    "torch-sample": torch_sample,
    "sgemm": sgemm,
}


def main() -> None:
    program, cell, *sizes = sys.argv[1:]
    case = Case(cell, *map(int, sizes))
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(case.threads)
    steps = PROGRAMS[program](case)
    for line in sys.stdin:
        began = time.perf_counter()
        steps(int(line))
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
