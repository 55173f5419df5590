"""Invalid values for every key of the schema (tests/config/test_schema.py has both ends of every range)."""

from collections.abc import Iterator
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from src.cli.main import RAW_STRING_KEYS
from src.common.files import CONF
from src.config.constraints import TARGET_GROUPS, Constraint, iter_leaves
from src.config.resolvers import register_configs
from src.config.schema import COMMANDS
from tests.invalid_inputs.case import PATHS, Case

WRONG_TYPE = {"an integer": "many", "a number": "many", "true or false": "perhaps", "a text": "[1,2]"}
SHARED_KEYS = ("output_dir", "data_dir", "tracking")  # of all commands; tested with train


def wrong_values(key: str, constraint: Constraint | None, value: Any) -> tuple[str, ...]:
    """Return values of a wrong type, or outside the choices or the range."""
    if constraint is None:  # key of an optimizer or a schedule
        if "." not in key:
            return ("none_of_these",)
        return ("perhaps",) if isinstance(value, bool) else ("-1",)
    if key == "data.split":
        return "half", "[0.5,0.4]", "[a,b,c]"
    if key == "tracking.experiment":
        return "[1,2]", "x" * 501
    if constraint.is_list:
        return "3", "[speed]"
    if constraint.choices:
        return ("none_of_these",)
    if key in RAW_STRING_KEYS:  # any text is valid
        return () if constraint.none_means else ("null",)
    return (WRONG_TYPE[constraint.kind],)


def cases_of(primary: str, choice: str = "") -> Iterator[Case]:
    """Yield the cases of the keys of a command, or of the keys of one optimizer or schedule."""
    command = "train" if primary == "config" else primary
    config: Any = OmegaConf.to_object(compose(primary, [choice] if choice else []))
    for key, constraint, default in iter_leaves(config):
        group = key.partition(".")[0]
        if group in TARGET_GROUPS and group != choice.partition("=")[0]:
            continue  # covered with its choice
        if (choice and group not in TARGET_GROUPS) or (primary != "config" and group in SHARED_KEYS):
            continue
        paths = [path for path in PATHS if not path.startswith(f"{key}=")]
        expected = group if key.endswith(".name") else key
        for value in wrong_values(key, constraint, default):
            arguments = (choice, f"{key}={value}") if choice else (f"{key}={value}",)
            yield Case(command, (*arguments, *paths), (expected,))


def schema_cases() -> Iterator[Case]:
    GlobalHydra.instance().clear()
    register_configs()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for primary in COMMANDS:
            yield from cases_of(primary)
        for group in TARGET_GROUPS:
            for file in sorted((CONF / group).glob("*.yaml")):
                yield from cases_of("config", f"{group}={file.stem}")
