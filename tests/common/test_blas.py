"""One BLAS thread wherever something is computed that is reported: nothing depends on the number of cores."""

import json
import subprocess
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
from tests.commands import PROJECT, TIME_LIMIT, environ
from tests.small_training import BASE, CORPUS

VOCABULARY = Vocabulary("abcdef")
ARCHITECTURE = RNNConfig(vocab=6, hidden=8)


def threads() -> int:
    """Threads of NumPy's BLAS: the first, as they are listed in the order in which they were loaded."""
    return next(int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas")


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    with threadpool_limits(2, user_api="blas"):
        assert threads() == 2
        yield


def test_the_number_of_before_comes_back_when_the_last_one_leaves() -> None:
    first, second = ExitStack(), ExitStack()
    first.enter_context(single_blas_thread())
    second.enter_context(single_blas_thread())
    assert threads() == 1
    first.close()
    assert threads() == 1, "somebody still computes"
    second.close()
    assert threads() == 2


def test_who_enters_has_one_thread_though_another_has_changed_it_meanwhile() -> None:
    with single_blas_thread(), threadpool_limits(2, user_api="blas"), single_blas_thread():
        assert threads() == 1


@pytest.fixture
def flat() -> Array:
    return initialize(ARCHITECTURE, "orthogonal", np.random.default_rng(0))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads at each product of a forward pass and of a sampling step."""
    found: list[int] = []

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def watch(*arguments: Any, **more: Any) -> Any:
            found.append(threads())
            return function(*arguments, **more)

        return watch

    monkeypatch.setattr(scoring, "forward", watched(network.forward))
    monkeypatch.setattr(step.Stepper, "step", watched(step.Stepper.step))
    return found


@pytest.mark.parametrize(
    "score",
    [
        lambda flat, tokens: scoring.validation_loss(ARCHITECTURE, flat, tokens),
        lambda flat, tokens: predict_stateful(ARCHITECTURE, flat, tokens),
        lambda flat, tokens: predict_stateless(ARCHITECTURE, flat, tokens, 7),
    ],
    ids=["validation loss", "carried", "reset"],
)
def test_scores_are_computed_with_one_thread(
    score: Callable[[Array, Any], object], flat: Array, seen: list[int]
) -> None:
    score(flat, np.random.default_rng(1).integers(0, 6, 3000).astype(np.uint8))
    assert set(seen) == {1}
    assert threads() == 2


@pytest.mark.parametrize("count", [1, 3])
def test_samples_are_computed_with_one_thread(count: int, flat: Array, seen: list[int]) -> None:
    model = TrainedModel(ARCHITECTURE, flat, VOCABULARY, Normalization(False, False, False))
    rng = np.random.default_rng(2)
    list(sampling.sample_many(model, "abc", 0.5, 5, rng, count))
    list(sampling.sample(model, "", 0.5, 5, rng))
    assert set(seen) == {1}
    assert threads() == 2


def test_a_whole_run_has_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Diagnostics and figures are part of it."""
    from src import runner

    seen = []

    def trainer(*_: object) -> float:
        seen.append(threads())
        return 1 / 0

    monkeypatch.setattr(runner, "Trainer", trainer)
    with pytest.raises(ZeroDivisionError):
        runner.run(BASE, "train", corpus=CORPUS)
    assert seen == [1]
    assert threads() == 2


@pytest.mark.slow
def test_the_same_command_gives_the_same_scores_with_any_number_of_blas_threads(tmp_path: Path) -> None:
    """Whole processes, whose BLAS begins with 1 and with 2 threads; with AVX2 the last digits parted."""
    told = []
    for number in ("1", "2"):
        places = [f"output_dir={tmp_path / number}", f"data_dir={tmp_path / 'data'}", "tracking=none"]
        small = ["hidden=64", "max_epochs=0.2", "eval_every=100", "length=120", "workers=1", "figures=false"]
        done = subprocess.run(
            [sys.executable, "-m", "src.train", *small, *places],
            cwd=PROJECT, env=environ(OPENBLAS_NUM_THREADS=number), capture_output=True, text=True,
            timeout=TIME_LIMIT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (folder,) = (tmp_path / number / "runs").iterdir()
        samples = {file.name: file.read_text() for file in folder.glob("samples/*.txt")}
        evaluation = json.loads((folder / "evaluation.json").read_text())
        told.append((json.loads((folder / "scores.json").read_text()), evaluation, samples))
    assert told[0] == told[1]
