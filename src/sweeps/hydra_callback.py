"""The Hydra callback that opens a sweep before its first job."""

from collections.abc import Iterable
from math import prod
from typing import Any, cast

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from typing_extensions import override

from src.common.errors import CallbackError, UserError
from src.common.files import CONF, absolute
from src.config.constraints import fields_of, invalid_value_error
from src.config.schema import Config, PathsConfig, TrackingConfig, semantic_overrides, validate_register
from src.sweeps.launchers import BASIC_LAUNCHER, JOBLIB_LAUNCHER, export_sweep_env, prepare_launcher
from src.sweeps.summary import SweepSession, current_session
from src.sweeps.sweep_run import SweepRun, sync_pending


class SweepCallback(Callback):
    """Callback that opens the sweep of the command's `SweepSession`, in the process that launches the jobs.

    A failure raises CallbackError: Hydra would turn an Exception into a warning.
    """

    @override
    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            if session := current_session():
                start_sweep(config, session)
        except Exception as error:
            raise CallbackError(error) from error


def start_sweep(config: DictConfig, session: SweepSession) -> None:
    """Open the sweep that `config` describes and export it to its jobs.

    Args:
        config: The sweep's composed config with its `hydra` node; swept keys have no value yet.
        session: The command's session, which keeps the open sweep.

    Raises:
        UserError: Before anything is written, for a key that only a single run has, a missing launcher
            plugin, an invalid search, or a tracking store that does not answer.
    """
    overrides = list(config.hydra.overrides.task)
    swept = swept_overrides(overrides, dict(config.hydra.sweeper.get("params") or {}))
    keys = list(swept)
    reject_single_run_keys(config, keys)
    places = paths_config(config)
    multi_valued = [text for text in overrides if text.partition("=")[0] in keys]
    name = " ".join(multi_valued) if len(multi_valued) == len(keys) > 0 else sweep_name(config, keys)
    fixed = [text for text in overrides if text.partition("=")[0] not in (*keys, "experiment")]
    name = " ".join([name, *semantic_overrides(fixed)])
    prepare_launcher(config)
    validate_register(bool(config.register), places.tracking)
    if uses_optuna(config):
        validate_search(config, places, keys)
        session.search_file = absolute(config.hydra.sweep.dir) / "optimization_results.yaml"
    # A job that may be reused queries the tracker, so the parent and earlier jobs must be there.
    queries = bool(config.skip_finished) or "skip_finished" in keys
    local = config.hydra.launcher.get("_target_") in (BASIC_LAUNCHER, JOBLIB_LAUNCHER) and not queries
    search = uses_optuna(config)
    total = int(config.hydra.sweeper.n_trials) if search else count_jobs(swept.values())
    kind = "trial" if search else "job"
    session.run = SweepRun(places, keys, multi_valued, name, local, total, kind)
    session.register = bool(config.register)
    if queries:
        sync_pending(places)
    export_sweep_env(config)


def validate_search(config: DictConfig, places: PathsConfig, keys: list[str]) -> None:
    """Validate the objectives and the settings of an Optuna search, before a study is created.

    Args:
        config: The sweep's composed config with its `hydra` node.
        places: Paths of the sweep; its output folder, which may hold the study's database, is created.
        keys: Dotted names of the swept keys.

    Raises:
        UserError: The text is swept, an objective is unknown or a setting of the sweeper is invalid.
    """
    if texts := [key for key in keys if key.partition(".")[0] == "data" and key != "data.stride"]:
        raise UserError(
            f"{texts[0]}: expected one text in a search, because losses of different texts cannot be "
            "compared, got several: search each text by itself"
        )
    from src.sweeps import optuna_search  # slow to import

    objectives = fields_of(Config)["objectives"]
    objectives.validator(Config, objectives, list(config.objectives))
    absolute(places.output_dir).mkdir(parents=True, exist_ok=True)
    settings = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
    optuna_search.validate_settings(cast("dict[str, Any]", settings))


def reject_single_run_keys(config: DictConfig, keys: list[str]) -> None:
    """Reject `resume` and `rerun`, which a sweep does not support.

    Args:
        config: The sweep's composed config.
        keys: Dotted names of the swept keys.

    Raises:
        UserError: One of the two keys is swept or has a value.
    """  # noqa: DOC501 (`invalid_value_error` returns a UserError)
    alternatives = {"resume": "skip_finished=true resumes a sweep", "rerun": "one run per command"}
    for key, instead in alternatives.items():
        if key in keys or config[key] is not None:
            expected = f"null, except with python -m src.train without --multirun ({instead})"
            raise invalid_value_error(key, expected, "several" if key in keys else config[key])


def paths_config(config: DictConfig) -> PathsConfig:
    """Return the part of the config that says where a sweep is tracked.

    Args:
        config: The composed config of a sweep; its other keys may have no value yet.

    Returns:
        The validated paths and tracking keys.
    """
    tracking = cast("TrackingConfig", OmegaConf.to_object(config.tracking))
    return PathsConfig(output_dir=config.output_dir, data_dir=config.data_dir, tracking=tracking)


def swept_overrides(overrides: list[str], params: dict[str, Any]) -> dict[str, Override]:
    """Find the keys that a sweep varies: typed with several values, or listed in the sweeper's `params`.

    A key that is typed with one value is not swept, whatever `params` says.

    Args:
        overrides: The overrides as typed, for example `hidden=64,128`.
        params: The sweeper's own search space (`hydra.sweeper.params`): dotted key to Hydra's sweep syntax.

    Returns:
        Dotted key to its override: the typed ones first, each group in its own order.
    """
    hydra = GlobalHydra.instance()
    parser = OverridesParser.create(hydra.config_loader() if hydra.is_initialized() else None)
    typed = {o.get_key_element(): o for o in parser.parse_overrides(overrides)}  # of a key, the last counts
    chosen = parser.parse_overrides([f"{key}={value}" for key, value in params.items()])
    every = typed | {o.get_key_element(): o for o in chosen if o.get_key_element() not in typed}
    return {key: override for key, override in every.items() if override.is_sweep_override()}


def count_jobs(swept: Iterable[Override]) -> int:
    """Count the jobs of a grid.

    Args:
        swept: The overrides with several values.

    Returns:
        The number of combinations of their values. A range without steps, which only a search supports,
        counts as one value; Hydra rejects it.
    """
    return prod(len(list(o.sweep_string_iterator())) for o in swept if o.is_discrete_sweep())


def experiment_size(name: str) -> float:
    """Return how much a config of conf/experiment/ trains.

    Args:
        name: Name of the config, without `.yaml`.

    Returns:
        The number of its jobs times the number of epochs.
    """

    def load(name: str) -> Any:
        config: Any = OmegaConf.load(CONF / "experiment" / f"{name}.yaml")
        bases = [
            load(base) for base in config.pop("defaults", []) if isinstance(base, str) and base != "_self_"
        ]
        return OmegaConf.merge(*bases, config)

    config = OmegaConf.merge(OmegaConf.load(CONF / "config.yaml"), load(name))
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    return count_jobs(swept_overrides([], dict(params)).values()) * float(config.max_epochs)


def uses_optuna(config: DictConfig) -> bool:
    """Return whether the sweep is a search with Optuna.

    Args:
        config: The sweep's composed config with its `hydra` node.

    Returns:
        True if `hydra.sweeper` is Optuna's sweeper.
    """
    return "optuna" in str(config.hydra.sweeper.get("_target_"))


def sweep_name(config: DictConfig, keys: list[str]) -> str:
    """Name a sweep whose keys were not all typed, such as `seeds: sweep over seed`.

    Args:
        config: The sweep's composed config with its `hydra` node.
        keys: Dotted names of the swept keys.

    Returns:
        The chosen experiment (if any), `sweep` or `optuna search`, and the keys.
    """
    experiment = config.hydra.runtime.choices.get("experiment")
    kind = "optuna search" if uses_optuna(config) else "sweep"
    return (f"{experiment}: " if experiment else "") + kind + (f" over {', '.join(keys)}" if keys else "")
