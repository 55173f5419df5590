"""Differences between training runs with 1, 2 and 4 workers, with the default config.

    make bench          (or python -m benchmarks.determinism)

Each training runs twice, once with one BLAS thread outside of training and once with two: the same number of
workers must give the same bits. Different numbers of workers sum the gradient in another order, so the last
bits of a float32 differ from the first step on, and training amplifies the difference. Writes
benchmarks/determinism.json.
"""

import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from threadpoolctl import threadpool_limits

from src.common.callback import Callback
from src.common.files import CONF, write_json
from src.config.resolvers import register_configs
from src.data.corpus import Corpus, load_corpus
from src.rnn.parameters import Array
from src.tracking.environment import environment
from src.training.callbacks import NullLogger
from src.training.trainer import Trainer

WORKERS = (1, 2, 4)
SHOWN = (10, 100, 1000)  # steps that are reported in addition to the last
RESULT = Path(__file__).with_name("determinism.json")


def default(*overrides: str) -> Any:
    """Return the default config."""
    register_configs()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_object(compose("config", list(overrides)))


def trained(config: Any, corpus: Corpus, workers: int) -> dict[int, tuple[Array, float]]:
    """Return the evaluated weights and their val/loss at the reported steps."""
    seen: dict[int, tuple[Array, float]] = {}

    class Recorder(Callback):
        def on_validation_end(self, trainer: Trainer, val_loss: float) -> None:
            for old in seen.keys() - {*SHOWN}:
                del seen[old]
            seen[trainer.step] = (trainer.eval_params.copy(), val_loss)

    Trainer(attrs.evolve(config, workers=workers), corpus).fit(NullLogger(), [Recorder()])
    return seen


def same(one: dict[int, tuple[Array, float]], other: dict[int, tuple[Array, float]]) -> bool:
    return one.keys() == other.keys() and all(
        one[step][0].tobytes() == other[step][0].tobytes() and one[step][1] == other[step][1] for step in one
    )


def main() -> None:
    config = default("eval_every=10", "patience=null")
    runs, repeats = {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        corpus, _ = load_corpus(config.data, config.seq_len, Path(temporary))
        for workers in WORKERS:
            both = []
            for threads in (1, 2):
                with threadpool_limits(threads, user_api="blas"):
                    both.append(trained(config, corpus, workers))
            runs[workers], repeats[workers] = both[0], same(*both)
            print(
                f"workers={workers}: the same bits twice: {'yes' if repeats[workers] else 'NO'}", flush=True
            )
    rows = []
    for one, other in combinations(WORKERS, 2):
        for step in runs[one]:
            (a, loss_a), (b, loss_b) = runs[one][step], runs[other][step]
            row = {
                "workers": [one, other],
                "step": step,
                "weights": float(np.linalg.norm(a - b) / np.linalg.norm(a)),
                "val_loss": abs(loss_a - loss_b) / loss_a,
            }
            rows.append(row)
            print(
                f"workers={one} and {other}, step {step}: weights {row['weights']:.1e}, val/loss "
                f"{row['val_loss']:.1e} (relative)"
            )
    around = environment()
    surroundings = {key: around[key] for key in ("processor", "cores", "numerics", "packages")}
    write_json(RESULT, {"repeats": repeats, "differences": rows, **surroundings})


if __name__ == "__main__":
    main()
