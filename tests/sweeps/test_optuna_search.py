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
from optuna.storages import InMemoryStorage

from src.cli.error_messages import format_error
from src.common.errors import UserError
from src.common.files import CONF
from src.common.process import available_cores
from src.config.resolvers import register_configs
from src.sweeps import hydra_callback
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


def run_trials(storage: Any, sampler: Any, trials: int, batch: int = 1) -> list[Point]:
    """Ask for a batch of trials and report their values, as the plugin does; return all points so far."""
    study = optuna.create_study(study_name="s", storage=storage, sampler=sampler, load_if_exists=True)
    for _ in range(trials // batch):
        trials_asked = [study.ask() for _ in range(batch)]
        for trial in trials_asked:
            trial.suggest_categorical("hidden", [8, 12, 16])
            trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        for trial in trials_asked:
            study.tell(trial, trial.params["hidden"] * trial.params["lr"])
    return [tuple(trial.params.values()) for trial in study.trials]


@pytest.mark.parametrize("batch", [1, 2])
def test_resumed_study_proposes_same_points(batch: int) -> None:
    storage = InMemoryStorage()
    run_trials(storage, tpe(), 4, batch)
    resumed = run_trials(storage, tpe(), 4, batch)
    assert len(set(resumed)) == 8
    assert resumed == run_trials(InMemoryStorage(), tpe(), 8, batch)
    assert not set(resumed) & set(run_trials(InMemoryStorage(), tpe(seed=2), 2, batch))


def test_pending_trial_is_marked_failed() -> None:
    sampler = tpe()
    study = optuna.create_study(sampler=sampler)
    for value in (2.5, None, 1.5):
        trial = study.ask()
        if value is not None:
            study.tell(trial, value)
    sampler.fail_pending_trials()
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "COMPLETE"]


def test_format_value() -> None:
    assert format_value("0.0031622776601683795") == "0.003162"
    for value in ("64", "1e-05", "rnn", "null", "1234567890", "0.5"):
        assert format_value(value) == value


SAMPLER = {"_target_": "src.sweeps.optuna_search.PerTrialSeededSampler"}


def validate(**changed: Any) -> None:
    """Validate the settings of a small search with some of them changed."""
    defaults = {"n_trials": 3, "n_jobs": 1, "max_failure_rate": 1.0, "storage": None, "study_name": "s"}
    validate_settings({**defaults, "direction": ["minimize"], "sampler": SAMPLER | {"seed": 1}, **changed})


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("n_trials", [0, "abc", 1.5, None]),
        ("n_jobs", [True, -1]),
        ("max_failure_rate", [2, float("nan")]),
        ("storage", ["nonsense", "sqlite:////nowhere/at/all.db"]),
    ],
)
def test_invalid_sweeper_value_is_rejected(key: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(UserError, match=rf"^hydra\.sweeper\.{key}: expected .*, got [^\n]*$"):
            validate(**{key: value})


def test_invalid_sampler_seed_is_rejected() -> None:
    validate()
    for seed in (-1, "abc", None, 1.5):
        with pytest.raises(UserError, match=r"^hydra\.sweeper\.sampler\.seed: expected an integer >= 0"):
            validate(sampler=SAMPLER | {"seed": seed})
        validate(sampler={"_target_": "another", "seed": seed})


def test_study_with_other_objectives_is_rejected(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/s.db"
    run_trials(storage, tpe(), 1)
    both = ["minimize", "maximize"]
    validate(storage=storage)
    validate(storage=storage, direction=both, study_name="another")
    with pytest.raises(UserError, match="expected a study that optimizes minimize, maximize, got s, "):
        validate(storage=storage, direction=both)


def test_study_of_other_space_is_reported() -> None:
    storage = InMemoryStorage()
    run_trials(storage, tpe(), 1)
    study = optuna.load_study(study_name="s", storage=storage)
    suggestions: tuple[Callable[[optuna.Trial], object], ...] = (
        lambda trial: trial.suggest_int("lr", 1, 2),
        lambda trial: trial.suggest_float("lr", 1e-4, 1e-1),
        lambda trial: trial.suggest_categorical("hidden", [9]),
    )
    for suggest in suggestions:
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
        yield lambda *overrides: compose("config", [OPTUNA, *overrides], return_hydra_config=True)


def test_study_name_depends_on_config(compose_search: Callable[..., Any]) -> None:
    def name(*overrides: str) -> str:
        return str(compose_search(*overrides).hydra.sweeper.study_name)

    assert re.fullmatch(r"search-[0-9a-f]{8}", name())
    assert name() == name(
        "output_dir=elsewhere", "tracking=none", "skip_finished=true", "hydra.sweeper.n_trials=3"
    )
    others = ("seed=2", "data=shakespeare", "objectives=[val/loss,throughput/chars_per_second]",
              "hydra.sweeper.params={lr: 'interval(0,1)'}")  # fmt: skip
    assert len({name(), *map(name, others)}) == 1 + len(others)
    assert name("experiment=search").startswith("search-")
    assert name("hydra.sweeper.study_name=mine") == "mine"


def test_search_settings_follow_config(compose_search: Callable[..., Any]) -> None:
    default = compose_search().hydra.sweeper
    assert (default.direction, default.n_jobs) == (["minimize"], 1)
    both = compose_search("objectives=[throughput/chars_per_second,val/loss]").hydra.sweeper
    assert both.direction == ["maximize", "minimize"]
    for n_jobs, batch in ((3, 3), (-1, available_cores())):
        config = compose_search("hydra/launcher=joblib", f"hydra.launcher.n_jobs={n_jobs}")
        assert config.hydra.sweeper.n_jobs == batch


@pytest.mark.parametrize("names", ["[]", "[val/loss,val/loss]", "[test/bpc]"])
def test_invalid_objectives_are_rejected(run_cli: RunCli, names: str) -> None:
    error = run_cli("train", f"objectives={names}", body=lambda config: None).error_line
    expected = "one or more of val/loss, throughput/chars_per_second"
    assert error.startswith(f"train: objectives: expected {expected}")


@pytest.mark.parametrize("key", ["data", "data.path", "data.lowercase"])
def test_search_over_texts_is_rejected(compose_search: Callable[..., Any], key: str) -> None:
    config = compose_search()
    with pytest.raises(
        UserError, match=rf"^{key}: expected one text in a search, because losses of different "
    ):
        hydra_callback.validate_search(config, hydra_callback.paths_config(config), ["hidden", key])


def test_sweep_name_of_search(compose_search: Callable[..., Any]) -> None:
    name, keys = "optuna search over hidden, lr", ["hidden", "lr"]
    assert hydra_callback.sweep_name(compose_search(), keys) == name
    assert hydra_callback.sweep_name(compose_search("experiment=search"), keys) == f"search: {name}"
    seeds = compose("config", ["experiment=seeds"], return_hydra_config=True)
    assert hydra_callback.sweep_name(seeds, ["seed"]) == "seeds: sweep over seed"
    assert seeds.hydra.sweeper.params == {"seed": "1,2,3,4,5"}


def test_single_value_is_not_swept() -> None:
    params = {"hidden": "8,16", "lr": "interval(1e-3,1e-1)", "model": "rnn"}
    assert list(hydra_callback.swept_overrides(["hidden=8", "clip=1,5"], params)) == ["clip", "lr"]
