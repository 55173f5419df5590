"""Registration of the schemas and of the OmegaConf resolvers that conf/ uses."""

import hashlib
import json
from collections.abc import Callable
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from src.common.files import CONF, absolute, sqlite_uri
from src.common.process import max_parallel_jobs
from src.config.schema import COMMANDS, NON_SEMANTIC_KEYS, OBJECTIVES

# Keys that do not identify a study. The objectives do.
NOT_IN_STUDY_NAME = {"hydra", *NON_SEMANTIC_KEYS} - {"objectives"}


def register_configs() -> None:
    """Register the schemas and the resolvers of conf/ with Hydra and OmegaConf."""
    store = ConfigStore.instance()
    for name, node in COMMANDS.items():
        store.store(group="schema", name=name, node=node, package="_global_")
    resolvers: dict[str, Callable[..., Any]] = {
        "directions": lambda names: [OBJECTIVES.get(name, "minimize") for name in names],
        "study_name": study_name,
        "parallel_jobs": lambda *, _root_: max_parallel_jobs(int(_root_.hydra.launcher.get("n_jobs", 1))),
        "sqlite": lambda file: sqlite_uri(absolute(file)),
        "project": lambda folder: str(CONF.parent / folder),
        "floordiv": lambda a, b: int(a) // int(b),
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)
    # Hydra would validate a config of this project by the config of a plugin that has the same name.
    Plugins.instance()  # registers the plugins' configs
    for file in (CONF / "hydra").rglob("*.yaml"):
        folder: Any = store.repo
        for part in file.relative_to(CONF).parent.parts:
            folder = folder.get(part, {})
        folder.pop(file.name, None)


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
