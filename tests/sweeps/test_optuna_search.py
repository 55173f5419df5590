"""Searches with Optuna: what is proposed and told, what is refused, and how they are configured."""

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
from src.sweeps.sweep import format_value

# MLflow warns about its own dependencies.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

OPTUNA = "hydra/sweeper=optuna"
Point = tuple[Any, ...]


# --- what is proposed ---


def tpe(seed: int = 1) -> PerTrialSeededSampler:
    """TPE that learns from the fourth trial on."""
    return PerTrialSeededSampler(partial(optuna.samplers.TPESampler, n_startup_trials=3), seed)


def go_on(storage: str, sampler: Any, trials: int, batch: int = 1) -> None:
    """As the plugin does it: a batch is asked for, then told."""
    study = optuna.create_study(study_name="s", storage=storage, sampler=sampler, load_if_exists=True)
    for _ in range(trials // batch):
        asked = [study.ask() for _ in range(batch)]
        for trial in asked:
            trial.suggest_categorical("hidden", [8, 12, 16])
            trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        for trial in asked:
            study.tell(trial, trial.params["hidden"] * trial.params["lr"])


def points(storage: str) -> list[Point]:
    return [tuple(t.params.values()) for t in optuna.load_study(study_name="s", storage=storage).trials]


@pytest.mark.parametrize("batch", [1, 2])
def test_a_resumed_study_proposes_what_one_that_never_stopped_would(tmp_path: Path, batch: int) -> None:
    resumed, straight = (f"sqlite:///{tmp_path / name}.db" for name in ("resumed", "straight"))
    go_on(resumed, tpe(), 4, batch)
    go_on(resumed, tpe(), 4, batch)
    go_on(straight, tpe(), 8, batch)
    assert len(set(points(resumed))) == 8
    assert points(resumed) == points(straight)


def test_without_our_sampler_a_resumed_study_repeats_itself(tmp_path: Path) -> None:
    """The reason for ours: should Optuna mend it, ours can go."""
    storage = f"sqlite:///{tmp_path}/s.db"
    optuna_search.silence_optuna()
    for _ in range(2):
        go_on(storage, optuna.samplers.TPESampler(seed=1), 3)
    assert points(storage)[:3] == points(storage)[3:]


def test_another_seed_proposes_other_points(tmp_path: Path) -> None:
    first, other = (f"sqlite:///{tmp_path / name}.db" for name in ("first", "other"))
    go_on(first, tpe(1), 3)
    go_on(other, tpe(2), 3)
    assert not set(points(first)) & set(points(other))


# --- what the end of a search leaves ---


def test_a_trial_left_behind_is_told_as_failed() -> None:
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
def test_long_numbers_are_shown_short(value: str, shown: str) -> None:
    assert format_value(value) == shown


# --- what is refused ---


OURS = {"_target_": "src.sweeps.optuna_search.PerTrialSeededSampler"}


def sweeper(**changed: Any) -> dict[str, Any]:
    given = {"n_trials": 3, "n_jobs": 1, "max_failure_rate": 1.0, "storage": None, "study_name": "s"}
    return {**given, "direction": ["minimize"], "sampler": OURS | {"seed": 1}, **changed}


@pytest.mark.parametrize(
    ("key", "value"),
    [("n_trials", 0), ("n_trials", "abc"), ("n_trials", 1.5), ("n_trials", None), ("n_jobs", True),
     ("n_jobs", -1), ("max_failure_rate", 2), ("max_failure_rate", float("nan"))],
)  # fmt: skip
def test_a_sweepers_value_out_of_range_is_refused_by_name(key: str, value: Any) -> None:
    validate_settings(sweeper())
    with pytest.raises(UserError, match=rf"^hydra\.sweeper\.{key}: expected .*, got ") as refused:
        validate_settings(sweeper(**{key: value}))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("seed", [-1, "abc", None, 1.5])
def test_a_samplers_seed_is_a_whole_number(seed: Any) -> None:
    with pytest.raises(UserError, match=r"^hydra\.sweeper\.sampler\.seed: expected an integer >= 0, got "):
        validate_settings(sweeper(sampler=OURS | {"seed": seed}))
    validate_settings(sweeper(sampler={"_target_": "another", "seed": seed}))


@pytest.mark.parametrize("storage", ["nonsense", "sqlite:////nowhere/at/all.db"])
def test_a_store_that_does_not_answer_is_refused(storage: str) -> None:
    with pytest.raises(UserError, match=r"^hydra\.sweeper\.storage: expected the URL") as refused:
        validate_settings(sweeper(storage=storage))
    assert "\n" not in str(refused.value)


def test_a_study_of_other_objectives_is_refused(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/s.db"
    go_on(storage, tpe(), 1)
    validate_settings(sweeper(storage=storage))
    with pytest.raises(UserError, match="expected a study that optimizes minimize, maximize, got s, "):
        validate_settings(sweeper(storage=storage, direction=["minimize", "maximize"]))
    validate_settings(sweeper(storage=storage, direction=["minimize", "maximize"], study_name="another"))


def test_a_study_of_another_space_is_explained(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/s.db"
    go_on(storage, tpe(), 1)
    study = optuna.load_study(study_name="s", storage=storage)
    others: tuple[Callable[[optuna.Trial], object], ...] = (
        lambda trial: trial.suggest_int("lr", 1, 2),
        lambda trial: trial.suggest_float("lr", 1e-4, 1e-1),
        lambda trial: trial.suggest_categorical("hidden", [9]),
    )
    for suggest in others:
        with pytest.raises(ValueError, match=r"distribution|dynamic|log") as error:
            suggest(study.ask())
        line = format_error(error.value, "config")
        assert line is not None
        assert line.startswith("hydra.sweeper.study_name: expected")


# --- the configuration ---


@pytest.fixture
def composed() -> Iterator[Callable[..., Any]]:
    GlobalHydra.instance().clear()
    register_configs()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield lambda *typed: compose("config", [OPTUNA, *typed], return_hydra_config=True)


def test_the_studys_name_stands_for_all_that_decides_what_a_job_comes_to(
    composed: Callable[..., Any],
) -> None:
    def name(*typed: str) -> str:
        return str(composed(*typed).hydra.sweeper.study_name)

    assert re.fullmatch(r"search-[0-9a-f]{8}", name())
    assert name() == name("output_dir=elsewhere", "tracking=none", "skip_finished=true")
    assert name("hydra.sweeper.n_trials=3") == name()
    others = ["seed=2", "data=shakespeare", "objectives=[val/loss,throughput/chars_per_second]",
              "hydra.sweeper.params={lr: 'interval(0,1)'}"]  # fmt: skip
    assert len({name(), *(name(other) for other in others)}) == 1 + len(others)
    assert name("experiment=search").startswith("search-")
    assert name("hydra.sweeper.study_name=mine") == "mine"


def test_the_directions_follow_the_objectives(composed: Callable[..., Any]) -> None:
    assert composed().hydra.sweeper.direction == ["minimize"]
    both = composed("objectives=[throughput/chars_per_second,val/loss]").hydra.sweeper.direction
    assert both == ["maximize", "minimize"]


def test_a_batch_is_as_many_jobs_as_joblib_runs_at_once(composed: Callable[..., Any]) -> None:
    from src.common.process import available_cores

    def batch(*typed: str) -> int:
        return int(composed(*typed).hydra.sweeper.n_jobs)

    assert batch() == 1
    assert batch("hydra/launcher=joblib", "hydra.launcher.n_jobs=3") == 3
    assert batch("hydra/launcher=joblib", "hydra.launcher.n_jobs=-1") == available_cores()


@pytest.mark.parametrize("names", ["[]", "[val/loss,val/loss]", "[test/bpc]"])
def test_objectives_that_are_none_are_refused(typed: Callable[..., Any], names: str) -> None:
    ended = typed("train", f"objectives={names}", body=lambda config: None)
    assert ended.rc == 2
    assert ended.complaint.startswith(
        "train: objectives: expected one or more of val/loss, throughput/chars_per_second"
    )


def test_a_sweep_that_nobody_spelled_out_is_named_after_its_kind(composed: Callable[..., Any]) -> None:
    keys = ["hidden", "lr"]
    assert hydra_callback.sweep_name(composed(), keys) == "optuna search over hidden, lr"
    assert (
        hydra_callback.sweep_name(composed("experiment=search"), keys)
        == "search: optuna search over hidden, lr"
    )
    seeds = compose("config", ["experiment=seeds"], return_hydra_config=True)
    assert hydra_callback.sweep_name(seeds, ["seed"]) == "seeds: sweep over seed"


def test_what_is_typed_with_one_value_is_not_swept() -> None:
    params = {"hidden": "8,16", "lr": "interval(1e-3,1e-1)", "model": "rnn"}
    assert hydra_callback.swept_keys(["hidden=8", "clip=1,5"], params) == ["clip", "lr"]


def test_a_repeat_over_five_seeds_is_what_seeds_means(composed: Callable[..., Any]) -> None:
    assert composed is not None
    config = compose("config", ["experiment=seeds"], return_hydra_config=True)
    assert config.hydra.sweeper.params == {"seed": "1,2,3,4,5"}
