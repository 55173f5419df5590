"""Cost of one BLAS thread: the time of a whole evaluation with one thread compared with two.

    make bench          (or python -m benchmarks.evaluation_cost)

Scores are computed with one BLAS thread, so they do not depend on the number of cores. Rounds alternate
between one thread and two; the result is the ratio of the fastest of each. Writes
benchmarks/evaluation_cost.json.
"""

import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.determinism import default
from src.common.files import write_json
from src.data.corpus import load_corpus
from src.evaluation.evaluate import evaluate_network
from src.rnn.parameters import RNNConfig, initialize
from src.tracking.environment import environment

RESULT = Path(__file__).with_name("evaluation_cost.json")
ROUNDS = 5
SETTINGS = [(cell, hidden) for cell in ("rnn", "gru", "lstm") for hidden in (128, 512)]
LIMIT = 1.10  # a larger ratio would require parallel evaluation


def main() -> None:
    config = default()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        corpus, _ = load_corpus(config.data, config.seq_len, Path(temporary))
        for cell, hidden in SETTINGS:
            architecture = RNNConfig(len(corpus.vocabulary), hidden, cell, 1, "tanh")
            flat = initialize(architecture, "orthogonal", np.random.default_rng(0))
            best: dict[int, float] = {}
            for _ in range(ROUNDS):
                for threads in (1, 2):
                    (corpus.folder / "baselines.json").unlink(missing_ok=True)
                    began = time.perf_counter()
                    with patch("src.common.process._controller"), threadpool_limits(threads, "blas"):
                        evaluate_network(architecture, flat, corpus, config.seq_len, np.random.default_rng(0))
                    took = time.perf_counter() - began
                    best[threads] = min(took, best.get(threads, took))
            ratio = best[1] / best[2]
            rows.append({"cell": cell, "hidden": hidden, "seconds": best[1], "ratio": ratio})
            print(f"{cell} {hidden}: {best[1]:.2f} s with one thread, {ratio:.3f} times that with two")
    around = environment()
    write_json(
        RESULT, {"evaluations": rows, **{key: around[key] for key in ("processor", "cores", "numerics")}}
    )


if __name__ == "__main__":
    main()
