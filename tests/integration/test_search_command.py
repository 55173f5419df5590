"""Optuna searches on the command line: resuming, failures, objectives, parallel jobs, the bundled
experiments."""

import json
import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState

from src.common.files import CONF
from tests.commands import RunCli
from tests.conftest import ignore_mlflow_warnings
from tests.mlflow_queries import connect

pytestmark = [pytest.mark.slow, ignore_mlflow_warnings]

SMALL = ("max_epochs=0.05", "eval_every=20", "length=20", "workers=1", "diagnostics=false",
         "figures=false")  # fmt: skip
OPTUNA = "hydra/sweeper=optuna"
SEARCH = (OPTUNA, "hidden=choice(8,12,16)", "lr=tag(log,interval(1e-3,1e-1))", "hydra.sweeper.n_trials=3")


def sweep(command: RunCli, root: Path, *arguments: str) -> Any:
    search_root = [f"output_dir={root / 'outputs'}", f"data_dir={root.parent / 'data'}"]
    return command("src.train", "--multirun", *arguments, *SMALL, *search_root)


def load_trials(root: Path) -> list[Any]:
    """Return the trials of the only study."""
    storage = optuna.storages.get_storage(f"sqlite:///{root / 'outputs' / 'optuna.db'}")
    (name,) = optuna.get_all_study_names(storage)
    return list(optuna.load_study(study_name=name, storage=storage).trials)


def best_trials(result: Any) -> Any:
    """Return the best trials from the file of Hydra's plugin, whose path the command prints."""
    (file,) = re.findall(r"^search: best trials of the study: (.*)$", result.err, re.M)
    return OmegaConf.to_container(OmegaConf.load(file))


def assert_no_library_output(err: str) -> None:
    """Standard error has only lines of this project."""
    noise = re.compile(r"warning|deprecat|optuna|sqlalchemy|alembic|traceback|\[I |INFO|Failed exp", re.I)
    assert [line for line in err.splitlines() if noise.search(line)] == []


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search") / "first"


@pytest.fixture(scope="module")
def search_result(root: Path, command: RunCli) -> Any:
    return sweep(command, root, *SEARCH)


def test_search_has_parent_run_with_best_trial(search_result: Any, root: Path) -> None:
    assert search_result.rc == 0, search_result.err
    assert_no_library_output(search_result.err)
    assert re.search(r"^search: starting study search-[0-9a-f]{8}$", search_result.err, re.M)
    client = connect(f"sqlite:///{root / 'outputs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("char-rnn").experiment_id
    (parent,) = client.search_runs([experiment], "tags.stage = 'sweep'")
    assert parent.info.run_name == "hidden=choice(8,12,16) lr=tag(log,interval(1e-3,1e-1))"
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    names = [child.info.run_name for child in children]
    assert len(names) == 3
    assert all(re.fullmatch(r"hidden=(8|12|16) lr=0\.\d{3,6}", name) for name in names), names
    study_trials = load_trials(root)
    for child in children:  # exactly the proposed values
        params = {"hidden": int(child.data.params["hidden"]), "lr": float(child.data.params["lr"])}
        (trial,) = [t for t in study_trials if t.params == params]
        assert trial.value == pytest.approx(child.data.metrics["val/loss"])
    assert json.loads(parent.data.tags["sweep.keys"]) == ["hidden", "lr"]
    best = min(study_trials, key=lambda trial: trial.value)
    assert best_trials(search_result)["best_params"] == best.params
    assert f"best: hidden={best.params['hidden']} lr=" in search_result.out


def test_repeated_search_resumes_study(search_result: Any, root: Path, command: RunCli) -> None:
    assert search_result.rc == 0
    result = sweep(command, root, *SEARCH, "tracking=none").check()
    assert re.search(r"^search: resuming study search-[0-9a-f]{8}, 3 trials$", result.err, re.M)
    study_trials = load_trials(root)
    params = [tuple(trial.params.values()) for trial in study_trials]
    assert len(params) == len(set(params)) == 6
    best = min(study_trials, key=lambda trial: trial.value)
    assert best_trials(result)["best_value"] == best.value, "including trials of earlier commands"


def test_failed_job_does_not_end_search(command: RunCli, root: Path) -> None:
    search_root = root.with_name("failing")
    result = sweep(command, search_root, OPTUNA, "hidden=8,0", "hydra.sweeper.n_trials=4", "tracking=none")
    assert result.rc == 1, result.err
    assert_no_library_output(result.err)
    states = [(trial.params["hidden"], trial.state) for trial in load_trials(search_root)]
    assert {state for hidden, state in states if hidden == 8} == {TrialState.COMPLETE}
    assert {state for hidden, state in states if hidden == 0} == {TrialState.FAIL}
    assert len(states) == 4
    assert "FAILED hidden=0: hidden: expected an integer >= 1, got 0" in result.err
    assert "best: hidden=8" in result.out


def test_search_with_only_failed_jobs(command: RunCli, root: Path) -> None:
    search_root = root.with_name("pruned")
    result = sweep(command, search_root, OPTUNA, "hidden=0,-1", "hydra.sweeper.n_trials=2", "tracking=none")
    assert result.rc == 1
    assert_no_library_output(result.err)
    assert "train: expected at least one finished job, got none" in result.err


def test_two_objectives_give_pareto_front(command: RunCli, root: Path) -> None:
    search_root = root.with_name("two")
    objectives = "objectives=[val/loss,throughput/chars_per_second]"
    overrides = (
        OPTUNA,
        "hidden=int(interval(4,32))",
        objectives,
        "tracking=none",
        "hydra.sweeper.n_trials=2",
    )
    result = sweep(command, search_root, *overrides).check()
    assert_no_library_output(result.err)
    study_trials = load_trials(search_root)
    assert all(len(trial.values) == 2 and trial.values[1] > 1000 for trial in study_trials)
    assert all(set(solution["params"]) == {"hidden"} for solution in best_trials(result)["solutions"])
    # A reused job has both values.
    again = sweep(
        command,
        search_root,
        "hydra/sweeper=optuna",
        *overrides[1:3],
        "tracking=none",
        "skip_finished=true",
        "hydra.sweeper.n_trials=2",
        "hydra.sweeper.study_name=again",
    ).check()
    assert again.err.count("reused run") == 2
    storage = f"sqlite:///{search_root / 'outputs' / 'optuna.db'}"
    reused = optuna.load_study(study_name="again", storage=storage).trials
    for before, after in zip(study_trials, reused, strict=True):
        assert after.params == before.params
        assert after.values == pytest.approx(before.values)


def test_parallel_search(command: RunCli, root: Path) -> None:
    search_root = root.with_name("parallel")
    result = sweep(
        command, search_root, OPTUNA, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
        "hidden=int(interval(8,64))", "hydra.sweeper.n_trials=4", "tracking=none",
    ).check()  # fmt: skip
    assert_no_library_output(result.err)
    study_trials = load_trials(search_root)
    assert [trial.state for trial in study_trials] == [TrialState.COMPLETE] * 4
    spans = [(trial.datetime_start, trial.datetime_complete) for trial in study_trials]
    assert spans[1][0] < spans[0][1]  # the second trial starts before the first ends


def test_experiment_search(command: RunCli, root: Path) -> None:
    search_root = root.with_name("ready")
    result = sweep(command, search_root, "experiment=search", "hidden=tag(log,int(interval(8,16)))",
                  "hydra.sweeper.n_trials=2", "tracking=none").check()  # fmt: skip
    assert_no_library_output(result.err)
    keys = {"hidden", "seq_len", "lr", "clip", "patience", "temperature", "model"}
    assert [set(trial.params) for trial in load_trials(search_root)] == [keys, keys]
    assert "sweep search: optuna search over hidden, seq_len" in " ".join(result.out.split())


def test_experiment_seeds_reports_mean_and_deviation(command: RunCli, root: Path) -> None:
    result = sweep(command, root.with_name("seeds"), "experiment=seeds", "hidden=8,12", "seed=1,2",
                  "tracking=none").check()  # fmt: skip
    for hidden in (8, 12):
        line = rf"^hidden={hidden}: val/loss \d\.\d{{4}} \+- \d\.\d{{4}}, .* over 2 seeds$"
        assert re.search(line, result.out, re.M), result.out


def test_experiment_ablation_changes_one_key_per_job(command: RunCli, root: Path) -> None:
    search_root = root.with_name("ablation")
    sweep(command, search_root, "experiment=ablation", "hidden=8", "tracking=none").check()
    configs = {}
    for file in (search_root / "outputs" / "runs").glob("*/sweep.json"):
        name = json.loads(file.read_text())["swept"]["variant"].removeprefix("ablation/")
        configs[name] = json.loads((file.parent / "config.json").read_text())
    assert configs.keys() == {file.stem for file in (CONF / "variant" / "ablation").glob("*.yaml")}
    default = configs.pop("none")
    for name, config in configs.items():
        changed = {key for key in default if config[key] != default[key]}
        assert len(changed) == (2 if name == "streams" else 1), (name, changed)
    assert configs["no_schedule"]["schedule"]["_target_"] == "src.rnn.schedules.Constant"
    assert configs["no_clipping"]["clip"] is None
