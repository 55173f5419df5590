"""What the commands share around Hydra: schemas, one-line errors, quoting, `--help`.

Hydra and OmegaConf are imported only once a command really composes a config, so that `--help` answers
at once.
"""

import difflib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from src.errors import InputError

PROJECT = Path(__file__).resolve().parent.parent
CONF = PROJECT / "conf"
# Values that are taken to the letter, so that a prompt may hold commas, quotes and colons.
VERBATIM = ("prompt", "run", "outputs", "data_dir", "data.path", "tracking.uri", "tracking.run_name")


def launch(command: str, config_name: str, body: Callable[[Any], float | None]) -> None:
    """Compose the config from the command line, check it, run `body` with it.

    command: the module's name, for the help page. config_name: a file of conf/. body: takes the typed
    config; what it returns is the objective of a sweep. Bad input ends in one line and exit status 2.
    """
    if {"-h", "--help"} & set(sys.argv[1:]):
        from src.help import page

        print(page(command, config_name, CONF))
        return
    traceback_wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions through to us: Hydra prints several lines
    if not {"-m", "--multirun"} & set(sys.argv[1:]):
        sys.argv[1:] = [quoted(argument) for argument in sys.argv[1:]]
    try:
        compose_and_run(config_name, body)
    except Exception as error:
        line = explain(error, config_name)
        if line is None or traceback_wanted:
            raise
        print(f"{command}: {line}", file=sys.stderr)
        sys.exit(2)


def compose_and_run(config_name: str, body: Callable[[Any], float | None]) -> None:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import DictConfig, OmegaConf

    from src.config import check

    register()
    refused: list[InputError] = []

    def task(composed: DictConfig) -> float | None:
        try:
            config = OmegaConf.to_object(composed)
            check_known(composed, config)
            check(config)
            return body(config)
        except InputError as error:
            if HydraConfig.get().mode is RunMode.MULTIRUN:
                raise  # Hydra names the job's overrides in a line before ours
            refused.append(error)
            return None

    hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(task)()
    if refused:
        raise refused[0]


def check_known(composed: Any, config: Any, prefix: str = "") -> None:
    """Refuse a key that `+key=value` put beside those of the schema."""
    known = [f.name for f in fields(config)]
    for key in composed:
        if key not in known:
            raise InputError(f"{prefix}{key}: expected a known key, got +{prefix}{key}: --help lists them")
        if is_dataclass(getattr(config, key)):
            check_known(composed[key], getattr(config, key), f"{prefix}{key}.")


def schema(config_name: str) -> type:
    """The typed schema below conf/<config_name>.yaml."""
    from src import config

    return {"config": config.Config, "evaluate": config.EvaluateConfig, "sample": config.SampleConfig}[
        config_name
    ]


def register() -> None:
    """Make the schemas and the ${project:...} resolver known to Hydra."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from src import config

    store = ConfigStore.instance()
    for name in ("config", "evaluate", "sample"):
        store.store(group="schema", name=name, node=schema(name), package="_global_")
    for group, choices in (("optimizer", config.OPTIMIZERS), ("schedule", config.SCHEDULES)):
        for name, node in choices.items():
            store.store(group=f"schema/{group}", name=name, node=node)
    OmegaConf.register_new_resolver("project", lambda folder: str(PROJECT / folder), replace=True)


def quoted(argument: str) -> str:
    """`prompt=To be, or not` as Hydra must read it: the value in quotes, whatever it holds."""
    key, equals, value = argument.partition("=")
    if not equals or key not in VERBATIM or value in ("", "null") or value[0] in "'\"":
        return argument
    # Hydra's grammar: \" is a quote, and backslashes in front of a quote (or the end) come in pairs.
    escaped = re.sub(r'(\\*)"', lambda m: m.group(1) * 2 + '\\"', value)
    escaped = re.sub(r"(\\+)$", lambda m: m.group(1) * 2, escaped).replace("${", "\\${")
    return f'{key}="{escaped}"'


def explain(error: BaseException, config_name: str) -> str | None:
    """One line for the person who typed the command, or None when the error is a bug of ours."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        return explain_group()
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return None
    from hydra.errors import MissingConfigException, OverrideParseException
    from omegaconf.errors import ConfigKeyError, ValidationError

    if isinstance(error, OverrideParseException):
        return f"expected key=value, got {error.override!r}: quote a value that holds , = : or brackets"
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, value = str(error.missing_cfg_file).rpartition("/")
        return f"{group}: expected one of {', '.join(error.options)}, got {value}"
    ambiguous = re.match(r"Ambiguous value for argument '([^=]+)=(.*)'\n", str(error))
    if ambiguous:
        key, value = ambiguous.groups()
        return f"{key}: expected one value, got {value}: add --multirun to sweep over several"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, ValidationError):
        return explain_type(cause, config_name)
    if isinstance(cause, ConfigKeyError | AttributeError):  # omegaconf's ConfigAttributeError is the latter
        return explain_key(str(getattr(cause, "full_key", "")), cause, config_name)
    return " ".join(str(error).split())


def explain_group() -> str:
    """A group that was given something other than a name."""
    given = [a.lstrip("+").partition("=") for a in sys.argv[1:]]
    for key, _, value in given:
        if (CONF / key).is_dir() and not (CONF / key / f"{value}.yaml").exists():
            return f"{key}: expected {options_of(key)}, got {value}"
    return "expected key=value, or group=choice: --help lists them"


def options_of(group: str) -> str:
    return "one of " + ", ".join(sorted(p.stem for p in (CONF / group).glob("*.yaml")))


def explain_type(cause: Any, config_name: str) -> str:
    """A value of a type that the key does not hold."""
    from src.config import refuse

    allowed = allowed_of(schema(config_name), cause.full_key.split("[")[0])
    value = cause.value if getattr(cause, "value", None) is not None else came(cause.full_key)
    return str(refuse(cause.full_key, allowed, value))


def came(key: str) -> str:
    """What the command line gives for a key."""
    values = [a.partition("=")[2] for a in sys.argv[1:] if a.lstrip("+~").partition("=")[0] == key]
    return values[-1] if values else "a value of another type"


def explain_key(key: str, cause: BaseException, config_name: str) -> str:
    """A key that does not exist, with the nearest that does."""
    known = keys_of(schema(config_name))
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
