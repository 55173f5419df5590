"""Views of a typed configuration: its dotted keys, a changed copy, and the parameters that are logged."""

from collections.abc import Iterator
from typing import Any, TypeVar

import attrs

from src.config.constraints import TARGET_GROUPS, Constraint, class_name, dotted_key, fields_of
from src.config.schema import NON_SEMANTIC_KEYS

T = TypeVar("T")


def iter_leaves(config: Any) -> Iterator[tuple[str, Constraint | None, Any]]:
    """Yield dotted key, constraint and value of every key that is no group.

    The group's name of an optimizer or a schedule is mapped to its class, which has its constraints.
    """
    for field in fields_of(type(config)).values():
        value = getattr(config, field.name)
        if attrs.has(type(value)):
            yield from iter_leaves(value)
        elif field.name in TARGET_GROUPS:
            yield field.name, None, class_name(value["_target_"])
            yield from ((f"{field.name}.{k}", None, v) for k, v in value.items() if k != "_target_")
        else:
            yield dotted_key(type(config), field.name), field.validator, value


def evolve(config: T, changes: dict[str, Any]) -> T:
    """Return a copy with other values, validated.

    Args:
        config: An object of a class of the schema.
        changes: Dotted keys and their new values.

    Raises:
        UserError: A value is out of range.
    """
    groups: dict[str, dict[str, Any]] = {}
    values = {}
    for key, value in changes.items():
        group, _, name = key.rpartition(".")
        if group:
            groups.setdefault(group, {})[name] = value
        else:
            values[key] = value
    values |= {group: attrs.evolve(getattr(config, group), **part) for group, part in groups.items()}
    return attrs.evolve(config, **values)  # type: ignore[misc]  # T is an attrs class


def flatten(config: Any) -> dict[str, Any]:
    """Return the logged parameters: dotted keys to values, the choice of a group under the name of the group.

    Left out is what does not affect the result: NON_SEMANTIC_KEYS, and the path of the text, whose content is
    part of the digest.
    """
    flat = {key.removesuffix(".name"): value for key, _, value in iter_leaves(config)}
    return {
        key: value
        for key, value in flat.items()
        if key.partition(".")[0] not in NON_SEMANTIC_KEYS and key != "data.path"
    }


def all_keys(config_class: type) -> list[str]:
    """Return the dotted keys of a class of the schema, an optimizer or a schedule as one key."""
    keys = []
    for field in fields_of(config_class).values():
        group = attrs.has(field.type)
        keys += all_keys(field.type) if group else [dotted_key(config_class, field.name)]
    return keys
