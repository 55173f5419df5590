"""Hydra's and OmegaConf's errors as one line: the key, the expected values, the given value."""

import difflib
import errno
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from src.cli.help import defaults
from src.common.errors import UserError
from src.common.files import CONF, write_error
from src.config.constraints import TARGET_GROUPS, all_keys, fields_of, invalid_value_error
from src.config.schema import COMMANDS

# Parts of Optuna's messages, which Hydra's plugin raises as a plain ValueError, and our messages for them.
SEARCH_SPACE_MISMATCH = (
    "hydra.sweeper.study_name: expected a study with this search space, got one with another search space: "
    "use the search space of the study, or another study name"
)
NO_COMPLETED_TRIAL = "expected at least one finished job, got none"
OPTUNA_MESSAGES = {
    "No trials are completed yet": NO_COMPLETED_TRIAL,
    "Record does not exist": NO_COMPLETED_TRIAL,
    "does not support dynamic value space": SEARCH_SPACE_MISMATCH,
    "Cannot set different distribution kind": SEARCH_SPACE_MISMATCH,
    "Cannot set different log configuration": SEARCH_SPACE_MISMATCH,
}

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # full, a limit, or read-only


def format_error(error: BaseException, config_name: str) -> str | None:
    """Format an exception as one line for the user.

    Args:
        error: What a command raised.
        config_name: Name of the command's config, a file of conf/.

    Returns:
        The line without the name of the command; None when the error is a bug of this project.
    """
    text = str(error)
    if isinstance(error, UserError):
        return text
    if isinstance(error, MemoryError):
        return f"expected enough memory, got too little ({text}): try a smaller hidden, batch_size or seq_len"
    if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
        return str(write_error(Path(error.filename or "the disk, or memory as a file"), error))
    if isinstance(error, ValueError) and text.startswith("Config group override must be"):
        return format_group_error()
    if isinstance(error, ValueError):
        for words, line in OPTUNA_MESSAGES.items():
            if words in text:
                return line
    if isinstance(error, HydraException | OmegaConfBaseException):
        return format_config_error(error, config_name)
    return None


def format_config_error(error: HydraException | OmegaConfBaseException, config_name: str) -> str:
    """Format an error of Hydra or OmegaConf about the command line.

    Args:
        error: What Hydra or OmegaConf raised.
        config_name: Name of the command's config, a file of conf/.

    Returns:
        The line; for an error without a known form, Hydra's own text in one line.
    """
    if isinstance(error, OverrideParseException):
        return f"expected key=value, got {error.override!r}: quote a value that contains , = : or brackets"
    if isinstance(error, MissingConfigException):
        name = str(error.missing_cfg_file)
        groups = [p.relative_to(CONF).as_posix() for p in CONF.rglob("*") if p.is_dir()]
        # For a list, as in model=[gru], Hydra lists no choices; data=../x does not name another group.
        if group := max((g for g in groups if name.startswith(f"{g}/")), key=len, default=""):
            return f"{group}: expected {group_choices(group)}, got {name.removeprefix(f'{group}/')}"
    if no_group := re.match(r"Could not override '([^']+)'\. No match", str(error)):
        return format_key_error(no_group[1], config_name)
    if ambiguous := re.match(r"Ambiguous value for argument '([^=]+)=(.*)'\n", str(error)):
        key, value = ambiguous.groups()
        return f"{key}: expected one value, got {value}: add --multirun to sweep over several values"
    # Under a debugger or a tracer OmegaConf keeps its inner errors as causes, which name no key.
    cause: Any = error.__cause__ if getattr(error.__cause__, "full_key", None) else error
    if isinstance(cause, MissingMandatoryValue | InterpolationResolutionError | ValidationError):
        key = str(cause.full_key)
        typed = [v for k, _, v in map(split_override, sys.argv[1:]) if k == key]
        value = getattr(cause, "value", None)
        got = value if value is not None else (["a value of another type", *typed])[-1]
        return str(invalid_value_error(key, constraint_for(COMMANDS[config_name], key.split("[")[0]), got))
    if isinstance(cause, ConfigKeyError | AttributeError):  # omegaconf's ConfigAttributeError is the latter
        return format_key_error(str(getattr(cause, "full_key", "")), config_name)
    return " ".join(str(error).split())


def format_group_error() -> str:
    """Format the error for a group whose value is not the name of a choice.

    Returns:
        The line for the first such group in `sys.argv`.
    """
    for key, _, value in (argument.lstrip("+").partition("=") for argument in sys.argv[1:]):
        if (CONF / key).is_dir() and not (CONF / key / f"{value}.yaml").exists():
            return f"{key}: expected {group_choices(key)}, got {value}"
    return f"expected key=value or group=choice, got {' '.join(sys.argv[1:])}: --help=all lists them"


def group_choices(group: str) -> str:
    """Describe the choices of a group: its files in conf/.

    Args:
        group: Name of the group, a folder of conf/.

    Returns:
        A phrase such as `one of gru, lstm, rnn`.
    """
    return "one of " + ", ".join(sorted(p.stem for p in (CONF / group).glob("*.yaml")))


def format_key_error(key: str, config_name: str) -> str:
    """Format the error for an unknown key, with the most similar known key.

    Args:
        key: The unknown dotted key.
        config_name: Name of the command's config, a file of conf/.

    Returns:
        The line. A key that only another choice of its group has is answered with the names of these choices.
    """
    known = known_keys(COMMANDS[config_name])
    group, _, name = key.rpartition(".")
    if key in known:
        owners = [p.stem for p in (CONF / group).glob("*.yaml") if f"\n{name}:" in p.read_text()]
        return f"{key}: expected a key of the chosen {group}, got one of {group}={', '.join(owners)}"
    value = next((equals + v for k, equals, v in map(split_override, sys.argv[1:]) if k == key), "")
    near = closest_key(key, config_name)
    hint = f"did you mean {near}{value}?" if near else "--help=all lists them"
    return f"{key}: expected a known key, got {key}: {hint}"


def split_override(argument: str) -> tuple[str, str, str]:
    """Split an argument of the command line at its first `=`.

    Args:
        argument: An override, or an option such as `--max-epochs=5`.

    Returns:
        The dotted key that was meant, `=` or "", and the value.
    """
    key, equals, value = argument.partition("=")
    return (key.lstrip("-").replace("-", "_") if key.startswith("-") else key.lstrip("+~")), equals, value


def closest_key(key: str, config_name: str) -> str:
    """Find the known key or group that is most similar to a word.

    Args:
        key: The word, which may lack the group of the key.
        config_name: Name of the command's config, a file of conf/.

    Returns:
        The dotted key, or the group; "" where none is similar.
    """
    known = [*known_keys(COMMANDS[config_name]), *dict(defaults(CONF / f"{config_name}.yaml"))]
    names = [k.rpartition(".")[2] for k in known]
    near = difflib.get_close_matches(key, known, n=1) or difflib.get_close_matches(key, names, n=1)
    return next((k for k in known if near and (k == near[0] or k.endswith("." + near[0]))), "")


def format_option_error(options: list[str], config_name: str) -> str:
    """Format the error for options that Hydra does not have, with the override that was meant.

    Args:
        options: The options, such as `--hidden` or `--hidden=32`.
        config_name: Name of the command's config, a file of conf/.

    Returns:
        The line. A value after the option, as in `--hidden 32`, belongs to it.
    """
    after = dict(pairwise(sys.argv[1:]))
    for option in options:
        key, _, value = split_override(option)
        following = after.get(option, "")
        if not value and not following.startswith("-") and "=" not in following:
            value = following
        if near := closest_key(key, config_name):
            return f"expected key=value, got {' '.join(options)}: did you mean {near}={value or 'VALUE'}?"
    return f"expected key=value, or an option that --help=all lists, got {' '.join(options)}"


def known_keys(config_class: type) -> list[str]:
    """List the dotted keys of a command, with those of every optimizer and schedule of conf/.

    Args:
        config_class: Class of the schema.

    Returns:
        The keys, each once.
    """
    keys = dict.fromkeys(all_keys(config_class))
    for group in [group for group in TARGET_GROUPS if group in keys]:
        for file in sorted((CONF / group).glob("*.yaml")):
            own = re.findall(r"(?m)^([a-z]\w*):", file.read_text())
            keys |= dict.fromkeys(f"{group}.{key}" for key in own)
    return list(keys)


def constraint_for(config_class: type, key: str) -> Any:
    """Return the constraint of a dotted key.

    Args:
        config_class: Class of the schema.
        key: Dotted key.

    Returns:
        The `Constraint`; for a group its choices in words; None for an unknown key.
    """
    head, _, rest = key.partition(".")
    field = fields_of(config_class).get(head)
    if field is None:
        return None
    if attrs.has(field.type) and rest:
        return constraint_for(field.type, rest)
    return group_choices(head) if attrs.has(field.type) or head in TARGET_GROUPS else field.validator
