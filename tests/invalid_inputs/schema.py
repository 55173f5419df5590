"""Invalid values for every key of the schema: wrong types and values out of range."""

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


def wrong_values(key: str, constraint: Constraint | None, value: Any) -> Iterator[str]:
    """Yield a value of a wrong type and one out of range (tests/config/test_schema.py has both ends)."""
    if constraint is None:  # key of an optimizer or a schedule
        if "." not in key:
            yield "none_of_these"
        elif isinstance(value, bool):
            yield "perhaps"
        else:
            yield from ("many", "-1", "nan", "null")
        return
    if key == "data.split":
        yield from (
            "half",
            "[0.5,0.4]",
            "[0.8,0.3,-0.1]",
            "[1,0,0]",
            "[0,0.5,0.5]",
            "[a,b,c]",
            "[]",
            "[nan,1,0]",
        )
        return
    if constraint.is_list:
        yield from ("3", "[]", "[speed]")
        return
    if constraint.choices:
        yield "none_of_these"
        return
    if key in RAW_STRING_KEYS:  # any text is valid
        if not constraint.none_means:
            yield "null"
        return
    yield WRONG_TYPE[constraint.kind]
    step = 1 if constraint.kind == "an integer" else 0.1
    ends = (constraint.le, step), (constraint.lt, 0), (constraint.gt, 0), (constraint.ge, -step)
    for end, offset in ends:
        if end is not None:
            yield f"{end + offset:.9g}"
            return


def paths_without(key: str) -> tuple[str, ...]:
    return tuple(place for place in PATHS if place.partition("=")[0] != key)


def schema_cases() -> Iterator[Case]:
    GlobalHydra.instance().clear()
    register_configs()
    seen: set[tuple[str, str]] = set()
    choices = [
        [f"{file.parent.name}={file.stem}"]
        for g in TARGET_GROUPS
        for file in sorted((CONF / g).glob("*.yaml"))
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for primary in COMMANDS:
            command = "train" if primary == "config" else primary
            for choice in [[], *choices] if primary == "config" else [[]]:
                config: Any = OmegaConf.to_object(compose(primary, choice))
                for key, constraint, default in iter_leaves(config):
                    common = primary != "config" and key.partition(".")[0] in (
                        "output_dir",
                        "data_dir",
                        "tracking",
                    )
                    identifier = (command, key) if not choice else (choice[0], key)
                    grouped = key.partition(".")[0] in TARGET_GROUPS
                    if (
                        common
                        or identifier in seen
                        or (choice and key.partition(".")[0] != choice[0].partition("=")[0])
                    ):
                        continue
                    if grouped and not choice:
                        continue  # covered with its choice
                    seen.add(identifier)
                    for value in wrong_values(key, constraint, default):
                        expected_name = key.partition(".")[0] if key.endswith(".name") else key
                        yield Case(
                            command, (*choice, f"{key}={value}", *paths_without(key)), (expected_name,)
                        )
