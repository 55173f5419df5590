"""A search with Optuna: proposals that a resumed study does not repeat, and what the search came to.

Hydra's plugin asks and tells the study in the process that launches the jobs; only there is this imported.
"""

import json
import logging
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from src.common.console import counted, say
from src.common.errors import InputError
from src.config.constraints import Allowed
from src.config.validation import refuse
from src.sweeps.sweep import shorter

PLUGIN = "hydra_plugins.hydra_optuna_sweeper"
FIELDS = {
    "n_trials": Allowed("an integer", least=1),
    "n_jobs": Allowed("an integer", least=1),
    "max_failure_rate": Allowed("a number", least=0, most=1),
    "sampler.seed": Allowed("an integer", least=0),
}


class Seeded(BaseSampler):
    """Makes a sampler for each trial, seeded with a seed and the trial's number.

    A sampler that is seeded once proposes its first points again when a study is resumed. This one proposes
    to the same study always the same next point, and a study that was interrupted and resumed the points of
    one that was not.

    current: the one that Hydra has made of the configuration last, for whoever ends the search.
    """

    current: ClassVar["Seeded | None"] = None

    def __init__(self, sampler: Callable[..., BaseSampler], seed: int) -> None:
        quieten()
        self.make, self.seed = sampler, seed
        self.study: Study | None = None
        self.samplers: dict[int, BaseSampler] = {}  # by the number of a trial that has not ended
        Seeded.current = self

    def of(self, trial: FrozenTrial) -> BaseSampler:
        if trial.number not in self.samplers:
            (seed,) = np.random.SeedSequence([self.seed, trial.number]).generate_state(1)
            self.samplers[trial.number] = self.make(seed=int(seed))
        return self.samplers[trial.number]

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        if self.study is None:
            self.study = study
            greet(study, trial.number)
        self.of(trial).before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.of(trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self.of(trial).after_trial(study, trial, state, values)
        del self.samplers[trial.number]

    def abandon(self) -> None:
        """Tell the study of the trials that were proposed and never came back: an interruption ended them."""
        for number in list(self.samplers):
            if self.study is not None:
                self.study.tell(number, state=TrialState.FAIL)


@dataclass(frozen=True)
class Found:
    """What a search came to. lines: for the terminal; tags: for the sweep's parent run."""

    lines: list[str]
    tags: dict[str, str]


def quieten() -> None:
    """Nothing of Optuna's and its plugin's own on the terminal.

    Optuna announces every study, the plugin uses classes that are deprecated and tells failed jobs, which
    have had a line of ours, a second time.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger(PLUGIN).setLevel(logging.CRITICAL)
    for module in ("optuna", re.escape(PLUGIN), re.escape(__name__)):
        warnings.filterwarnings("ignore", module=module)


def check(sweeper: dict[str, Any]) -> None:
    """Refuse a sweeper's value that is out of range, a store that does not answer, and a study of the same
    name that has other objectives. sweeper: `hydra.sweeper`, resolved."""
    quieten()
    ours = sweeper["sampler"].get("_target_") == f"{Seeded.__module__}.{Seeded.__name__}"
    given = sweeper | {"sampler.seed": sweeper["sampler"].get("seed") if ours else 0}
    for key, allowed in FIELDS.items():
        value = given.get(key)
        whole = allowed.kind == "an integer"
        kinds = (int,) if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not allowed.accepts(value):
            raise refuse(f"hydra.sweeper.{key}", allowed, value)
    if sweeper["storage"] is None:
        return
    try:
        store = optuna.storages.get_storage(sweeper["storage"])
        studies = {study.study_name: study for study in optuna.study.get_all_study_summaries(store)}
    except (SQLAlchemyError, ImportError, ValueError, OSError) as error:
        expected = "the URL of a database that answers (sqlite:///FILE)"
        reason = " ".join(str(error).split())[:200]
        raise refuse("hydra.sweeper.storage", expected, f"{sweeper['storage']}: {reason}") from error
    known = studies.get(sweeper["study_name"])
    directions = [direction.name.lower() for direction in known.directions] if known else sweeper["direction"]
    if directions != sweeper["direction"]:
        raise InputError(
            f"hydra.sweeper.study_name: expected a study with {len(sweeper['direction'])} objectives "
            f"({', '.join(sweeper['direction'])}), got {sweeper['study_name']}, which has {len(directions)} "
            f"({', '.join(directions)})"
        )


def greet(study: Study, before: int) -> None:
    """Say whether the study is new. before: how many trials it holds."""
    told = (
        f"goes on with study {study.study_name}, {counted(before, 'trial')}"
        if before
        else f"new study {study.study_name}"
    )
    say(f"search: {told}")


def conclude(objectives: list[str]) -> Found:
    """End the search of this process: what its study has come to, this and all earlier times.

    objectives: their names, in the order of the study's values.
    """
    seeded, Seeded.current = Seeded.current, None
    if seeded is None or seeded.study is None:
        return Found([], {})
    study = seeded.study
    try:
        seeded.abandon()
        trials = study.get_trials(deepcopy=False)
    except SQLAlchemyError as error:
        return Found([f"study {study.study_name} does not answer: {' '.join(str(error).split())[:200]}"], {})
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    lost = len(trials) - len(done)
    heading = f"study {study.study_name}: {counted(len(trials), 'trial')}" + (
        f", {lost} without a result" if lost else ""
    )
    tags = {"search.study": study.study_name, "search.trials": str(len(trials))}
    if not done:
        return Found([heading], tags)
    if len(objectives) == 1:
        best = study.best_trial
        tags |= {"search.best_params": json.dumps(best.params), "search.best_value": repr(best.value)}
        return Found([f"{heading}, best: {said(best, objectives)}"], tags)
    front = sorted(study.best_trials, key=lambda trial: trial.values)
    tags["search.pareto"] = json.dumps([{"params": t.params, "values": t.values} for t in front])
    heading += f", {len(front)} that none other beats in both of {', '.join(objectives)}:"
    return Found([heading, *(f"  {said(trial, objectives)}" for trial in front)], tags)


def said(trial: FrozenTrial, objectives: list[str]) -> str:
    """`val/loss=1.6012 with hidden=64 lr=0.003`."""
    scores = " ".join(f"{name}={value:.5g}" for name, value in zip(objectives, trial.values, strict=True))
    return f"{scores} with {' '.join(f'{key}={shorter(str(v))}' for key, v in trial.params.items())}"
