"""Whether a typed configuration lies within its ranges, and the one line for what does not."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from src.common.errors import InputError
from src.config.constraints import Allowed
from src.config.schema import ASIDE, Config, ModelConfig, TrackingConfig


def walk(config: Any, prefix: str = "") -> Iterator[tuple[str, Allowed, Any]]:
    """Dotted key, what it may hold and what it holds, of every leaf."""
    for f in fields(config):
        value, key = getattr(config, f.name), f"{prefix}{f.name}"
        if is_dataclass(value):
            yield from walk(value, key + ".")
        else:
            yield key, f.metadata["allowed"], value


def refuse(key: str, allowed: Allowed | str, value: Any) -> InputError:
    """The one line for a value that a key may not hold."""
    expected = allowed if isinstance(allowed, str) else allowed.describe()
    return InputError(f"{key}: expected {expected}, got {'null' if value is None else value}")


def check(config: Any) -> None:
    """Raise InputError for the first key whose value is out of range."""
    for key, allowed, value in walk(config):
        if not allowed.accepts(value):
            raise refuse(key, allowed, value)
    if isinstance(config, Config):
        check_split(config.data.split)
        check_model(config.model)
        check_register(config.register, config.tracking)


def check_model(model: ModelConfig) -> None:
    """What only one cell has. (Dropout needs a second layer to stand in front of.)"""
    if model.name != "rnn" and model.activation != "tanh":
        raise refuse("model.activation", f"tanh, the only one of model={model.name}", model.activation)
    if model.name != "rnn" and model.init == "identity":
        raise refuse("model.init", f"uniform or orthogonal with model={model.name}", model.init)
    if model.dropout and model.layers == 1:
        raise refuse("model.dropout", "0 with model.layers=1 (dropout stands between layers)", model.dropout)


def check_register(register: bool, tracking: TrackingConfig) -> None:
    """Models are registered where runs are tracked."""
    if register and tracking.name == "none":
        raise refuse("register", "false with tracking=none (there is no registry)", "true")


def check_split(split: list[float]) -> None:
    """Three shares, none negative, a training share, and a validation share for early stopping."""
    fine = len(split) == 3 and all(0 <= s <= 1 for s in split) and abs(sum(split) - 1) < 1e-9
    if not fine or split[0] == 0 or split[1] == 0:
        expected = "three shares (train, val, test) that add up to 1, the first two above 0"
        raise refuse("data.split", expected, split)


def flatten(config: Any) -> dict[str, Any]:
    """Dotted keys to values, a group's choice under the group's own name: `optimizer` is `adam`.

    What says where a run was made, not what it was, is left out: ASIDE, and the path of the text, of which
    the digest counts.
    """
    flat = {key.removesuffix(".name"): value for key, _, value in walk(config)}
    return {k: value for k, value in flat.items() if k.partition(".")[0] not in ASIDE and k != "data.path"}


def keys_of(node: type, prefix: str = "") -> list[str]:
    """Dotted names of every key of a schema, whichever optimiser and schedule is chosen."""
    hints, keys = get_type_hints(node), []
    for f in fields(node):
        kinds = variants(hints[f.name])
        keys += [prefix + f.name] if not kinds else []
        for kind in kinds:
            keys += keys_of(kind, f"{prefix}{f.name}.")
    return list(dict.fromkeys(keys))


def variants(kind: Any) -> list[type]:
    """The schemas that may stand in a group's place; none for a plain key."""
    if not is_dataclass(kind):
        return []
    return [kind, *kind.__subclasses__()] if isinstance(kind, type) else []
