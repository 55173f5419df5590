"""What conf/ computes: ${project:...}, and what a search with Optuna has to know of the rest."""

import hashlib
import json
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from src.common.paths import CONF
from src.common.process import max_parallel_jobs
from src.config.schema import NON_SEMANTIC_KEYS, OBJECTIVES

# What makes no other search of it. (What is asked for does.)
NO_MATTER = {"hydra", *NON_SEMANTIC_KEYS} - {"objectives"}


def register_resolvers() -> None:
    """Make them known to OmegaConf, each by the name that conf/ calls it by."""
    OmegaConf.register_new_resolver("project", lambda folder: str(CONF.parent / folder), replace=True)
    OmegaConf.register_new_resolver("directions", directions, replace=True)
    OmegaConf.register_new_resolver("study", study, replace=True)
    OmegaConf.register_new_resolver("side_by_side", side_by_side, replace=True)
    OmegaConf.register_new_resolver("quotient", lambda whole, part: int(whole) // int(part), replace=True)


def directions(objectives: list[str]) -> list[str]:
    """minimize or maximize, for each of them. (What is no objective is refused elsewhere, in words.)"""
    return [OBJECTIVES.get(name, "minimize") for name in objectives]


def study(*, _root_: DictConfig) -> str:
    """The name of a search's study: the same for the same search, another one for any other."""
    plain = cast("dict[str, Any]", OmegaConf.to_container(_root_, resolve=False))
    told = {key: value for key, value in plain.items() if key not in NO_MATTER}
    hydra = _root_.hydra
    typed = OverridesParser.create().parse_overrides(list(hydra.overrides.task))
    swept = sorted(text for o in typed if o.is_sweep_override() and (text := o.input_line))
    params = dict(hydra.sweeper.get("params") or {})
    digest = hashlib.sha256(json.dumps([told, swept, params], sort_keys=True).encode()).hexdigest()
    return f"{hydra.runtime.choices.get('experiment') or 'search'}-{digest[:8]}"


def side_by_side(*, _root_: DictConfig) -> int:
    """How many jobs the launcher runs at once on this machine; 1 where it does not say."""
    return max_parallel_jobs(int(_root_.hydra.launcher.get("n_jobs", 1)))
