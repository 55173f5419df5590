"""Objects that the configuration names by Hydra's `_target_`: optimizers and schedules, also a user's own."""

import re
from collections.abc import Mapping
from inspect import Parameter, isabstract, signature
from pkgutil import resolve_name
from typing import Any

import attrs
from omegaconf import MISSING

from src.common.errors import UserError

TARGET_GROUPS = ("optimizer", "schedule")  # whose choices name a class


def instantiate(group: str, spec: Mapping[str, Any]) -> Any:
    """Make the object of a group of the configuration.

    Args:
        group: One of TARGET_GROUPS.
        spec: `_target_`, the dotted path of a class, and the arguments of the class.

    Raises:
        UserError: There is no such class, it is not a subclass of the group's base class, an argument is
            unknown or missing, or the class refuses a value.
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
            raise UserError(f"{group}.{key}: expected a value, which {class_name(target)} needs, got none")
    try:
        return hydra_instantiate(dict(spec), _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | TypeError):
            raise UserError(f"{group}.{' '.join(str(error.__cause__).split())}") from error
        raise


def base_class(group: str) -> type:
    """Return the class that what a group names is a subclass of."""
    from src.rnn.optimizers import Optimizer
    from src.rnn.schedules import Schedule

    return {"optimizer": Optimizer, "schedule": Schedule}[group]


def find_class(group: str, target: str) -> type:
    """Import the class that `_target_` names."""
    base = base_class(group)
    expected = f"the dotted path of a subclass of {base.__module__}.{base.__name__}"
    try:
        found = resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{group}._target_: expected {expected}, got {target} ({error})") from error
    if not (isinstance(found, type) and issubclass(found, base)) or isabstract(found):
        raise UserError(f"{group}._target_: expected {expected}, got {target}")
    return found


def class_name(target: Any) -> str:
    """Return the short name of a class: `adam` for one of this project, the dotted path for any other."""
    module, _, name = str(target).rpartition(".")
    ours = module in ("src.rnn.optimizers", "src.rnn.schedules")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() if ours else str(target)


@attrs.frozen
class Instantiable:
    """An attrs validator: what a field holds makes an object of the group of the same name."""

    def __call__(self, instance: Any, attribute: Any, value: Any) -> None:
        """Raise UserError where `instantiate` does."""
        instantiate(attribute.name, value)


def target_field() -> Any:
    """Return a field for `_target_` and the arguments of its class."""
    return attrs.field(default=MISSING, validator=Instantiable())
