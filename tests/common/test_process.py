"""Everything that is reported is computed with one BLAS thread."""

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
from src.rnn.parameters import RNNConfig, initialize
from tests.commands import environ, run_process
from tests.small_training import BASE, CORPUS

ARCHITECTURE = RNNConfig(vocab=6, hidden=8)


def blas_threads() -> int:
    """Return the threads of NumPy's BLAS, the first library loaded."""
    return next(int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas")


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    with threadpool_limits(2, user_api="blas"):
        assert blas_threads() == 2
        yield


def test_one_thread_until_last_exit() -> None:
    first, second = ExitStack(), ExitStack()
    first.enter_context(single_blas_thread())
    second.enter_context(single_blas_thread())
    assert blas_threads() == 1
    first.close()
    assert blas_threads() == 1, "the outer context is still open"
    second.close()
    assert blas_threads() == 2
    with single_blas_thread(), threadpool_limits(2, user_api="blas"), single_blas_thread():
        assert blas_threads() == 1


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


FLAT = initialize(ARCHITECTURE, "orthogonal", np.random.default_rng(0))
MODEL = TrainedModel(ARCHITECTURE, FLAT, Vocabulary("abcdef"), Normalization(False, False, False))
TOKENS = np.random.default_rng(1).integers(0, 6, 3000).astype(np.uint8)
RNG = np.random.default_rng(2)


@pytest.mark.parametrize(
    "compute",
    [
        lambda: scoring.validation_loss(ARCHITECTURE, FLAT, TOKENS),
        lambda: predict_stateful(ARCHITECTURE, FLAT, TOKENS),
        lambda: predict_stateless(ARCHITECTURE, FLAT, TOKENS, 7),
        lambda: list(sampling.sample(MODEL, "", 0.5, 5, RNG)),
        lambda: list(sampling.sample_many(MODEL, "abc", 0.5, 5, RNG, 1)),
        lambda: list(sampling.sample_many(MODEL, "abc", 0.5, 5, RNG, 3)),
    ],
    ids=["validation loss", "carried", "reset", "sample", "one sample", "samples"],
)
def test_scores_and_samples_use_one_blas_thread(
    compute: Callable[[], object], thread_counts: list[int]
) -> None:
    compute()
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
    small = ["hidden=64", "max_epochs=0.05", "eval_every=100", "length=40", "workers=1", "tracking=none"]
    small += ["figures=false", "diagnostics=false", f"data_dir={tmp_path / 'data'}"]
    outputs = []
    for num_threads in ("1", "2"):
        run_process(
            [sys.executable, "-m", "src.train", *small, f"output_dir={tmp_path / num_threads}"],
            env=environ(OPENBLAS_NUM_THREADS=num_threads),
        ).check()
        (folder,) = (tmp_path / num_threads / "runs").iterdir()
        files = [folder / "scores.json", folder / "evaluation.json", *sorted(folder.glob("samples/*.txt"))]
        outputs.append({file.name: file.read_text() for file in files})
    assert outputs[0] == outputs[1]
