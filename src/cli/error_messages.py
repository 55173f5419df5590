"""Hydra's and OmegaConf's errors as one line: the key, what is allowed, what came."""

import difflib
import errno
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from src.common.atomic_io import cannot_write
from src.common.errors import InputError
from src.common.paths import CONF
from src.config.schema import COMMANDS
from src.config.validation import keys_of, refuse, variants

# Optuna's words, which reach us through Hydra's plugin as a bare ValueError, and ours.
OTHER_SPACE = (
    "hydra.sweeper.study_name: expected a study of these choices and ranges, got one of others: search what "
    "it holds, or name another study"
)
NO_RESULT = "expected a job that finishes, got none"
SEARCHING = {
    "No trials are completed yet": NO_RESULT,
    "Record does not exist": NO_RESULT,
    "does not support dynamic value space": OTHER_SPACE,
    "Cannot set different distribution kind": OTHER_SPACE,
    "Cannot set different log configuration": OTHER_SPACE,
}

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # no room, a limit, not to be written at all


def explain(error: BaseException, config_name: str) -> str | None:
    """One line for the person who typed the command, or None when the error is a bug of ours."""

    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in FULL):
        return explain_machine(error)
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        return explain_group()
    for words, line in SEARCHING.items():
        if isinstance(error, ValueError) and words in str(error):
            return line
    if isinstance(error, HydraException | OmegaConfBaseException):
        return explain_config(error, config_name)
    return None


def explain_config(error: HydraException | OmegaConfBaseException, config_name: str) -> str:
    """What Hydra or OmegaConf found in the command line."""
    if isinstance(error, OverrideParseException):
        return f"expected key=value, got {error.override!r}: quote a value that holds , = : or brackets"
    if isinstance(error, MissingConfigException):
        name = str(error.missing_cfg_file)
        groups = [p.relative_to(CONF).as_posix() for p in CONF.rglob("*") if p.is_dir()]
        # Of a list, as in model=[gru], Hydra names no options; data=../x is no other group.
        if group := max((g for g in groups if name.startswith(f"{g}/")), key=len, default=""):
            return f"{group}: expected {options_of(group)}, got {name.removeprefix(f'{group}/')}"
    no_group = re.match(r"Could not override '([^']+)'\. No match", str(error))
    if no_group:
        return explain_key(no_group.group(1), error, config_name)
    ambiguous = re.match(r"Ambiguous value for argument '([^=]+)=(.*)'\n", str(error))
    if ambiguous:
        key, value = ambiguous.groups()
        return f"{key}: expected one value, got {value}: add --multirun to sweep over several"
    # Under a debugger or a tracer OmegaConf keeps its inner errors as causes, which name no key.
    cause = error.__cause__ if getattr(error.__cause__, "full_key", None) else error
    if isinstance(cause, MissingMandatoryValue | InterpolationResolutionError | ValidationError):
        return explain_type(cause, config_name)
    if isinstance(cause, ConfigKeyError | AttributeError):  # omegaconf's ConfigAttributeError is the latter
        return explain_key(str(getattr(cause, "full_key", "")), cause, config_name)
    return " ".join(str(error).split())


def explain_machine(error: MemoryError | OSError) -> str:
    """No memory, or no room on the disk where nobody has made a better line of it."""
    if isinstance(error, MemoryError):
        return (
            f"expected enough memory, got too little ({error}): try a smaller hidden, batch_size or seq_len"
        )
    return str(cannot_write(Path(error.filename or "the disk, or memory as a file"), error))


def explain_group() -> str:
    """A group that was given something other than a name."""
    given = [a.lstrip("+").partition("=") for a in sys.argv[1:]]
    for key, _, value in given:
        if (CONF / key).is_dir() and not (CONF / key / f"{value}.yaml").exists():
            return f"{key}: expected {options_of(key)}, got {value}"
    return f"expected key=value or group=choice, got {' '.join(sys.argv[1:])}: --help lists them"


def options_of(group: str) -> str:
    """What a group's key may hold, in words: its files in conf/."""
    return "one of " + ", ".join(sorted(p.stem for p in (CONF / group).glob("*.yaml")))


def explain_type(cause: Any, config_name: str) -> str:
    """A value of a type that the key does not hold."""
    allowed = allowed_of(COMMANDS[config_name], cause.full_key.split("[")[0])
    value = cause.value if getattr(cause, "value", None) is not None else came(cause.full_key)
    return str(refuse(cause.full_key, allowed, value))


def came(key: str) -> str:
    """What the command line gives for a key."""
    values = [a.partition("=")[2] for a in sys.argv[1:] if a.lstrip("+~").partition("=")[0] == key]
    return values[-1] if values else "a value of another type"


def explain_key(key: str, cause: BaseException, config_name: str) -> str:
    """A key that does not exist, with the nearest that does."""
    known = keys_of(COMMANDS[config_name])
    group, _, name = key.rpartition(".")
    if key in known:
        owners = [p.stem for p in (CONF / group).glob("*.yaml") if f"\n{name}:" in p.read_text()]
        return f"{key}: expected a key of the chosen {group}, got one of {group}={', '.join(owners)}"
    near = difflib.get_close_matches(key, known, n=1) or difflib.get_close_matches(
        key, [k.rpartition(".")[2] for k in known], n=1
    )
    full = [k for k in known if near and (k == near[0] or k.endswith("." + near[0]))]
    hint = f"did you mean {full[0]}?" if full else "--help lists them"
    return f"{key}: expected a known key, got {key}: {hint}"


def allowed_of(node: type, key: str) -> Any:
    """What a key may hold, found along its dotted name."""
    head, _, rest = key.partition(".")
    hints = get_type_hints(node)
    for f in fields(node):
        if f.name != head:
            continue
        kinds = variants(hints[f.name])
        if not rest:
            return options_of(head) if kinds else f.metadata["allowed"]
        for kind in kinds:
            found = allowed_of(kind, rest)
            if found is not None:
                return found
    return None
