"""Everything that is reported is computed with one BLAS thread."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from src.common.process import single_blas_thread
from src.data.normalization import Normalization
from src.data.vocabulary import Vocabulary
from src.evaluation import scoring
from src.evaluation.scoring import predict_stateful, predict_stateless
from src.generation import sampling
from src.models.serialization import TrainedModel
from src.rnn import network, step
from src.rnn.parameters import Array, RNNConfig, initialize
from tests.commands import environ, run_process
from tests.small_training import BASE, CORPUS

VOCABULARY = Vocabulary("abcdef")
ARCHITECTURE = RNNConfig(vocab=6, hidden=8)


def blas_threads() -> int:
    """Return the threads of NumPy's BLAS, the first library loaded."""
    return next(int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas")


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    with threadpool_limits(2, user_api="blas"):
        assert blas_threads() == 2
        yield


def test_thread_count_is_restored_after_last_exit() -> None:
    first, second = ExitStack(), ExitStack()
    first.enter_context(single_blas_thread())
    second.enter_context(single_blas_thread())
    assert blas_threads() == 1
    first.close()
    assert blas_threads() == 1, "the outer context is still open"
    second.close()
    assert blas_threads() == 2


def test_nested_context_sets_one_thread_again() -> None:
    with single_blas_thread(), threadpool_limits(2, user_api="blas"), single_blas_thread():
        assert blas_threads() == 1


@pytest.fixture
def flat() -> Array:
    return initialize(ARCHITECTURE, "orthogonal", np.random.default_rng(0))


@pytest.fixture
def thread_counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the threads at each matrix product of a forward pass and of a sampling step."""
    counts: list[int] = []

    def counting_threads(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            counts.append(blas_threads())
            return function(*arguments, **more)

        return call

    monkeypatch.setattr(scoring, "forward", counting_threads(network.forward))
    monkeypatch.setattr(step.Stepper, "step", counting_threads(step.Stepper.step))
    return counts


@pytest.mark.parametrize(
    "score",
    [
        lambda flat, tokens: scoring.validation_loss(ARCHITECTURE, flat, tokens),
        lambda flat, tokens: predict_stateful(ARCHITECTURE, flat, tokens),
        lambda flat, tokens: predict_stateless(ARCHITECTURE, flat, tokens, 7),
    ],
    ids=["validation loss", "carried", "reset"],
)
def test_scores_use_one_blas_thread(
    score: Callable[[Array, Any], object], flat: Array, thread_counts: list[int]
) -> None:
    score(flat, np.random.default_rng(1).integers(0, 6, 3000).astype(np.uint8))
    assert set(thread_counts) == {1}
    assert blas_threads() == 2


@pytest.mark.parametrize("count", [1, 3])
def test_sampling_uses_one_blas_thread(count: int, flat: Array, thread_counts: list[int]) -> None:
    model = TrainedModel(ARCHITECTURE, flat, VOCABULARY, Normalization(False, False, False))
    rng = np.random.default_rng(2)
    list(sampling.sample_many(model, "abc", 0.5, 5, rng, count))
    list(sampling.sample(model, "", 0.5, 5, rng))
    assert set(thread_counts) == {1}
    assert blas_threads() == 2


def test_run_uses_one_blas_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Including diagnostics and figures."""
    from src import runner

    thread_counts = []

    def trainer(*_: object) -> float:
        thread_counts.append(blas_threads())
        return 1 / 0

    monkeypatch.setattr(runner, "Trainer", trainer)
    with pytest.raises(ZeroDivisionError):
        runner.run(BASE, "train", corpus=CORPUS)
    assert thread_counts == [1]
    assert blas_threads() == 2


@pytest.mark.slow
def test_scores_do_not_depend_on_blas_threads(tmp_path: Path) -> None:
    """Run two processes whose BLAS starts with 1 and with 2 threads."""
    outputs = []
    for num_threads in ("1", "2"):
        path_overrides = [
            f"output_dir={tmp_path / num_threads}",
            f"data_dir={tmp_path / 'data'}",
            "tracking=none",
        ]
        small = ["hidden=64", "max_epochs=0.05", "eval_every=100", "length=40", "workers=1", "figures=false"]
        process = run_process(
            [sys.executable, "-m", "src.train", *small, *path_overrides],
            env=environ(OPENBLAS_NUM_THREADS=num_threads),
        )
        assert process.rc == 0, process.err
        (folder,) = (tmp_path / num_threads / "runs").iterdir()
        samples = {file.name: file.read_text() for file in folder.glob("samples/*.txt")}
        evaluation = json.loads((folder / "evaluation.json").read_text())
        outputs.append((json.loads((folder / "scores.json").read_text()), evaluation, samples))
    assert outputs[0] == outputs[1]
