"""Constraints on the keys of the configuration, and functions on a typed configuration.

A constraint is an attrs validator that raises the one-line error of the project. The functions list the keys,
make a changed copy, and build a typed configuration from a logged one.

A group of TARGET_GROUPS names a class by Hydra's `_target_`. The class comes from this project or from a
user's own module, and validates its arguments.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from inspect import Parameter, isabstract, signature
from operator import ge, gt, le, lt
from pkgutil import resolve_name
from typing import Any, TypeVar

import attrs
from omegaconf import MISSING

from src.common.errors import UserError

T = TypeVar("T")
TARGET_GROUPS = ("optimizer", "schedule")  # whose choices name a class by Hydra's `_target_`
TYPES: dict[str, Any] = {
    "an integer": int,
    "a number": int | float,
    "numbers": int | float,
    "true or false": bool,
    "a text": str,
}


@attrs.frozen
class Constraint:
    """The values that a key may hold, an attrs validator (compare scikit-learn's `_param_validation`).

    Attributes:
        kind: What a value is, in words: a key of TYPES, or a description of what `predicate` tests.
        ge: Smallest allowed number; None for no such bound. NaN and infinity are never allowed.
        gt: Number that a value must be above; None for no such bound.
        le: Largest allowed number; None for no such bound.
        lt: Number that a value must be below; None for no such bound.
        choices: The texts to choose from; empty where any value of the kind is allowed.
        is_list: Whether the key holds a list of distinct such values, at least one.
        none_means: Meaning of null, in words; "" where null is rejected.
        predicate: Test of a value that no other argument describes; None without one.
    """

    kind: str
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    choices: tuple[str, ...] = ()
    is_list: bool = False
    none_means: str = ""
    predicate: Callable[[Any], bool] | None = None

    def __call__(self, instance: Any, attribute: Any, value: Any) -> None:
        """Validate the value of a field, as attrs validators do.

        Raises:
            UserError: The value is not allowed; the message begins with the dotted key of the field.
        """  # noqa: DOC501 (`invalid_value_error` returns a UserError)
        if not self.is_satisfied_by(value):
            raise invalid_value_error(dotted_key(type(instance), attribute.name), self, value)

    def describe(self) -> str:
        """Describe the allowed values in words.

        Returns:
            A phrase such as `a number > 0, or null for no clipping`.
        """
        ends = {">=": self.ge, ">": self.gt, "<=": self.le, "<": self.lt}
        bounds = " and ".join(f"{sign} {end:g}" for sign, end in ends.items() if end is not None)
        words = "one of " + ", ".join(self.choices) if self.choices else f"{self.kind} {bounds}".rstrip()
        if self.is_list:
            words = f"one or more {words.removeprefix('one ')}, each once, in brackets"
        return words + (f", or null for {self.none_means}" if self.none_means else "")

    def is_satisfied_by(self, value: Any) -> bool:
        """Test the type of a value and its bounds.

        Args:
            value: Value of the key; None stands for null.

        Returns:
            True if the key may hold the value.
        """
        if value == MISSING:  # the default of a key that the command line deleted: ~key
            return False
        if value is None:
            return bool(self.none_means)
        if self.predicate is not None:
            return self.predicate(value)
        if self.is_list:
            item = attrs.evolve(self, is_list=False)
            valid = isinstance(value, list) and all(item.is_satisfied_by(each) for each in value)
            return valid and 0 < len(value) == len(set(value))
        if self.choices:
            return value in self.choices
        expected = TYPES[self.kind]
        if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
            return False
        if isinstance(value, str | bool):
            return True
        ends = (ge, self.ge), (gt, self.gt), (le, self.le), (lt, self.lt)
        return math.isfinite(value) and all(end is None or holds(value, end) for holds, end in ends)


def invalid_value_error(key: str, expected: Constraint | str, value: Any) -> UserError:
    """Return the one-line error for a value that a key may not hold.

    Args:
        key: Dotted key.
        expected: The constraint, or the allowed values in words.
        value: The rejected value; None is shown as null.

    Returns:
        The error, to be raised by the caller.
    """
    words = expected if isinstance(expected, str) else expected.describe()
    return UserError(f"{key}: expected {words}, got {'null' if value is None else value}")


def dotted_key(config_class: type, name: str) -> str:
    """Return the key of a field as a person types it, such as `model.layers`.

    Args:
        config_class: Class of the schema; its attribute `group`, where it has one, is the prefix.
        name: Name of the field.

    Returns:
        The dotted key.
    """
    group = getattr(config_class, "group", "")
    return f"{group}.{name}" if group else name


def fields_of(config_class: type) -> dict[str, Any]:
    """Return the attrs fields of a class.

    Args:
        config_class: Class of the schema.

    Returns:
        The fields by name, with resolved types.
    """
    return attrs.fields_dict(attrs.resolve_types(config_class))


def constrained(kind: str, **arguments: Any) -> Any:
    """Return a field with a constraint and without a default, because defaults are defined in conf/.

    Args:
        kind: What a value is, in words (`Constraint.kind`).
        **arguments: Further arguments of `Constraint`.

    Returns:
        The attrs field.
    """
    return attrs.field(default=MISSING, validator=Constraint(kind, **arguments))


int_field = partial(constrained, "an integer")
float_field = partial(constrained, "a number")
str_field = partial(constrained, "a text")
bool_field = partial(constrained, "true or false")


def instantiate(group: str, spec: Mapping[str, Any]) -> Any:
    """Create the object that a group of the configuration describes.

    Args:
        group: One of TARGET_GROUPS.
        spec: `_target_`, the dotted path of a class, and the arguments of the class.

    Returns:
        The object, an optimizer or a schedule.

    Raises:
        UserError: There is no such class, it is not a subclass of the group's base class, an argument is
            unknown or missing, or the class rejects a value.
        hydra.errors.InstantiationException: The class failed for another reason, a bug.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate as hydra_instantiate

    if not isinstance(spec, Mapping):
        raise UserError(f"{group}: expected _target_ and the arguments of its class, got {spec}")
    target, given = str(spec.get("_target_")), spec.keys() - {"_target_"}
    parameters = signature(find_class(group, target)).parameters
    variadic = any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())
    for key in sorted(given - parameters.keys()) if not variadic else []:
        raise UserError(
            f"{group}.{key}: expected a key of {class_name(target)} ({', '.join(parameters)}), got {key}"
        )
    for key, parameter in parameters.items():
        required = parameter.default is Parameter.empty and parameter.kind is not Parameter.VAR_KEYWORD
        if key not in given and required:
            raise UserError(f"{group}.{key}: expected a value (required by {class_name(target)}), got none")
    try:
        return hydra_instantiate(dict(spec), _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | TypeError):
            raise UserError(f"{group}.{' '.join(str(error.__cause__).split())}") from error
        raise


def find_class(group: str, target: str) -> type:
    """Import the class that `_target_` names.

    Args:
        group: One of TARGET_GROUPS.
        target: Dotted path of the class.

    Returns:
        The class, a concrete subclass of the group's base class.

    Raises:
        UserError: There is no such class, or it is not such a subclass.
    """
    from src.rnn.optimizers import Optimizer
    from src.rnn.schedules import Schedule

    base = Optimizer if group == "optimizer" else Schedule
    expected = f"the dotted path of a subclass of {base.__module__}.{base.__name__}"
    try:
        target_class = resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{group}._target_: expected {expected}, got {target} ({error})") from error
    if not (isinstance(target_class, type) and issubclass(target_class, base)) or isabstract(target_class):
        raise UserError(f"{group}._target_: expected {expected}, got {target}")
    return target_class


def class_name(target: Any) -> str:
    """Return the short name of a class.

    Args:
        target: Dotted path of the class.

    Returns:
        The name in conf/, such as `adam`, for an optimizer or schedule of this project; the dotted path for
        any other class.
    """
    module, _, name = str(target).rpartition(".")
    ours = module in ("src.rnn.optimizers", "src.rnn.schedules")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() if ours else str(target)


def target_field() -> Any:
    """Return a field for `_target_` and the arguments of its class; the validator creates the object.

    Returns:
        The attrs field, without a default.
    """
    return attrs.field(default=MISSING, validator=lambda _, field, spec: instantiate(field.name, spec))


def all_keys(config_class: type) -> list[str]:
    """List the dotted keys of a class of the schema.

    Args:
        config_class: Class of the schema.

    Returns:
        The keys in the order of the fields. An optimizer or a schedule is one key.
    """
    keys = []
    for field in fields_of(config_class).values():
        group = attrs.has(field.type)
        keys += all_keys(field.type) if group else [dotted_key(config_class, field.name)]
    return keys


def iter_leaves(config: Any) -> Iterator[tuple[str, Constraint | None, Any]]:
    """Iterate over every key that is no group.

    Args:
        config: An object of a class of the schema.

    Yields:
        Dotted key, constraint and value. Of an optimizer or a schedule: the group's name with the short name
        of its class, then each argument of the class; their constraint is None, because the class validates
        them.
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
        changes: New value by dotted key.

    Returns:
        The changed copy.

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


def build(config_class: type, logged: Any) -> Any:
    """Build a typed config from nested mappings.

    Args:
        config_class: Class of the schema.
        logged: Mapping of field names to values, with a mapping for each group.

    Returns:
        A validated object of `config_class`.

    Raises:
        UserError: A group is no mapping, has other keys than the class, or has an invalid value; the message
            names the first such group.
    """
    group = getattr(config_class, "group", "configuration")
    if not isinstance(logged, Mapping):
        raise UserError(f"{group}: expected keys with values, got {str(logged)[:80]}")
    fields = fields_of(config_class)
    differing = [f"{key}, which is unknown" for key in sorted(logged.keys() - fields.keys())]
    differing += [f"no {key}" for key in sorted(fields.keys() - logged.keys())]
    if differing:
        raise UserError(f"{group}: expected the keys of this version, got {' and '.join(differing)}")
    values = {k: build(f.type, logged[k]) if attrs.has(f.type) else logged[k] for k, f in fields.items()}
    return config_class(**values)
