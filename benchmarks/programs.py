"""The two programs that benchmarks/throughput.py times against each other, each in a process of its own.

    python -m benchmarks.programs numpy|torch CELL HIDDEN SEQ_LEN BATCH THREADS

For every line on standard input it takes that many whole training steps (batch, forward, backward,
clip, Adam) and prints the seconds. Both draw windows from the same random ids.
"""

import os
import sys
import time
from collections.abc import Callable

VOCABULARY = 27
CHARACTERS = 200_000
LR, CLIP = 2e-3, 5.0


def numpy_steps(cell: str, hidden: int, seq_len: int, batch: int, threads: int) -> Callable[[int], None]:
    """This project's own training loop, without what only the product adds (averaging, weight decay)."""
    import numpy as np

    from src.config import AdamConfig, Config, ConstantConfig, DataConfig, ModelConfig
    from src.lab.parallel import Engine
    from src.lab.training import Loop
    from src.rnn.parameters import Architecture, initialise
    from src.text.batches import Windows
    from src.text.corpus import Corpus

    rng = np.random.default_rng(0)
    tokens = rng.integers(0, VOCABULARY, CHARACTERS).astype(np.uint8)
    data = DataConfig("random", None, False, False, False, "utf-8", [0.8, 0.2, 0.0], 1)
    config = Config(
        hidden=hidden, seq_len=seq_len, batch_size=batch, workers=threads, lr=LR, clip=CLIP, clip_mode="norm",
        average=0.0, min_delta=0.0, data=data, model=ModelConfig(cell, "uniform"),
        optimizer=AdamConfig("adam", 0.0, 0.9, 0.999, 1e-8), schedule=ConstantConfig("constant", 0),
    )  # fmt: skip
    architecture = Architecture(VOCABULARY, hidden)
    windows = Windows(tokens, seq_len, batch, 1, rng)
    corpus = Corpus.__new__(Corpus)  # the loop asks it for a validation split only
    object.__setattr__(corpus, "tokens", tokens)
    object.__setattr__(corpus, "bounds", {"val": (0, 0)})
    engine = Engine(architecture, seq_len, batch, threads).__enter__()
    engine.weights[:] = initialise(architecture, "uniform", rng)
    loop = Loop(config, architecture, corpus, windows, engine, lambda s, m: None, lambda s, f: None)
    taken = 0

    def steps(count: int) -> None:
        nonlocal taken
        for _ in range(count):
            taken += 1
            loop.step(taken, LR)

    return steps


def torch_steps(cell: str, hidden: int, seq_len: int, batch: int, threads: int) -> Callable[[int], None]:
    """PyTorch's nn.RNN on one-hot inputs with a linear output layer, eager, with its fused Adam."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    kinds = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
    network, output = kinds[cell](VOCABULARY, hidden), torch.nn.Linear(hidden, VOCABULARY)
    parameters = [*network.parameters(), *output.parameters()]
    adam = torch.optim.Adam(parameters, lr=LR, fused=True)
    tokens = torch.randint(0, VOCABULARY, (CHARACTERS,))
    offsets = torch.arange(seq_len + 1)[:, None]
    functional = torch.nn.functional

    def steps(count: int) -> None:
        for _ in range(count):
            window = tokens[torch.randint(0, CHARACTERS - seq_len, (batch,)) + offsets]
            h, _ = network(functional.one_hot(window[:-1], VOCABULARY).float())
            logits = output(h).reshape(-1, VOCABULARY)
            loss = functional.cross_entropy(logits, window[1:].reshape(-1))
            adam.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, CLIP)
            adam.step()
            loss.item()

    return steps


def main() -> None:
    program, cell, *sizes = sys.argv[1:]
    hidden, seq_len, batch, threads = map(int, sizes)
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(threads)
    make = {"numpy": numpy_steps, "torch": torch_steps}[program]
    steps = make(cell, hidden, seq_len, batch, threads)
    for line in sys.stdin:
        began = time.perf_counter()
        steps(int(line))
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
