"""Optuna searches on the command line: resuming, failures, objectives, parallel jobs, the bundled
experiments."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import optuna
import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState

from src.common.files import CONF
from src.common.job_result import read_results
from src.config.schema import Config
from src.sweeps import job as sweep_job
from src.tracking.sweep import Job
from tests.commands import CommandResult, RunCli
from tests.conftest import ignore_mlflow_warnings
from tests.sweep_runs import SHORT

pytestmark = [pytest.mark.slow, ignore_mlflow_warnings]

SEARCH = ("hydra/sweeper=optuna", "hidden=choice(8,12,16)", "lr=tag(log,interval(1e-3,1e-1))",
          "hydra.sweeper.n_trials=3")  # fmt: skip
LIBRARY_OUTPUT = re.compile(
    r"warning|deprecat|optuna|sqlalchemy|alembic|traceback|\[I |INFO|Failed exp", re.I
)

Search = Callable[..., CommandResult]


@pytest.fixture
def untracked(command: RunCli, data: Path, tmp_path: Path) -> Search:
    """Run an untracked search in a new directory, and check that the libraries print nothing."""

    def search(*arguments: str) -> CommandResult:
        path_overrides = (f"output_dir={tmp_path}", f"data_dir={data}", "tracking=none")
        result = command("src.train", "--multirun", *arguments, *SHORT, *path_overrides)
        assert not LIBRARY_OUTPUT.findall(result.err)
        return result

    return search


def load_trials(outputs: Path, name: str | None = None) -> list[Any]:
    """Return the trials of a study, by default of the only one."""
    storage = optuna.storages.get_storage(f"sqlite:///{outputs / 'optuna.db'}")
    if name is None:
        (name,) = optuna.get_all_study_names(storage)
    return list(optuna.load_study(study_name=name, storage=storage).trials)


def best_trials(result: CommandResult) -> Any:
    """Return the best trials from the file of Hydra's plugin, whose path the command prints."""
    (file,) = re.findall(r"^search: best trials of the study: (.*)$", result.err, re.M)
    return OmegaConf.to_container(OmegaConf.load(file))


def test_search_and_its_resumption(untracked: Search, tmp_path: Path) -> None:
    result = untracked(*SEARCH).check()
    assert re.search(r"^search: starting study search-[0-9a-f]{8}$", result.err, re.M)
    assert "sweep hidden=choice(8,12,16) lr=tag(log,interval(1e-3,1e-1))" in " ".join(result.out.split())
    trials = load_trials(tmp_path)
    (file,) = tmp_path.glob("sweeps/*/jobs.json")
    jobs = read_results(file)
    assert all(re.fullmatch(r"hidden=(8|12|16) lr=0\.\d{3,6}", job.name) for job in jobs)
    logged = [{"hidden": int(job.swept["hidden"]), "lr": float(job.swept["lr"])} for job in jobs]
    assert logged == [trial.params for trial in trials], "exactly the proposed values"
    assert [job.metrics["val/loss"] for job in jobs] == [pytest.approx(trial.value) for trial in trials]
    assert len(trials) == 3
    best = min(trials, key=lambda trial: trial.value)
    assert best_trials(result)["best_params"] == best.params
    assert f"best: hidden={best.params['hidden']} lr=" in result.out
    assert [f"\ntrial {k}/3 hidden=" in f"\n{result.err}" for k in (1, 2, 3, 4)] == [True] * 3 + [False]
    assert re.search(r"^search: importance for val/loss: (hidden|lr) [01]\.\d\d, ", result.err, re.M)
    page = file.with_name("comparison.html").read_text()
    assert "Importance of each key" in page[page.index('<div id="search"') :]

    again = untracked(*SEARCH).check()
    assert re.search(r"^search: resuming study search-[0-9a-f]{8}, 3 trials$", again.err, re.M)
    trials = load_trials(tmp_path)
    assert len({tuple(trial.params.values()) for trial in trials}) == len(trials) == 6
    best_value = min(trial.value for trial in trials)
    assert best_trials(again)["best_value"] == best_value, "including trials of earlier commands"


def test_failed_job_does_not_end_search(untracked: Search, tmp_path: Path) -> None:
    result = untracked("hydra/sweeper=optuna", "hidden=8,0", "hydra.sweeper.n_trials=4")
    assert result.rc == 1, result.err
    states = [(trial.params["hidden"], trial.state) for trial in load_trials(tmp_path)]
    assert len(states) == 4
    assert set(states) == {(8, TrialState.COMPLETE), (0, TrialState.FAIL)}
    assert "FAILED hidden=0: hidden: expected an integer >= 1, got 0" in result.err
    assert "best: hidden=8" in result.out


def test_search_with_only_failed_jobs(untracked: Search) -> None:
    result = untracked("hydra/sweeper=optuna", "hidden=0,-1", "hydra.sweeper.n_trials=2")
    assert result.rc == 1
    assert "train: expected at least one finished job, got none" in result.err


def test_two_objectives_give_pareto_front(untracked: Search, tmp_path: Path) -> None:
    search = ("hydra/sweeper=optuna", "hidden=int(interval(4,32))", "hydra.sweeper.n_trials=2",
              "objectives=[val/loss,throughput/chars_per_second]")  # fmt: skip
    result = untracked(*search).check()
    trials = load_trials(tmp_path)
    assert all(len(trial.values) == 2 and trial.values[1] > 1000 for trial in trials)
    assert all(set(solution["params"]) == {"hidden"} for solution in best_trials(result)["solutions"])
    # A reused job has both values.
    again = untracked(*search, "skip_finished=true", "hydra.sweeper.study_name=again").check()
    assert again.err.count("reused run") == 2
    reused = [(trial.params, trial.values) for trial in load_trials(tmp_path, "again")]
    assert reused == [(trial.params, pytest.approx(trial.values)) for trial in trials]


def test_parallel_search(untracked: Search, tmp_path: Path) -> None:
    untracked("hydra/sweeper=optuna", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
              "hidden=int(interval(8,64))", "hydra.sweeper.n_trials=4").check()  # fmt: skip
    trials = load_trials(tmp_path)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    assert trials[1].datetime_start < trials[0].datetime_complete, "both run at the same time"


def test_experiment_search(untracked: Search, tmp_path: Path) -> None:
    result = untracked("experiment=search", "hidden=tag(log,int(interval(8,16)))",
                       "hydra.sweeper.n_trials=2").check()  # fmt: skip
    keys = {"hidden", "seq_len", "lr", "clip", "patience", "temperature", "model"}
    assert [set(trial.params) for trial in load_trials(tmp_path)] == [keys, keys]
    assert "sweep search: optuna search over hidden, seq_len" in " ".join(result.out.split())


def test_experiment_seeds_reports_mean_and_deviation(untracked: Search) -> None:
    result = untracked("experiment=seeds", "hidden=8,12", "seed=1,2").check()
    line = r"^hidden=(\d+): val/loss \d\.\d{4} \+- \d\.\d{4}, .* over 2 seeds$"
    assert sorted(re.findall(line, result.out, re.M)) == ["12", "8"], result.out


def test_experiment_ablation_changes_one_key_per_job(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configs: dict[str, Config] = {}

    def record(config: Config, job: Job) -> float:
        configs[job.name.removeprefix("variant=ablation/")] = config
        return 1.0

    monkeypatch.setattr(sweep_job, "run_job", record)
    monkeypatch.setenv("CHAR_RNN_SWEEP", "")
    overrides = ("experiment=ablation", *SHORT, "tracking=none", f"output_dir={tmp_path}")
    assert run_cli("train", "--multirun", *overrides).rc == 0
    assert configs.keys() == {file.stem for file in (CONF / "variant" / "ablation").glob("*.yaml")}
    default = configs.pop("none")
    for name, config in configs.items():
        values, others = attrs.asdict(config), attrs.asdict(default)
        changed = {key for key in values if values[key] != others[key]}
        assert len(changed) == (2 if name == "streams" else 1), (name, changed)
    assert configs["no_schedule"].schedule["_target_"] == "src.rnn.schedules.Constant"
    assert configs["no_clipping"].clip is None
