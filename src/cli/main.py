"""Entry point of the commands: compose a validated config with Hydra, run the command, set the exit status.

Hydra and OmegaConf are imported only where a config is composed, so that `--help` answers at once.
"""

import os
import re
import shlex
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from src.cli.help import NO_SWEEP_COMMANDS, render_help, requested_help
from src.common.console import current_scope, echo_err
from src.common.errors import CallbackError, UserError
from src.common.files import CONF

# Keys whose values are literal texts, so that a prompt may hold commas, quotes and colons.
RAW_STRING_KEYS = (
    "prompt", "run", "resume", "init_from", "rerun", "backend_store_uri", "allowed_hosts", "left", "right",
    "output_dir", "data_dir", "data.path", "warandpeace", "tinyshakespeare", "tracking.uri",
    "tracking.run_name",
)  # fmt: skip

SWEEP_CALLBACK = "src.sweeps.hydra_callback.SweepCallback"
COMPLETION_FLAGS = ("-sc", "--shell-completion")
QUOTED_RE = re.compile(r"""(["'])(\\.|(?!\1)[^\\])*\1""", re.DOTALL)
MULTIRUN_FLAGS = ("-m", "--multirun")


@dataclass(frozen=True)
class Invocation:
    """A command line as Hydra parsed it, without the config that it composed.

    Attributes:
        config_name: The primary config, a file of conf/.
        overrides: Overrides of the config as typed, without Hydra's own.
        job: The sweep's job (`src.tracking.sweep.Job`) that this process works on; None outside a sweep.
    """

    config_name: str
    overrides: tuple[str, ...]
    job: Any = None


Main = Callable[[Any, Invocation], Any]


def run_command(command: str, config_name: str, main: Main) -> None:
    """Compose the config from the command line, validate it and call `main(config, invocation)`.

    A single run calls `main` after Hydra has returned. The jobs of a sweep run inside Hydra; what `main`
    returns for a job is its objective value.

    Args:
        command: Name of the module, for the help page and the messages.
        config_name: Name of the command's config, a file of conf/.
        main: Function of the command; it gets the validated config and the invocation.

    Raises:
        SystemExit: With status 1 (failed jobs of a sweep), 2 (bad input, in one line on standard error), 130
            (Ctrl-C) or 143 (SIGTERM). After success the function returns, and the exit status is 0.
        UserError: For bad input, only with HYDRA_FULL_ERROR=1, which shows the traceback.
        Exception: A bug; it is shown with its traceback.
    """
    try:
        if (all_keys := requested_help(sys.argv[1:])) is not None:
            print(render_help(command, config_name, all_keys), flush=True)
            return
    except BrokenPipeError:  # `| head` closed the pipe; do not fail again when Python flushes at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    except UserError as error:
        echo_err(f"{command}: {error}")
        sys.exit(2)
    from src.common.process import Preempted, preemptible

    typed, show_traceback = sys.argv[1:], os.environ.get("HYDRA_FULL_ERROR") == "1"
    is_sweep = prepare_argv(command)
    session: Any = None

    def finalize(status: str) -> int:
        """Return the number of failed jobs; there is none outside a sweep."""
        return session.finalize(status) if session else 0

    try:
        with ExitStack() as stack:
            if is_sweep:
                from src.sweeps.summary import SweepSession

                if command in NO_SWEEP_COMMANDS:
                    raise UserError("expected a single run, got --multirun: remove it")
                session = SweepSession()
                # The process that waits for jobs of other processes ends on SIGTERM, too.
                stack.enter_context(preemptible())
                stack.enter_context(session.active())
            composed = compose(config_name, main)
            if composed:
                main(*composed)
            num_failed = finalize("FINISHED")
    except KeyboardInterrupt:
        echo_err(f"{command}: interrupted{how_to_resume_sweep(command, typed) * bool(session)}")
        with suppress(KeyboardInterrupt):  # a second Ctrl-C ends the command at once
            finalize("KILLED")
        sys.exit(130)
    except Preempted as preempted:
        echo_err(f"{command}: {preempted}")
        finalize("KILLED")
        sys.exit(143)
    except Exception as error:
        from src.cli.error_messages import format_error

        line = format_error(error, config_name)
        if line is not None and not show_traceback:
            echo_err(f"{command}: {line}")
        num_failed = finalize("FAILED")
        if line is None or show_traceback:
            raise
        sys.exit(1 if num_failed else 2)
    if num_failed:
        sys.exit(1)


def how_to_resume_sweep(command: str, typed: list[str]) -> str:
    """Return how to resume an interrupted sweep, for the line that says that it was interrupted.

    In `reproduce`, which starts sweeps, only its own last line says it.

    Args:
        command: Name of the command.
        typed: The arguments as typed.

    Returns:
        The end of the line, with the command to type; "" in `reproduce`.
    """
    if current_scope().experiment:
        return ""
    arguments = dict.fromkeys([*typed, "skip_finished=true"])
    return f"; resume with: {shlex.join(['python', '-m', f'src.{command}', *arguments])}"


def prepare_argv(command: str) -> bool:
    """Rewrite `sys.argv` and the environment into what Hydra expects.

    Args:
        command: Name of the command; only a sweep of `train` gets the callback that opens a sweep.

    Returns:
        Whether the command line asks for a sweep.
    """
    is_sweep = bool(set(MULTIRUN_FLAGS) & set(sys.argv[1:]))
    arguments = [argument for argument in sys.argv[1:] if argument not in MULTIRUN_FLAGS]
    if is_sweep:
        # Hydra expects the flag before the overrides, and would take the job's name from this module. It
        # imports its callbacks in every run, so only a sweep gets ours.
        sys.argv[1:] = ["--multirun", *arguments, f"hydra.job.name={command}"]
        if command == "train":
            sys.argv.append(f"+hydra.callbacks.sweep._target_={SWEEP_CALLBACK}")
    else:
        sys.argv[1:] = [quote_override(argument) for argument in arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach `run_command`; Hydra would print several lines
    os.environ["CHAR_RNN_SWEEP"] = ""  # a command that was typed is no job of another sweep
    return is_sweep


def compose(config_name: str, main: Main) -> tuple[Any, Invocation] | None:
    """Let Hydra compose the config; run the jobs of a sweep.

    Args:
        config_name: Name of the command's config, a file of conf/.
        main: Function of the command, which each job of a sweep calls.

    Returns:
        The validated config and the invocation of a single run; None after a sweep, or where the line only
        requested something of Hydra (`--cfg job`, TAB completion).

    Raises:
        UserError: For an unknown option or a value out of range. Errors of Hydra and OmegaConf are not
            caught.
    """
    if set(COMPLETION_FLAGS) & set(sys.argv[1:]):
        from src.cli.completion import complete

        requests = [argument for argument in sys.argv[1:] if argument not in COMPLETION_FLAGS]
        complete(requests, config_name)
        return None
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import DictConfig, OmegaConf

    from src.config.resolvers import register_configs
    from src.config.schema import COMMANDS

    reject_unknown_options(config_name)
    register_configs()
    single_runs: list[tuple[DictConfig, Invocation]] = []

    def task_overrides(hydra_config: Any) -> tuple[str, ...]:
        return tuple(OmegaConf.to_container(hydra_config.overrides.task, resolve=False) or ())

    def task(composed: DictConfig) -> Any:
        overrides = task_overrides(HydraConfig.get())
        if HydraConfig.get().mode is not RunMode.MULTIRUN:
            single_runs.append((composed, Invocation(config_name, overrides)))
            return None
        from src.cli.error_messages import format_error
        from src.sweeps.hydra_callback import paths_config
        from src.sweeps.job import current_job, log_job_failure

        job = current_job()
        config: Any = None
        try:
            reject_unknown_keys(composed, COMMANDS[config_name])
            config = OmegaConf.to_object(composed)
            return main(config, Invocation(config_name, overrides, job))
        except Exception as error:
            if job is None or (config is None and not isinstance(error, UserError)):
                raise  # the sweep ends; Hydra names the job's overrides in a line before ours
            log_job_failure(config or paths_config(composed), job, error, format_error(error, config_name))
            return None  # the sweep continues; nan would end a search, None is a failed trial

    if any(argument.startswith("-") for argument in sys.argv[1:]):
        try:
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(task)()
        except CallbackError as carrier:
            raise carrier.error from carrier
    else:
        # hydra.main composes a config twice: first to learn whether hydra.mode asks for a sweep.
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            composed = hydra.compose(config_name, sys.argv[1:], return_hydra_config=True)
        overrides = task_overrides(composed.hydra)
        del composed.hydra
        single_runs.append((composed, Invocation(config_name, overrides)))
    for composed, invocation in single_runs:
        reject_unknown_keys(composed, COMMANDS[config_name])
        return OmegaConf.to_object(composed), invocation
    return None


def reject_unknown_options(config_name: str) -> None:
    """Reject an option that Hydra does not have; argparse would print its usage and exit.

    Args:
        config_name: Name of the command's config, a file of conf/.

    Raises:
        UserError: `sys.argv` has such an option.
    """
    from argparse import ArgumentError

    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.exit_on_error = parser.allow_abbrev = False
    try:
        unknown = parser.parse_known_args()[1]
    except ArgumentError as error:
        unknown = [str(error)]
    if unknown:
        from src.cli.error_messages import format_option_error

        raise UserError(format_option_error(unknown, config_name))


def reject_unknown_keys(composed: Any, config_class: type, prefix: str = "") -> None:
    """Reject a key that `+key=value` added to the keys of the schema.

    Args:
        composed: The composed config, or a group of it.
        config_class: Its class in the schema.
        prefix: Dotted name of the group with a dot at its end; "" for the whole config.

    Raises:
        UserError: The schema has no such key.
    """
    import attrs

    from src.config.constraints import fields_of

    known = fields_of(config_class)
    for key in composed:
        if key not in known:
            raise UserError(f"{prefix}{key}: expected a known key, got +{prefix}{key}: --help=all lists them")
        if attrs.has(known[key].type):
            reject_unknown_keys(composed[key], known[key].type, f"{prefix}{key}.")


def overridden_keys(config: Any, invocation: Invocation) -> set[str]:
    """Find the keys to which the command line gives a value, directly or by an experiment that it names.

    Args:
        config: The config that was composed from the command line.
        invocation: That command line.

    Returns:
        The dotted keys. Keys whose value differs from the default config are included.
    """
    from hydra import compose as compose_config
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    from src.config.constraints import iter_leaves

    typed = {text.lstrip("+~").partition("=")[0] for text in invocation.overrides}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        default_config = OmegaConf.to_object(compose_config(invocation.config_name))
    values, defaults = ({key: value for key, _, value in iter_leaves(c)} for c in (config, default_config))
    return {
        key
        for key, value in values.items()
        if key in typed or key.removesuffix(".name") in typed or key not in defaults or value != defaults[key]
    }


def quote_override(argument: str) -> str:
    """Quote the value of a raw string key, `prompt=To be, or not`, for Hydra's override grammar.

    Args:
        argument: An argument of the command line.

    Returns:
        The override with its value in double quotes; `argument` itself for another key, for an empty value or
        `null`, and for a value that is quoted already.
    """
    key, equals, value = argument.partition("=")
    if not equals or key not in RAW_STRING_KEYS or value in ("", "null") or QUOTED_RE.fullmatch(value):
        return argument
    if key == "data.path" and re.fullmatch(r"\[[^\"']*\]", value):
        return f"{key}=[{','.join(quote(each.strip()) for each in value[1:-1].split(','))}]"
    return f"{key}={quote(value)}"


def quote(value: str) -> str:
    """Quote a text for Hydra's override grammar.

    Args:
        value: The text as typed.

    Returns:
        The text in double quotes.
    """
    # Hydra's grammar: \" is a quote, and backslashes in front of a quote (or the end) come in pairs.
    escaped = re.sub(r'(\\*)"', lambda m: m.group(1) * 2 + '\\"', value)
    escaped = re.sub(r"(\\+)\Z", lambda m: m.group(1) * 2, escaped)
    escaped = re.sub(r"(\\*)\$\{", lambda m: m.group(1) * 2 + "\\${", escaped)  # the same for OmegaConf
    return f'"{escaped}"'
