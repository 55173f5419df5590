"""Optuna searches: proposals, pending trials, errors and config."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from optuna.trial import TrialState

from src.cli.error_messages import format_error
from src.common.errors import UserError
from src.common.files import CONF
from src.config.resolvers import register_configs
from src.sweeps import hydra_callback, optuna_search
from src.sweeps.optuna_search import PerTrialSeededSampler, validate_settings
from src.tracking.sweep import format_value
from tests.commands import RunCli
from tests.conftest import ignore_mlflow_warnings

pytestmark = [pytest.mark.slow, ignore_mlflow_warnings]

OPTUNA = "hydra/sweeper=optuna"
Point = tuple[Any, ...]


def tpe(seed: int = 1) -> PerTrialSeededSampler:
    """Return a TPE sampler that learns from the fourth trial."""
    return PerTrialSeededSampler(partial(optuna.samplers.TPESampler, n_startup_trials=3), seed)


def run_trials(storage: str, sampler: Any, trials: int, batch: int = 1) -> None:
    """Ask for a batch of trials and report their values, as the plugin does."""
    study = optuna.create_study(study_name="s", storage=storage, sampler=sampler, load_if_exists=True)
    for _ in range(trials // batch):
        trials_asked = [study.ask() for _ in range(batch)]
        for trial in trials_asked:
            trial.suggest_categorical("hidden", [8, 12, 16])
            trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        for trial in trials_asked:
            study.tell(trial, trial.params["hidden"] * trial.params["lr"])


def points(storage: str) -> list[Point]:
    return [tuple(t.params.values()) for t in optuna.load_study(study_name="s", storage=storage).trials]


@pytest.mark.parametrize("batch", [1, 2])
def test_resumed_study_proposes_same_points(tmp_path: Path, batch: int) -> None:
    resumed, uninterrupted = (f"sqlite:///{tmp_path / name}.db" for name in ("resumed", "straight"))
    run_trials(resumed, tpe(), 4, batch)
    run_trials(resumed, tpe(), 4, batch)
    run_trials(uninterrupted, tpe(), 8, batch)
    assert len(set(points(resumed))) == 8
    assert points(resumed) == points(uninterrupted)


def test_plain_sampler_repeats_points(tmp_path: Path) -> None:
    """The reason for PerTrialSeededSampler."""
    storage = f"sqlite:///{tmp_path}/s.db"
    optuna_search.silence_optuna()
    for _ in range(2):
        run_trials(storage, optuna.samplers.TPESampler(seed=1), 3)
    assert points(storage)[:3] == points(storage)[3:]


def test_proposals_depend_on_seed(tmp_path: Path) -> None:
    first, other = (f"sqlite:///{tmp_path / name}.db" for name in ("first", "other"))
    run_trials(first, tpe(1), 3)
    run_trials(other, tpe(2), 3)
    assert not set(points(first)) & set(points(other))


def test_pending_trial_is_marked_failed() -> None:
    sampler = tpe()
    study = optuna.create_study(sampler=sampler)
    for value in (2.5, None, 1.5):
        trial = study.ask()
        trial.suggest_int("hidden", 8, 16)
        if value is not None:
            study.tell(trial, value)
    sampler.fail_pending_trials()
    complete, fail = TrialState.COMPLETE, TrialState.FAIL
    assert [trial.state for trial in study.trials] == [complete, fail, complete]


@pytest.mark.parametrize(
    ("value", "shown"),
    [("0.0031622776601683795", "0.003162"), ("64", "64"), ("1e-05", "1e-05"), ("rnn", "rnn"),
     ("null", "null"), ("1234567890", "1234567890"), ("0.5", "0.5")],
)  # fmt: skip
def test_format_value(value: str, shown: str) -> None:
    assert format_value(value) == shown


SAMPLER = {"_target_": "src.sweeps.optuna_search.PerTrialSeededSampler"}


def sweeper_config(**changed: Any) -> dict[str, Any]:
    defaults = {"n_trials": 3, "n_jobs": 1, "max_failure_rate": 1.0, "storage": None, "study_name": "s"}
    return {**defaults, "direction": ["minimize"], "sampler": SAMPLER | {"seed": 1}, **changed}


@pytest.mark.parametrize(
    ("key", "value"),
    [("n_trials", 0), ("n_trials", "abc"), ("n_trials", 1.5), ("n_trials", None), ("n_jobs", True),
     ("n_jobs", -1), ("max_failure_rate", 2), ("max_failure_rate", float("nan"))],
)  # fmt: skip
def test_invalid_sweeper_value_is_rejected(key: str, value: Any) -> None:
    validate_settings(sweeper_config())
    with pytest.raises(UserError, match=rf"^hydra\.sweeper\.{key}: expected .*, got ") as error:
        validate_settings(sweeper_config(**{key: value}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seed", [-1, "abc", None, 1.5])
def test_invalid_sampler_seed_is_rejected(seed: Any) -> None:
    with pytest.raises(UserError, match=r"^hydra\.sweeper\.sampler\.seed: expected an integer >= 0, got "):
        validate_settings(sweeper_config(sampler=SAMPLER | {"seed": seed}))
    validate_settings(sweeper_config(sampler={"_target_": "another", "seed": seed}))


@pytest.mark.parametrize("storage", ["nonsense", "sqlite:////nowhere/at/all.db"])
def test_unreachable_storage_is_rejected(storage: str) -> None:
    with pytest.raises(UserError, match=r"^hydra\.sweeper\.storage: expected the URL") as error:
        validate_settings(sweeper_config(storage=storage))
    assert "\n" not in str(error.value)


def test_study_with_other_objectives_is_rejected(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/s.db"
    run_trials(storage, tpe(), 1)
    validate_settings(sweeper_config(storage=storage))
    with pytest.raises(UserError, match="expected a study that optimizes minimize, maximize, got s, "):
        validate_settings(sweeper_config(storage=storage, direction=["minimize", "maximize"]))
    validate_settings(
        sweeper_config(storage=storage, direction=["minimize", "maximize"], study_name="another")
    )


def test_study_of_other_space_is_reported(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/s.db"
    run_trials(storage, tpe(), 1)
    study = optuna.load_study(study_name="s", storage=storage)
    invalid_suggestions: tuple[Callable[[optuna.Trial], object], ...] = (
        lambda trial: trial.suggest_int("lr", 1, 2),
        lambda trial: trial.suggest_float("lr", 1e-4, 1e-1),
        lambda trial: trial.suggest_categorical("hidden", [9]),
    )
    for suggest in invalid_suggestions:
        with pytest.raises(ValueError, match=r"distribution|dynamic|log") as error:
            suggest(study.ask())
        line = format_error(error.value, "config")
        assert line is not None
        assert line.startswith("hydra.sweeper.study_name: expected")


@pytest.fixture
def compose_search() -> Iterator[Callable[..., Any]]:
    GlobalHydra.instance().clear()
    register_configs()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield lambda *run_cli: compose("config", [OPTUNA, *run_cli], return_hydra_config=True)


def test_study_name_depends_on_config(compose_search: Callable[..., Any]) -> None:
    def name(*run_cli: str) -> str:
        return str(compose_search(*run_cli).hydra.sweeper.study_name)

    assert re.fullmatch(r"search-[0-9a-f]{8}", name())
    assert name() == name("output_dir=elsewhere", "tracking=none", "skip_finished=true")
    assert name("hydra.sweeper.n_trials=3") == name()
    invalid_suggestions = ["seed=2", "data=shakespeare", "objectives=[val/loss,throughput/chars_per_second]",
              "hydra.sweeper.params={lr: 'interval(0,1)'}"]  # fmt: skip
    assert len({name(), *(name(other) for other in invalid_suggestions)}) == 1 + len(invalid_suggestions)
    assert name("experiment=search").startswith("search-")
    assert name("hydra.sweeper.study_name=mine") == "mine"


def test_directions_follow_objectives(compose_search: Callable[..., Any]) -> None:
    assert compose_search().hydra.sweeper.direction == ["minimize"]
    both = compose_search("objectives=[throughput/chars_per_second,val/loss]").hydra.sweeper.direction
    assert both == ["maximize", "minimize"]


def test_batch_size_is_joblib_n_jobs(compose_search: Callable[..., Any]) -> None:
    from src.common.process import available_cores

    def batch(*run_cli: str) -> int:
        return int(compose_search(*run_cli).hydra.sweeper.n_jobs)

    assert batch() == 1
    assert batch("hydra/launcher=joblib", "hydra.launcher.n_jobs=3") == 3
    assert batch("hydra/launcher=joblib", "hydra.launcher.n_jobs=-1") == available_cores()


@pytest.mark.parametrize("names", ["[]", "[val/loss,val/loss]", "[test/bpc]"])
def test_invalid_objectives_are_rejected(run_cli: RunCli, names: str) -> None:
    result = run_cli("train", f"objectives={names}", body=lambda config: None)
    assert result.error_line.startswith(
        "train: objectives: expected one or more of val/loss, throughput/chars_per_second"
    )


def test_sweep_name_of_search(compose_search: Callable[..., Any]) -> None:
    keys = ["hidden", "lr"]
    assert hydra_callback.sweep_name(compose_search(), keys) == "optuna search over hidden, lr"
    assert (
        hydra_callback.sweep_name(compose_search("experiment=search"), keys)
        == "search: optuna search over hidden, lr"
    )
    seeds = compose("config", ["experiment=seeds"], return_hydra_config=True)
    assert hydra_callback.sweep_name(seeds, ["seed"]) == "seeds: sweep over seed"


def test_single_value_is_not_swept() -> None:
    params = {"hidden": "8,16", "lr": "interval(1e-3,1e-1)", "model": "rnn"}
    assert hydra_callback.swept_keys(["hidden=8", "clip=1,5"], params) == ["clip", "lr"]


def test_experiment_seeds_has_five_seeds(compose_search: Callable[..., Any]) -> None:
    assert compose_search is not None
    config = compose("config", ["experiment=seeds"], return_hydra_config=True)
    assert config.hydra.sweeper.params == {"seed": "1,2,3,4,5"}
