"""What Hydra calls at both ends of a sweep, in the process that launched it."""

from typing import Any, ClassVar, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from src.common.paths import absolute
from src.config.schema import Config, PlacesConfig, TrackingConfig
from src.config.validation import check_register, refuse
from src.sweeps.launchers import BASIC, JOBLIB, prepare_launcher, tell_jobs
from src.sweeps.sweep import Sweep
from src.sweeps.sweep_run import SweepRecord, open_sweep, settle


class Refused(BaseException):
    """Carries an error out of a callback: Hydra makes a mere warning of an Exception there."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class SweepCallback(Callback):
    """Opens the sweep before its first job, closes it behind the last one.

    opened: the sweep that this process has launched, its config and its journal, for whoever ends the
    command: an interrupted sweep must be closed, too, and a failed job is told in the exit status.
    """

    opened: ClassVar[tuple[Sweep, PlacesConfig, SweepRecord | None] | None] = None
    failures: ClassVar[int] = 0
    objectives: ClassVar[list[str]] = []  # of the search that the sweep is; none of a plain sweep
    register: ClassVar[bool] = False  # the best job's model, at the end

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        if config.hydra.job.name != "train":
            return
        typed = list(config.hydra.overrides.task)
        SweepCallback.failures = 0
        try:
            keys = swept_keys(typed, dict(config.hydra.sweeper.get("params") or {}))
            check_alone(config, keys)
            places = places_of(config)
            several = [text for text in typed if text.partition("=")[0] in keys]
            name = "" if len(several) == len(keys) > 0 else title(config, keys)
            SweepCallback.register = bool(config.register)
            prepare_launcher(config)
            check_register(SweepCallback.register, places.tracking)
            SweepCallback.objectives = []
            if searches(config):
                from src.sweeps.optuna_search import check  # slow to import

                allowed = Config.__dataclass_fields__["objectives"].metadata["allowed"]
                if not allowed.accepts(list(config.objectives)):  # before a study is made of them
                    raise refuse("objectives", allowed, config.objectives)
                absolute(places.output_dir).mkdir(parents=True, exist_ok=True)
                check(cast("dict[str, Any]", OmegaConf.to_container(config.hydra.sweeper, resolve=True)))
                SweepCallback.objectives = list(config.objectives)
            launcher = str(config.hydra.launcher.get("_target_"))
            # a job that may be reused asks the tracker, for which parent and earlier jobs must be there
            asks = bool(config.skip_finished) or "skip_finished" in keys
            local = launcher in (BASIC, JOBLIB) and not asks
            sweep, record = open_sweep(places, keys, several, name, local)
            SweepCallback.opened = sweep, places, record
            if asks:
                settle(places)
            tell_jobs(config)
        except Exception as error:
            raise Refused(error) from error

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            SweepCallback.close("FINISHED")
        except Exception as error:
            raise Refused(error) from error

    @classmethod
    def close(cls, status: str) -> None:
        """End the sweep, if one is open: its table, its page, its parent."""
        if cls.opened is None:
            return
        from src.sweeps.summary import close_sweep

        sweep, config, record = cls.opened
        cls.opened = None
        if not cls.objectives:
            cls.failures = close_sweep(sweep, config, status, record, cls.register)
            return
        from src.sweeps.optuna_search import conclude

        found = conclude(cls.objectives)
        cls.failures = close_sweep(sweep, config, status, record, cls.register, found.lines, found.tags)


def check_alone(config: DictConfig, keys: list[str]) -> None:
    """Refuse what only a single run can do. keys: those that are swept, which have no value yet."""
    for key, instead in (
        ("resume", "skip_finished=true goes on with a sweep"),
        ("rerun", "one run a command"),
    ):
        if key in keys or config[key] is not None:
            got = "several" if key in keys else config[key]
            raise refuse(key, f"null but for python -m src.train without --multirun ({instead})", got)


def places_of(config: DictConfig) -> PlacesConfig:
    """Where the sweep is tracked. (The rest of the config has no value yet where a key is swept.)"""
    tracking = cast("TrackingConfig", OmegaConf.to_object(config.tracking))
    return PlacesConfig(output_dir=config.output_dir, data_dir=config.data_dir, tracking=tracking)


def swept_keys(typed: list[str], params: dict[str, Any]) -> list[str]:
    """The keys that a sweep varies: those typed with several values, and those of the sweeper's own.

    What is typed holds: with one value it is not varied, whatever the sweeper's own say.
    """
    parser = OverridesParser.create()
    parsed = parser.parse_overrides([*typed, *(f"{key}={value}" for key, value in params.items())])
    first = {o.get_key_element(): o for o in reversed(parsed)}
    keys = dict.fromkeys(o.get_key_element() for o in parsed)
    return [key for key in keys if first[key].is_sweep_override()]


def searches(config: DictConfig) -> bool:
    """Whether the sweeper is Optuna's."""
    return "optuna" in str(config.hydra.sweeper.get("_target_"))


def title(config: DictConfig, keys: list[str]) -> str:
    """The name of a sweep of which not every key was typed."""
    experiment = config.hydra.runtime.choices.get("experiment")
    kind = "optuna search" if searches(config) else "sweep"
    return (f"{experiment}: " if experiment else "") + kind + (f" over {', '.join(keys)}" if keys else "")
