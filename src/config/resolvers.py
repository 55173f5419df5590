"""Registration of the schemas and of the OmegaConf resolvers that conf/ uses."""

import hashlib
import json
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from src.common.files import CONF
from src.common.process import max_parallel_jobs
from src.config.schema import COMMANDS, NON_SEMANTIC_KEYS, OBJECTIVES

# Keys that do not identify a study. The objectives do.
NOT_IN_STUDY_NAME = {"hydra", *NON_SEMANTIC_KEYS} - {"objectives"}


def register_configs() -> None:
    """Register the schemas and the resolvers of conf/ with Hydra and OmegaConf."""
    store = ConfigStore.instance()
    for name, node in COMMANDS.items():
        store.store(group="schema", name=name, node=node, package="_global_")
    for resolver in (directions, study_name, parallel_jobs):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
    OmegaConf.register_new_resolver("project", lambda folder: str(CONF.parent / folder), replace=True)
    OmegaConf.register_new_resolver("floordiv", lambda a, b: int(a) // int(b), replace=True)
    remove_shadowed_plugin_configs()


def remove_shadowed_plugin_configs() -> None:
    """Remove the plugins' configs that conf/hydra/ replaces.

    Otherwise Hydra would validate a config of this project against a plugin's config of the same name, and
    warn or fail.
    """
    Plugins.instance()  # registers the plugins' configs
    for file in (CONF / "hydra").rglob("*.yaml"):
        folder: Any = ConfigStore.instance().repo
        for part in file.relative_to(CONF).parent.parts:
            folder = folder.get(part, {})
        folder.pop(file.name, None)


def directions(objectives: list[str]) -> list[str]:
    """Return the direction of each objective.

    Args:
        objectives: Names of metrics; unknown names are rejected later, by the schema.

    Returns:
        `minimize` or `maximize` for each objective, in the same order.
    """
    return [OBJECTIVES.get(name, "minimize") for name in objectives]


def study_name(*, _root_: DictConfig) -> str:
    """Return the name of the Optuna study: the same for the same search, different for any other.

    Args:
        _root_: The composed config with its `hydra` node, passed by OmegaConf.

    Returns:
        The chosen experiment, or `search`, and 8 hexadecimal digits of a SHA-256 digest of the settings, the
        swept overrides and the search space.
    """
    plain = cast("dict[str, Any]", OmegaConf.to_container(_root_, resolve=False))
    settings = {key: value for key, value in plain.items() if key not in NOT_IN_STUDY_NAME}
    hydra = _root_.hydra
    typed = OverridesParser.create().parse_overrides(list(hydra.overrides.task))
    swept = sorted(text for o in typed if o.is_sweep_override() and (text := o.input_line))
    params = dict(hydra.sweeper.get("params") or {})
    digest = hashlib.sha256(json.dumps([settings, swept, params], sort_keys=True).encode()).hexdigest()
    return f"{hydra.runtime.choices.get('experiment') or 'search'}-{digest[:8]}"


def parallel_jobs(*, _root_: DictConfig) -> int:
    """Return the number of jobs that the launcher runs in parallel.

    Args:
        _root_: The composed config with its `hydra` node, passed by OmegaConf.

    Returns:
        The number of jobs; 1 if the launcher has no `n_jobs`.
    """
    return max_parallel_jobs(int(_root_.hydra.launcher.get("n_jobs", 1)))
