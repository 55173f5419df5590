"""The same config, seed and number of workers give bit-identical weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from src.config.schema import Config
from src.data.corpus import load_corpus
from src.rnn.parameters import Array
from src.training.trainer import Trainer
from tests.commands import RunCli
from tests.small_training import Recorder

TINY = ("hidden=16", "max_epochs=0.02", "figures=false", "schedule.warmup_steps=5", "ema_decay=0.9",
        "batch_size=64", "patience=null")  # fmt: skip
# Bounds of the relative difference of weights and val/loss after 24 steps with 1, 2 and 4 workers.
# There is no derived bound: Adam normalizes gradients that are only rounding errors.
# Measured: 8e-8 and 5e-10; a lost worker would give 1e-2.
# benchmarks/determinism.json has the whole default training.
WEIGHTS, LOSS = 1e-5, 1e-6

pytestmark = pytest.mark.slow


@pytest.fixture
def train(run_cli: RunCli, data: Path) -> Callable[..., tuple[Array, float]]:
    """Return the final weights and val/loss of a training run."""

    def train(*arguments: str) -> tuple[Array, float]:
        configs: list[Config] = []
        assert run_cli("train", *TINY, *arguments, body=configs.append).rc == 0
        (config,) = configs
        corpus, _ = load_corpus(config.data, config.seq_len, data)
        recorder = Recorder()
        result = Trainer(config, corpus).fit(recorder, [recorder])
        assert recorder.seen[result.steps].dtype == np.float32
        return recorder.seen[result.steps], recorder.curve("val/loss")[result.steps]

    return train


def test_workers_change_only_rounding(train: Any) -> None:
    by_workers = {workers: train(f"workers={workers}") for workers in (1, 2, 4)}
    flat, loss = train("workers=4")
    assert (flat.tobytes(), loss) == (by_workers[4][0].tobytes(), by_workers[4][1])
    flat, loss = by_workers[1]
    assert flat.tobytes() != by_workers[2][0].tobytes(), "the comparison needs different bits"
    for other, other_loss in (by_workers[2], by_workers[4]):
        assert np.linalg.norm(flat - other) / np.linalg.norm(flat) < WEIGHTS
        assert abs(loss - other_loss) / loss < LOSS


def test_blas_threads_do_not_change_weights(train: Any) -> None:
    bits = set()
    for threads in (1, 2, 4):
        with threadpool_limits(threads, user_api="blas"):
            flat, loss = train("workers=1")
        bits.add((flat.tobytes(), loss))
    assert len(bits) == 1


def test_evaluation_settings_do_not_change_training(run_cli: RunCli, data: Path, tmp_path: Path) -> None:
    """Evaluations, logging and samples have no effect."""
    settings = {
        "seldom": ("eval_every=1000", "log_every=1000", "length=0"),
        "often": ("eval_every=3", "log_every=1", "prompt=o ", "temperature=1.3", "length=50"),
        "greedy": ("eval_every=8", "log_every=7", "prompt=", "temperature=0"),
    }
    all_scores = []
    for name, arguments in settings.items():
        path_overrides = (f"output_dir={tmp_path / name}", f"data_dir={data}", "tracking=none", "workers=1")
        result = run_cli("train", *TINY, *arguments, *path_overrides).check()
        (file,) = (tmp_path / name / "runs").glob("*/scores.json")
        scores = json.loads(file.read_text())
        del scores["job_digest"]  # depends on the config
        all_scores.append({key: value for key, value in scores.items() if not key.startswith("sample/")})
        assert "kept the weights of step 24," in result.err, "all three keep the last step"
    assert all_scores[0] == all_scores[1] == all_scores[2]
