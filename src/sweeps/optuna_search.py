"""Hyperparameter search with Optuna: a sampler for resumable studies, checks, and the summary of a study.

Imported only in the process that launches the jobs, where Hydra's plugin calls `ask` and `tell` of the study.
"""

import json
import logging
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from src.common.console import echo_err, pluralize
from src.common.errors import UserError
from src.config.constraints import Constraint, invalid_value_error
from src.sweeps.session import SearchSummary, current_session
from src.sweeps.sweep import format_value

PLUGIN = "hydra_plugins.hydra_optuna_sweeper"
FIELDS = {
    "n_trials": Constraint("an integer", ge=1),
    "n_jobs": Constraint("an integer", ge=1),
    "max_failure_rate": Constraint("a number", ge=0, le=1),
    "sampler.seed": Constraint("an integer", ge=0),
}


class PerTrialSeededSampler(BaseSampler):
    """A sampler that creates another sampler for each trial, seeded with a seed and the trial's number.

    A sampler that is seeded once proposes its first points again when a study is resumed. With this one a
    resumed study gets the points that it would have got without the interruption.

    Args:
        sampler: Creates a sampler from a `seed`.
        seed: Of the search.
    """

    def __init__(self, sampler: Callable[..., BaseSampler], seed: int) -> None:
        silence_optuna()
        self.build, self.seed = sampler, seed
        self.study: Study | None = None
        self.samplers: dict[int, BaseSampler] = {}  # by the number of an unfinished trial
        if session := current_session():
            session.sampler = self

    def sampler_for(self, trial: FrozenTrial) -> BaseSampler:
        if trial.number not in self.samplers:
            (seed,) = np.random.SeedSequence([self.seed, trial.number]).generate_state(1)
            self.samplers[trial.number] = self.build(seed=int(seed))
        return self.samplers[trial.number]

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        if self.study is None:
            self.study = study
            print_study(study, trial.number)
        self.sampler_for(trial).before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.sampler_for(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.sampler_for(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.sampler_for(trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self.sampler_for(trial).after_trial(study, trial, state, values)
        del self.samplers[trial.number]

    def fail_pending_trials(self) -> None:
        """Tell the study that the trials without a result, which an interruption ended, have failed."""
        for number in list(self.samplers):
            if self.study is not None:
                self.study.tell(number, state=TrialState.FAIL)

    def summarize(self, objectives: list[str]) -> SearchSummary:
        """End a search and summarize its study, with the trials of earlier commands.

        Args:
            objectives: Metric names, in the order of the study's values.
        """
        study = self.study
        if study is None:
            return SearchSummary([], {})
        try:
            self.fail_pending_trials()
            trials = study.get_trials(deepcopy=False)
        except SQLAlchemyError as error:
            return SearchSummary(
                [f"study {study.study_name} cannot be read: {' '.join(str(error).split())[:200]}"], {}
            )
        done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        lost = len(trials) - len(done)
        heading = f"study {study.study_name}: {pluralize(len(trials), 'trial')}" + (
            f", {lost} without a result" if lost else ""
        )
        tags = {"search.study": study.study_name, "search.trials": str(len(trials))}
        if not done:
            return SearchSummary([heading], tags)
        if len(objectives) == 1:
            best = study.best_trial
            tags |= {"search.best_params": json.dumps(best.params), "search.best_value": repr(best.value)}
            return SearchSummary([f"{heading}, best: {format_trial(best, objectives)}"], tags)
        front = sorted(study.best_trials, key=lambda trial: trial.values)
        tags["search.pareto"] = json.dumps([{"params": t.params, "values": t.values} for t in front])
        heading += f", {len(front)} Pareto-optimal in {', '.join(objectives)}:"
        return SearchSummary([heading, *(f"  {format_trial(trial, objectives)}" for trial in front)], tags)


def silence_optuna() -> None:
    """Silence the messages of Optuna and its plugin.

    Optuna announces every study; the plugin uses deprecated classes and reports failed jobs, which have had
    their line, again.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger(PLUGIN).setLevel(logging.CRITICAL)
    for module in ("optuna", re.escape(PLUGIN), re.escape(__name__)):
        warnings.filterwarnings("ignore", module=module)


def validate_search(sweeper: dict[str, Any]) -> None:
    """Validate the settings, the storage and the study of a search, before the sweep is opened.

    Args:
        sweeper: The node `hydra.sweeper`, resolved.

    Raises:
        UserError: For a value out of range, a storage that does not answer, or a study of the same name
            with other objectives.
    """
    silence_optuna()
    ours = sweeper["sampler"].get("_target_") == f"{__name__}.{PerTrialSeededSampler.__name__}"
    given = sweeper | {"sampler.seed": sweeper["sampler"].get("seed") if ours else 0}
    for key, allowed in FIELDS.items():
        value = given.get(key)
        if not allowed.is_satisfied_by(value):
            raise invalid_value_error(f"hydra.sweeper.{key}", allowed, value)
    if sweeper["storage"] is None:
        return
    try:
        store = optuna.storages.get_storage(sweeper["storage"])
        studies = {study.study_name: study for study in optuna.study.get_all_study_summaries(store)}
    except (SQLAlchemyError, ImportError, ValueError, OSError) as error:
        expected = "the URL of a reachable database (sqlite:///FILE)"
        reason = " ".join(str(error).split())[:200]
        raise invalid_value_error(
            "hydra.sweeper.storage", expected, f"{sweeper['storage']}: {reason}"
        ) from error
    known = studies.get(sweeper["study_name"])
    directions = [direction.name.lower() for direction in known.directions] if known else sweeper["direction"]
    if directions != sweeper["direction"]:
        raise UserError(
            f"hydra.sweeper.study_name: expected a study with {len(sweeper['direction'])} objectives "
            f"({', '.join(sweeper['direction'])}), got {sweeper['study_name']}, which has {len(directions)} "
            f"({', '.join(directions)})"
        )


def print_study(study: Study, num_trials: int) -> None:
    """Print whether the study is new. num_trials: those that it holds already."""
    resumed = f"resuming study {study.study_name}, {pluralize(num_trials, 'trial')}"
    echo_err(f"search: {resumed if num_trials else f'starting study {study.study_name}'}")


def format_trial(trial: FrozenTrial, objectives: list[str]) -> str:
    """`val/loss=1.6012 with hidden=64 lr=0.003`."""
    scores = " ".join(f"{name}={value:.5g}" for name, value in zip(objectives, trial.values, strict=True))
    return f"{scores} with {' '.join(f'{key}={format_value(str(v))}' for key, v in trial.params.items())}"
