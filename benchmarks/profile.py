"""Profile of a training step: the NumPy calls of one worker's half of the batch, by name.

In the modules of src/rnn `np` is replaced by a wrapper that times each call; the cost of the wrapper is
measured and subtracted. One process with one BLAS thread, like a worker.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import patch

from benchmarks.baselines import VOCABULARY, Case

STEPS = 20
PRODUCTS = ("matmul", "dot")


class Timed:
    """NumPy with the time and the number of calls of each function."""

    def __init__(self, numpy: Any) -> None:
        self.numpy = numpy
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.numpy, name)
        return TimedCall(self, name, found) if isinstance(found, self.numpy.ufunc) else found


class TimedCall:
    """One function; its methods (`reduce`) are not timed."""

    def __init__(self, owner: Timed, name: str, function: Callable[..., Any]) -> None:
        self.owner, self.name, self.function = owner, name, function

    def __call__(self, *args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        result = self.function(*args, **options)
        self.owner.seconds[self.name] += time.perf_counter() - began
        self.owner.calls[self.name] += 1
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self.function, name)


def profile(case: Case) -> dict[str, Any]:
    """Return the milliseconds of one worker's forward and backward pass: total, products, other calls."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    from src.rnn import blocked_matmul, gru, lstm, network, vanilla
    from src.rnn.blocked_matmul import Tiling
    from src.rnn.cells import get_cell
    from src.rnn.parameters import RNNConfig, initialize, unflatten

    rng = np.random.default_rng(0)
    architecture = RNNConfig(VOCABULARY, case.hidden, case.cell)
    batch = max(1, case.batch // case.threads)
    flat = initialize(architecture, "uniform", rng).astype(np.float32)
    p, g = unflatten(architecture, flat), unflatten(architecture, np.empty_like(flat))
    buffers = network.Buffers.allocate(architecture, case.seq_len, batch, training=True)
    ids, targets = rng.integers(VOCABULARY, size=(2, case.seq_len, batch))

    def steps() -> float:
        began = time.perf_counter()
        for _ in range(STEPS):
            network.loss_and_gradient(p, g, ids, targets, buffers)
        return 1e3 * (time.perf_counter() - began) / STEPS

    modules: list[Any] = [gru, lstm, network, blocked_matmul, vanilla]
    with threadpool_limits(1, user_api="blas"):
        steps()
        whole = steps()
        timed = Timed(np)
        overhead = cost_of_timing(timed)
        plain = vars(Tiling)["matmul"].fget

        def timed_product(tiling: Tiling) -> TimedCall:
            function = plain(tiling)  # np.matmul is timed already
            return function if isinstance(function, TimedCall) else TimedCall(timed, "dot", function)

        with ExitStack() as patches:
            for module in modules:
                patches.enter_context(patch.object(module, "np", timed))
            patches.enter_context(patch.object(Tiling, "matmul", property(timed_product)))
            # The activation of this cell was bound when its module was imported.
            patches.callback(get_cell.cache_clear)
            cell = replace(vanilla.TANH, forward=partial(vanilla.forward, activation=timed.tanh))
            patches.enter_context(patch.object(vanilla, "TANH", cell))
            get_cell.cache_clear()
            steps()
    rows = {
        name: (timed.calls[name] / STEPS, 1e3 * (timed.seconds[name] - overhead * timed.calls[name]) / STEPS)
        for name in timed.calls
    }
    return {
        "case": vars(case),
        "batch": batch,
        "milliseconds": whole,
        "products": sum(ms for name, (_, ms) in rows.items() if name in PRODUCTS),
        "product_calls": sum(n for name, (n, _) in rows.items() if name in PRODUCTS),
        "elementwise": sum(ms for name, (_, ms) in rows.items() if name not in PRODUCTS),
        "elementwise_calls": sum(n for name, (n, _) in rows.items() if name not in PRODUCTS),
        "call": 1e3 * cost_of_a_call(),
    }


def cost_of_timing(timed: Timed) -> float:
    """Return the seconds that the wrapper adds to its measurement of a call."""
    import numpy as np

    a = np.zeros(1, np.float32)
    add = TimedCall(timed, "nothing", lambda a, b, out: None)
    for _ in range(1000):
        add(a, a, out=a)
    return timed.seconds.pop("nothing") / timed.calls.pop("nothing")


def cost_of_a_call() -> float:
    """Return the seconds of an element-wise call on an empty array."""
    import numpy as np

    a = np.zeros(1, np.float32)
    began = time.perf_counter()
    for _ in range(10_000):
        np.add(a, a, out=a)
    return (time.perf_counter() - began) / 10_000


def profile_page(rows: list[dict[str, Any]], training: list[dict[str, Any]]) -> list[str]:
    """Return the lines of the table. training: measurements of whole steps, in the same order."""
    lines = [
        "## Parts of a training step",
        "",
        "Forward and backward pass of one worker's part of the batch, in milliseconds, with one process on "
        "the machine. NumPy cannot fuse element-wise calls: each call has a start-up cost "
        f"({1e3 * rows[0]['call']:.2f} microseconds on an empty array) and reads and writes memory, while "
        "PyTorch's LSTM is one compiled kernel. The last column is an upper bound of the ratio to PyTorch: "
        "the ratio if only the products and the element-wise calls took time.",
        "",
        "| cell | hidden, seq_len, batch | pass | products (calls) | element-wise (calls) | rest | bound |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row, whole in zip(rows, training, strict=True):
        c = row["case"]
        theirs = 1e3 * c["seq_len"] * c["batch"] / whole["theirs"]
        rest = row["milliseconds"] - row["products"] - row["elementwise"]
        bound = theirs / (row["products"] + row["elementwise"])
        lines.append(
            f"| {c['cell']} | {c['hidden']}, {c['seq_len']}, {row['batch']} | {row['milliseconds']:.2f} | "
            f"{row['products']:.2f} ({row['product_calls']:.0f}) | "
            f"{row['elementwise']:.2f} ({row['elementwise_calls']:.0f}) | {rest:.2f} | {bound:.2f} |"
        )
    return lines
