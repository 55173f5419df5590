"""Searches as they are typed: going on, failures, two objectives, side by side, the ready experiments."""

import json
import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState

from src.common.files import CONF

# MLflow warns about its own dependencies.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SMALL = ("max_epochs=0.05", "eval_every=20", "length=20", "workers=1", "diagnostics=false",
         "figures=false")  # fmt: skip
OPTUNA = "hydra/sweeper=optuna"
SEARCH = (OPTUNA, "hidden=choice(8,12,16)", "lr=tag(log,interval(1e-3,1e-1))", "hydra.sweeper.n_trials=3")


def sweep(command: Any, root: Path, *typed: str) -> Any:
    where = [f"output_dir={root / 'outputs'}", f"data_dir={root.parent / 'data'}"]
    return command("src.train", "--multirun", *typed, *SMALL, *where)


def trials(root: Path) -> list[Any]:
    """Of the one study there is."""
    storage = optuna.storages.get_storage(f"sqlite:///{root / 'outputs' / 'optuna.db'}")
    (name,) = optuna.get_all_study_names(storage)
    return list(optuna.load_study(study_name=name, storage=storage).trials)


def best_trials(ended: Any) -> Any:
    """What Hydra's plugin wrote, where the command says."""
    (file,) = re.findall(r"^search: best trials of the study: (.*)$", ended.err, re.M)
    return OmegaConf.to_container(OmegaConf.load(file))


def assert_nothing_of_others(err: str) -> None:
    """Every line of standard error is ours."""
    noise = re.compile(r"warning|deprecat|optuna|sqlalchemy|alembic|traceback|\[I |INFO|Failed exp", re.I)
    assert [line for line in err.splitlines() if noise.search(line)] == []


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search") / "first"


@pytest.fixture(scope="module")
def first(root: Path, command: Any) -> Any:
    return sweep(command, root, *SEARCH)


# --- real searches ---


@pytest.mark.slow
def test_a_search_is_a_sweep_with_a_parent_that_says_what_was_found(first: Any, root: Path) -> None:
    from src.tracking.mlflow_client import connect

    assert first.rc == 0, first.err
    assert_nothing_of_others(first.err)
    assert re.search(r"^search: starting study search-[0-9a-f]{8}$", first.err, re.M)
    client = connect(f"sqlite:///{root / 'outputs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("char-rnn").experiment_id
    (parent,) = client.search_runs([experiment], "tags.stage = 'sweep'")
    assert parent.info.run_name == "hidden=choice(8,12,16) lr=tag(log,interval(1e-3,1e-1))"
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    names = [child.info.run_name for child in children]
    assert len(names) == 3
    assert all(re.fullmatch(r"hidden=(8|12|16) lr=0\.\d{3,6}", name) for name in names), names
    told = trials(root)
    for child in children:  # as it was proposed, to the last digit
        drawn = {"hidden": int(child.data.params["hidden"]), "lr": float(child.data.params["lr"])}
        (trial,) = [t for t in told if t.params == drawn]
        assert trial.value == pytest.approx(child.data.metrics["val/loss"])
    assert json.loads(parent.data.tags["sweep.keys"]) == ["hidden", "lr"]
    best = min(told, key=lambda trial: trial.value)
    assert best_trials(first)["best_params"] == best.params
    assert f"best: hidden={best.params['hidden']} lr=" in first.out


@pytest.mark.slow
def test_the_same_line_typed_again_goes_on_with_new_points(first: Any, root: Path, command: Any) -> None:
    assert first.rc == 0
    ended = sweep(command, root, *SEARCH, "tracking=none")
    assert ended.rc == 0, ended.err
    assert re.search(r"^search: resuming study search-[0-9a-f]{8}, 3 trials$", ended.err, re.M)
    drawn = [tuple(trial.params.values()) for trial in trials(root)]
    assert len(drawn) == len(set(drawn)) == 6
    best = min(trials(root), key=lambda trial: trial.value)
    assert best_trials(ended)["best_value"] == best.value, "of the trials of earlier commands, too"


@pytest.mark.slow
def test_a_job_that_fails_does_not_end_the_search(command: Any, root: Path) -> None:
    where = root.with_name("failing")
    ended = sweep(command, where, OPTUNA, "hidden=8,0", "hydra.sweeper.n_trials=4", "tracking=none")
    assert ended.rc == 1, ended.err
    assert_nothing_of_others(ended.err)
    states = [(trial.params["hidden"], trial.state) for trial in trials(where)]
    assert {state for hidden, state in states if hidden == 8} == {TrialState.COMPLETE}
    assert {state for hidden, state in states if hidden == 0} == {TrialState.FAIL}
    assert len(states) == 4
    assert "FAILED hidden=0: hidden: expected an integer >= 1, got 0" in ended.err
    assert "best: hidden=8" in ended.out


@pytest.mark.slow
def test_a_search_of_which_every_job_fails_ends_without_a_traceback(command: Any, root: Path) -> None:
    where = root.with_name("pruned")
    ended = sweep(command, where, OPTUNA, "hidden=0,-1", "hydra.sweeper.n_trials=2", "tracking=none")
    assert ended.rc == 1
    assert_nothing_of_others(ended.err)
    assert "train: expected at least one finished job, got none" in ended.err


@pytest.mark.slow
def test_two_objectives_make_a_front(command: Any, root: Path) -> None:
    where = root.with_name("two")
    objectives = "objectives=[val/loss,throughput/chars_per_second]"
    asked = (OPTUNA, "hidden=int(interval(4,32))", objectives, "tracking=none", "hydra.sweeper.n_trials=2")
    ended = sweep(command, where, *asked)
    assert ended.rc == 0, ended.err
    assert_nothing_of_others(ended.err)
    told = trials(where)
    assert all(len(trial.values) == 2 and trial.values[1] > 1000 for trial in told)
    assert all(set(one["params"]) == {"hidden"} for one in best_trials(ended)["solutions"])
    # A reused job tells both, as measured then.
    again = sweep(command, where, "hydra/sweeper=optuna", *asked[1:3], "tracking=none", "skip_finished=true",
                  "hydra.sweeper.n_trials=2", "hydra.sweeper.study_name=again")  # fmt: skip
    assert again.rc == 0, again.err
    assert again.err.count("reused run") == 2
    storage = f"sqlite:///{where / 'outputs' / 'optuna.db'}"
    reused = optuna.load_study(study_name="again", storage=storage).trials
    for before, after in zip(told, reused, strict=True):
        assert after.params == before.params
        assert after.values == pytest.approx(before.values)


@pytest.mark.slow
def test_a_search_runs_side_by_side(command: Any, root: Path) -> None:
    where = root.with_name("parallel")
    ended = sweep(
        command, where, OPTUNA, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
        "hidden=int(interval(8,64))", "hydra.sweeper.n_trials=4", "tracking=none",
    )  # fmt: skip
    assert ended.rc == 0, ended.err
    assert_nothing_of_others(ended.err)
    told = trials(where)
    assert [trial.state for trial in told] == [TrialState.COMPLETE] * 4
    spans = [(trial.datetime_start, trial.datetime_complete) for trial in told]
    assert spans[1][0] < spans[0][1]  # the second is begun before the first has ended


# --- the ready ones ---


@pytest.mark.slow
def test_the_ready_search_runs(command: Any, root: Path) -> None:
    where = root.with_name("ready")
    ended = sweep(command, where, "experiment=search", "hidden=tag(log,int(interval(8,16)))",
                  "hydra.sweeper.n_trials=2", "tracking=none")  # fmt: skip
    assert ended.rc == 0, ended.err
    assert_nothing_of_others(ended.err)
    keys = {"hidden", "seq_len", "lr", "clip", "patience", "temperature", "model"}
    assert [set(trial.params) for trial in trials(where)] == [keys, keys]
    assert "sweep search: optuna search over hidden, seq_len" in " ".join(ended.out.split())


@pytest.mark.slow
def test_the_ready_repeat_says_mean_and_deviation(command: Any, root: Path) -> None:
    ended = sweep(command, root.with_name("seeds"), "experiment=seeds", "hidden=8,12", "seed=1,2",
                  "tracking=none")  # fmt: skip
    assert ended.rc == 0, ended.err
    for hidden in (8, 12):
        line = rf"^hidden={hidden}: val/loss \d\.\d{{4}} \+- \d\.\d{{4}}, .* over 2 seeds$"
        assert re.search(line, ended.out, re.M), ended.out


@pytest.mark.slow
def test_the_ready_ablation_makes_every_change_once(command: Any, root: Path) -> None:
    where = root.with_name("ablation")
    ended = sweep(command, where, "experiment=ablation", "hidden=8", "tracking=none")
    assert ended.rc == 0, ended.err
    configs = {}
    for file in (where / "outputs" / "runs").glob("*/sweep.json"):
        name = json.loads(file.read_text())["swept"]["variant"].removeprefix("ablation/")
        configs[name] = json.loads((file.parent / "config.json").read_text())
    assert configs.keys() == {file.stem for file in (CONF / "variant" / "ablation").glob("*.yaml")}
    default = configs.pop("none")
    for name, config in configs.items():
        changed = {key for key in default if config[key] != default[key]}
        assert len(changed) == (2 if name == "streams" else 1), (name, changed)
    assert configs["no_schedule"]["schedule"]["_target_"] == "src.rnn.schedules.Constant"
    assert configs["no_clipping"]["clip"] is None
