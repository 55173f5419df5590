"""What the commands share around Hydra: composing a checked, typed config, and how a command ends.

Hydra and OmegaConf are imported only once a command really composes a config, so that `--help` answers
at once.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import fields, is_dataclass
from typing import Any, NoReturn

from src.cli.completion import FLAGS, complete
from src.cli.help import ALONE, page
from src.common.console import say
from src.common.errors import InputError
from src.common.paths import CONF

# Values that are taken to the letter, so that a prompt may hold commas, quotes and colons.
VERBATIM = (
    "prompt",
    "run",
    "resume",
    "init_from",
    "rerun",
    "backend_store_uri",
    "allowed_hosts",
    "left",
    "right",
    "output_dir",
    "data_dir",
    "data.path",
    "warandpeace",
    "tinyshakespeare",
    "tracking.uri",
    "tracking.run_name",
)

QUOTED = re.compile(r"""(["'])(\\.|(?!\1)[^\\])*\1""", re.DOTALL)


Body = Callable[[Any], Any]
Failed = Callable[[Any, Exception, str | None], Any]


def launch(command: str, config_name: str, body: Body, failed: Failed | None = None) -> None:
    """Compose the config from the command line, check it, run `body` with it.

    command: the module's name, for the help page. config_name: a file of conf/. body: takes the typed
    config; what it returns is the objective of a sweep. failed: what a failing job of a sweep comes to, of
    the config, the error and its one line (None for a bug); without it the sweep ends there.
    Bad input ends in one line and exit status 2, a sweep with failed jobs in exit status 1.
    """
    if {"-h", "--help"} & set(sys.argv[1:]):
        try:
            print(page(command, config_name), flush=True)
        except BrokenPipeError:  # `| head` has seen enough; nor is there anything to say at the exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    sweeping = {"-m", "--multirun"} & set(sys.argv[1:])
    for flag in sweeping:  # Hydra wants it in front of the overrides
        sys.argv.remove(flag)
        sys.argv.insert(1, flag)
    from src.cli.error_messages import explain
    from src.common.signals import Preempted, preemptible

    traceback_wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions through to us: Hydra prints several lines
    if not sweeping:
        sys.argv[1:] = [quoted(argument) for argument in sys.argv[1:]]
    else:
        sys.argv.append(f"hydra.job.name={command}")  # Hydra would take this module's
    os.environ["CHAR_RNN_SWEEP"] = ""  # this process works for no other's sweep
    try:
        if sweeping and command in ALONE:
            raise InputError("expected one run of it, got --multirun: leave that out")
        with preemptible() if sweeping else nullcontext():  # who waits for jobs of other processes, too
            compose_and_run(config_name, body, failed)
    except KeyboardInterrupt:
        say(f"{command}: interrupted")
        with suppress(KeyboardInterrupt):  # pressed again: at once
            end_sweep("KILLED")
        sys.exit(130)
    except Preempted as preempted:
        say(f"{command}: {preempted}")
        end_sweep("KILLED")
        sys.exit(143)
    except Exception as error:
        line = explain(error, config_name)
        if line is not None and not traceback_wanted:
            say(f"{command}: {line}")
        failures = end_sweep("FAILED")
        if line is None or traceback_wanted:
            raise
        sys.exit(1 if failures else 2)
    if end_sweep("FINISHED"):
        sys.exit(1)


def end_sweep(status: str) -> int:
    """Close the sweep that this process opened, if it is still open; how many of its jobs failed."""
    callbacks = sys.modules.get("src.sweeps.hydra_callback")
    if callbacks is None:
        return 0
    callbacks.SweepCallback.close(status)
    failures, callbacks.SweepCallback.failures = callbacks.SweepCallback.failures, 0
    return int(failures)


def compose_and_run(config_name: str, body: Body, failed: Failed | None) -> None:
    """What `launch` does between the command line and the exit status; -sc answers the TAB key instead."""
    if set(FLAGS) & set(sys.argv[1:]):
        complete(config_name, register)
        return
    from unittest.mock import patch

    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import DictConfig, OmegaConf

    from src.cli.error_messages import explain
    from src.config.validation import check
    from src.sweeps.hydra_callback import Refused

    register()
    refused: list[Exception] = []

    def task(composed: DictConfig) -> Any:
        config = None
        try:
            config = OmegaConf.to_object(composed)
            check_known(composed, config)
            check(config)
            return body(config)
        except Exception as error:
            if HydraConfig.get().mode is RunMode.MULTIRUN and failed and config is not None:
                return failed(config, error, explain(error, config_name))
            if explain(error, config_name) is None:
                raise
            if HydraConfig.get().mode is RunMode.MULTIRUN:
                raise  # Hydra names the job's overrides in a line before ours
            refused.append(error)
            return None

    with patch.object(argparse.ArgumentParser, "error", refuse_option):  # its own prints eight lines of usage
        try:
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(task)()
        except Refused as refusal:
            raise refusal.error from refusal
    if refused:
        raise refused[0]


def refuse_option(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    """In place of argparse's usage: one line for an option that there is not."""
    got = message.removeprefix("unrecognized arguments: ")
    raise InputError(f"expected key=value, or an option that --help lists, got {got}")


def check_known(composed: Any, config: Any, prefix: str = "") -> None:
    """Refuse a key that `+key=value` put beside those of the schema."""
    known = [f.name for f in fields(config)]
    for key in composed:
        if key not in known:
            raise InputError(f"{prefix}{key}: expected a known key, got +{prefix}{key}: --help lists them")
        if is_dataclass(getattr(config, key)):
            check_known(composed[key], getattr(config, key), f"{prefix}{key}.")


def typed_keys(config: Any) -> set[str]:
    """The dotted keys that the command line gives a value, by themselves or in an experiment that it names.

    config: as composed from it. Called while a command runs.
    """
    from hydra import compose
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from src.config.validation import walk

    hydra = HydraConfig.get()
    named = {text.lstrip("+~").partition("=")[0] for text in hydra.overrides.task}
    now, usual = (
        {key: value for key, _, value in walk(composed)}
        for composed in (config, OmegaConf.to_object(compose(hydra.job.config_name)))
    )
    given = {key for key in now if key in named or key.removesuffix(".name") in named}
    return given | {key for key in now if key not in usual or now[key] != usual[key]}


def register() -> None:
    """Make the schemas and the resolvers of conf/ known to Hydra."""
    from hydra.core.config_store import ConfigStore

    from src.config import schema
    from src.config.resolvers import register_resolvers

    store = ConfigStore.instance()
    for name, node in schema.COMMANDS.items():
        store.store(group="schema", name=name, node=node, package="_global_")
    for group, choices in (("optimizer", schema.OPTIMIZERS), ("schedule", schema.SCHEDULES)):
        for name, node in choices.items():
            store.store(group=f"schema/{group}", name=name, node=node)
    register_resolvers()
    drop_configs_of_plugins()


def drop_configs_of_plugins() -> None:
    """Of the configs that plugins bring along, those that conf/hydra/ has itself.

    Hydra would check ours against a plugin's of the same name, and warn of it, or refuse it.
    """
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # finds the plugins, whose configs are then there
    for file in (CONF / "hydra").rglob("*.yaml"):
        folder: Any = ConfigStore.instance().repo
        for part in file.relative_to(CONF).parent.parts:
            folder = folder.get(part, {})
        folder.pop(file.name, None)


def quoted(argument: str) -> str:
    """`prompt=To be, or not` as Hydra must read it: the value in quotes, whatever it holds."""
    key, equals, value = argument.partition("=")
    if not equals or key not in VERBATIM or value in ("", "null") or QUOTED.fullmatch(value):
        return argument
    # Hydra's grammar: \" is a quote, and backslashes in front of a quote (or the end) come in pairs.
    escaped = re.sub(r'(\\*)"', lambda m: m.group(1) * 2 + '\\"', value)
    escaped = re.sub(r"(\\+)\Z", lambda m: m.group(1) * 2, escaped)
    escaped = re.sub(r"(\\*)\$\{", lambda m: m.group(1) * 2 + "\\${", escaped)  # OmegaConf's, likewise
    return f'{key}="{escaped}"'
