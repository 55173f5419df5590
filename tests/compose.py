"""Typed configs as a command composes them from conf/."""

from copy import deepcopy
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from src.common.files import CONF
from src.config.resolvers import register_configs

PRIMARY = sorted(file.stem for file in CONF.glob("*.yaml") if file.stem != "common")


def compose_raw(primary: str, *overrides: str, hydra: bool = False) -> DictConfig:
    GlobalHydra.instance().clear()
    register_configs()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(primary, list(overrides), return_hydra_config=hydra)


@cache
def _composed_cached(primary: str, *overrides: str) -> Any:
    return OmegaConf.to_object(compose_raw(primary, *overrides))


def composed(primary: str, *overrides: str) -> Any:
    return deepcopy(_composed_cached(primary, *overrides))
