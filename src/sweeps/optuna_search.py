"""Hyperparameter search with Optuna: a sampler for resumable studies, and early checks.

This module is imported only in the process that launches the jobs, where Hydra's plugin calls `ask` and
`tell` of the study.
"""

import logging
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from typing_extensions import override

from src.common.console import echo_err, pluralize
from src.common.job_result import SearchHistory
from src.config.constraints import Constraint, invalid_value_error
from src.config.schema import OBJECTIVES
from src.sweeps.summary import current_session

Space = dict[str, BaseDistribution]
PLUGIN = "hydra_plugins.hydra_optuna_sweeper"
FIELDS = {
    "n_trials": Constraint("an integer", ge=1),
    "n_jobs": Constraint("an integer", ge=1),
    "max_failure_rate": Constraint("a number", ge=0, le=1),
    "sampler.seed": Constraint("an integer", ge=0),
}


class PerTrialSeededSampler(BaseSampler):
    """Sampler that creates another sampler for each trial, seeded with a seed and the number of the trial.

    A sampler that is seeded only once proposes its first points again when a study is resumed. With this
    sampler, a resumed study gets the points that it would have got without the interruption. Before the first
    trial it prints whether the study is new or resumed.

    Args:
        sampler: Creates a sampler from the keyword argument `seed`, an integer.
        seed: Random seed of the search, >= 0.
    """

    def __init__(self, sampler: Callable[..., BaseSampler], seed: int) -> None:
        silence_optuna()
        self.build, self.seed = sampler, seed
        self.study: Study | None = None
        self.samplers: dict[int, BaseSampler] = {}  # by the number of an unfinished trial
        if session := current_session():
            session.sampler = self

    def sampler_for(self, trial: FrozenTrial) -> BaseSampler:
        """Return the sampler of a trial; create it for a new trial.

        Args:
            trial: The trial that Optuna works on.

        Returns:
            The sampler, seeded with the seed of the search and the number of the trial.
        """
        if trial.number not in self.samplers:
            (seed,) = np.random.SeedSequence([self.seed, trial.number]).generate_state(1)
            self.samplers[trial.number] = self.build(seed=int(seed))
        return self.samplers[trial.number]

    @override
    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        if self.study is None:
            self.study = study
            old = f"resuming study {study.study_name}, {pluralize(trial.number, 'trial')}"
            echo_err(f"search: {old if trial.number else f'starting study {study.study_name}'}")
        self.sampler_for(trial).before_trial(study, trial)

    @override
    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Space:
        return self.sampler_for(trial).infer_relative_search_space(study, trial)

    @override
    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        return self.sampler_for(trial).sample_relative(study, trial, search_space)

    @override
    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.sampler_for(trial).sample_independent(study, trial, param_name, param_distribution)

    @override
    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self.sampler_for(trial).after_trial(study, trial, state, values)
        del self.samplers[trial.number]

    def fail_pending_trials(self) -> None:
        """Mark the trials without a result, which an interruption ended, as failed in the study."""
        for number in list(self.samplers):
            if self.study is not None:
                with suppress(SQLAlchemyError):  # the study is not readable; the sweep's summary follows
                    self.study.tell(number, state=TrialState.FAIL)

    def history(self) -> SearchHistory | None:
        """Return the trials of the study and the importance of each key, for the page of the search.

        Returns:
            The history of the first objective; None where no trial has a value, or where the study is not
            readable.
        """
        if self.study is None:
            return None
        maximized = self.study.directions[0] == StudyDirection.MAXIMIZE
        sign = -1 if maximized else 1
        try:
            trials = self.study.get_trials(states=[TrialState.COMPLETE])
            # PED-ANOVA measures what a key has to do with reaching low values.
            shares = optuna.importance.get_param_importances(
                self.study, target=lambda trial: sign * trial.values[0]
            )
        except (SQLAlchemyError, ValueError):  # ValueError: no trial is completed
            return None
        if not trials:
            return None
        points = [(trial.number + 1, trial.values[0]) for trial in trials]
        objective = next(name for name, way in OBJECTIVES.items() if (way == "maximize") is maximized)
        return SearchHistory(points, shares if len(points) > 1 else {}, objective, maximized)


def silence_optuna() -> None:
    """Silence the messages of Optuna and its plugin.

    Optuna announces every study. The plugin uses deprecated classes, and reports failed jobs a second time.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger(PLUGIN).setLevel(logging.CRITICAL)
    for module in ("optuna", re.escape(PLUGIN), re.escape(__name__)):
        warnings.filterwarnings("ignore", module=module)


def validate_settings(sweeper: dict[str, Any]) -> None:
    """Validate the settings, the storage and the study of a search, before the sweep is opened.

    Args:
        sweeper: The node `hydra.sweeper`, resolved.

    Raises:
        UserError: For a value out of range, a storage that does not answer, or a study of the same name with
            other objectives.
    """  # noqa: DOC501 (`invalid_value_error` returns a UserError)
    silence_optuna()
    ours = sweeper["sampler"].get("_target_") == f"{__name__}.{PerTrialSeededSampler.__name__}"
    given = sweeper | {"sampler.seed": sweeper["sampler"].get("seed") if ours else 0}
    for key, allowed in FIELDS.items():
        value = given.get(key)
        if not allowed.is_satisfied_by(value):
            raise invalid_value_error(f"hydra.sweeper.{key}", allowed, value)
    try:
        storage = optuna.storages.get_storage(sweeper["storage"])
        studies = {study.study_name: study for study in storage.get_all_studies()}
    except (SQLAlchemyError, ImportError, ValueError, OSError) as error:
        expected = "the URL of a reachable database (sqlite:///FILE)"
        reason = " ".join(str(error).split())[:200]
        got = f"{sweeper['storage']}: {reason}"
        raise invalid_value_error("hydra.sweeper.storage", expected, got) from error
    # With other objectives Optuna would record every job as failed.
    name, wanted = sweeper["study_name"], ", ".join(sweeper["direction"])
    known = [direction.name.lower() for direction in studies[name].directions] if name in studies else []
    if known not in ([], sweeper["direction"]):
        expected, got = f"a study that optimizes {wanted}", f"{name}, which optimizes {', '.join(known)}"
        raise invalid_value_error("hydra.sweeper.study_name", expected, got)
